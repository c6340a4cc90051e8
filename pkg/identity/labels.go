// Package identity holds what a pipeline and its runs are known by in Kubernetes: names, labels, annotations and
// environment variables.
package identity

// Labels of every object. They are OpenMetadata's own, so that its tools find the objects too.
const (
	LabelName         = "app.kubernetes.io/name"
	LabelComponent    = "app.kubernetes.io/component"
	LabelManagedBy    = "app.kubernetes.io/managed-by"
	LabelPipeline     = "app.kubernetes.io/pipeline"
	LabelPipelineType = "app.kubernetes.io/pipeline-type"
	LabelRunID        = "app.kubernetes.io/run-id"
	LabelAppName      = "app.kubernetes.io/app-name"

	// LabelOMJob is the name of the OMJob that a pod belongs to, where OpenMetadata's operator runs the pipelines, and
	// LabelPodType says what the pod is for.
	LabelOMJob   = "omjob.pipelines.openmetadata.org/name"
	LabelPodType = "omjob.pipelines.openmetadata.org/pod-type"
)

// Labels of Jobs.
const (
	// LabelStart is on the Job of a run of which a command may be half done: StartPending between the steps of the command
	// that starts it, StartInterrupted when the run will never start, StartStopped while a person ends it.
	LabelStart       = "pipelines.openmetadata.org/start"
	StartPending     = "pending"
	StartInterrupted = "interrupted"
	StartStopped     = "stopped"

	// LabelQueue is Kueue's: the queue that admits a Job, by resuming it.
	LabelQueue = "kueue.x-k8s.io/queue-name"
)

// Annotations, of which each says on what object it is.
const (
	// AnnotationFQN is the pipeline's fully qualified name, on every object: a label cannot hold it.
	AnnotationFQN = "pipelines.openmetadata.org/fqn"
	// AnnotationTimestamp is the timestamp of the run's record in milliseconds, on the Job: every reporter
	// writes the record with this one.
	AnnotationTimestamp = "pipelines.openmetadata.org/run-timestamp"
	// AnnotationStopRequested is when a person asked for the run to end (RFC 3339), on the Job.
	AnnotationStopRequested = "pipelines.openmetadata.org/stop-requested"
	// AnnotationNotBefore and AnnotationNotAfter are when a schedule is in force (RFC 3339), on the CronJob.
	AnnotationNotBefore = "pipelines.openmetadata.org/not-before"
	AnnotationNotAfter  = "pipelines.openmetadata.org/not-after"
	// AnnotationEnabled is what disable or enable said last, true or false, on the CronJob; AnnotationEnabledTold says that
	// OpenMetadata was told.
	AnnotationEnabled     = "pipelines.openmetadata.org/enabled"
	AnnotationEnabledTold = "pipelines.openmetadata.org/enabled-told"
	// AnnotationRevision counts a pipeline's configurations, on the ConfigMap and the Secret.
	AnnotationRevision = "pipelines.openmetadata.org/revision"
	// AnnotationSecretRevision is the Secret's revision that belongs to a ConfigMap, on ConfigMaps of deploys that did not
	// write into the overlay which configuration it belongs to.
	AnnotationSecretRevision = "pipelines.openmetadata.org/secret-revision"
	// AnnotationDeploy names the deploy that an object is of, on the ConfigMap, the Secret and the CronJob: where they
	// differ, a deploy was not finished.
	AnnotationDeploy = "pipelines.openmetadata.org/deploy"
	// AnnotationSchedule is a hash of the CronJob that belongs to a ConfigMap, on the ConfigMap, without whether it is
	// suspended; empty for a pipeline on demand.
	AnnotationSchedule = "pipelines.openmetadata.org/schedule"
	// AnnotationDeleteRequested is when a person asked for the pipeline to be deleted (RFC 3339), on the ConfigMap.
	AnnotationDeleteRequested = "pipelines.openmetadata.org/delete-requested"
	// AnnotationUndone is on an object for a moment, to give it another version.
	AnnotationUndone = "pipelines.openmetadata.org/undone"
	// AnnotationOrigin is the Origin of the runs that the ConfigMap LedgerName has: a copy in another cluster says nothing.
	AnnotationOrigin = "pipelines.openmetadata.org/origin"
)

const (
	// ContainerName is the name of the container that runs the ingestion.
	ContainerName = "ingestion"
	// SidecarName is the name of the container that watches it.
	SidecarName = "exithandler"
)

// Environment variables of the ingestion container. Those that OpenMetadata's own scripts read have its names.
const (
	EnvConfig         = "config"
	EnvPipelineType   = "pipelineType"
	EnvRunID          = "pipelineRunId"
	EnvPipelineFQN    = "ingestionPipelineFQN"
	EnvJobName        = "jobName"
	EnvNamespace      = "namespace"
	EnvPipelineStatus = "pipelineStatus"

	// EnvConfigSecret holds the secret values that EnvConfig has placeholders for.
	EnvConfigSecret = "configSecret"
	// EnvPreviousSecret holds those of the configuration before: the Secret is written before the ConfigMap, and a deploy may
	// be cut off in between.
	EnvPreviousSecret = "previousConfigSecret"
	// EnvConfigFingerprint says which of the two belongs to EnvConfig.
	EnvConfigFingerprint = "configFingerprint"
	EnvPodName           = "podName"
	// EnvGracePeriod is the pod's terminationGracePeriodSeconds: what the preStop hook has.
	EnvGracePeriod = "terminationGracePeriodSeconds"
	// EnvSecretVariables are the names of the variables whose values are secret, with commas between them.
	EnvSecretVariables = "secretVariables"
)

// MaxVariable is the longest variable, "name=value", that Linux gives to a process, in bytes: MAX_ARG_STRLEN (32 pages of 4 KiB)
// less the NUL at its end.
const MaxVariable = 128<<10 - 1

// Variables are the names of all variables above: nobody else may set them in the ingestion container.
func Variables() []string {
	return []string{
		EnvConfig, EnvPipelineType, EnvRunID, EnvPipelineFQN, EnvJobName, EnvNamespace, EnvPipelineStatus,
		EnvConfigSecret, EnvPreviousSecret, EnvConfigFingerprint, EnvPodName, EnvGracePeriod, EnvSecretVariables,
	}
}
