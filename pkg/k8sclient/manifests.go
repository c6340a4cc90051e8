package k8sclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// Keys of the ConfigMap and the Secret.
const (
	configKey   = "config"
	pipelineKey = "pipeline"
	secretKey   = "config"
	// fingerprintKey is that of the configuration's fingerprint, by which its secret values are found.
	fingerprintKey = "fingerprint"
	// previousKey is that of the configuration before, in the Secret.
	previousKey = "previousConfig"
	// variablePrefix is before the names of the user's own variables in the Secret.
	variablePrefix = "env."
)

// openMetadata is the value of the labels that say what the objects belong to.
const openMetadata = "openmetadata"

const (
	noCatchUpSeconds = 60
	// controllerInterval is how often the CronJob controller looks for missed ticks, in seconds.
	controllerInterval = 10
)

// Where the exithandler binary lies in a pod that gets it from an image of its own.
const (
	toolsVolume = "pipelinectl-tools"
	toolsPath   = "/opt/pipelinectl"
)

// Objects are the Kubernetes objects of one deployed pipeline.
type Objects struct {
	ConfigMap *corev1.ConfigMap
	Secret    *corev1.Secret
	// CronJob is nil for a pipeline without a schedule.
	CronJob *batchv1.CronJob
}

// NewObjects makes the objects of a pipeline. The service may be nil for an application.
func NewObjects(config *Config, pipeline *omapi.IngestionPipeline, service *omapi.Service) (*Objects, error) {
	full, err := workflow.Build(pipeline, service)
	if err != nil {
		return nil, err
	}
	entity, err := entityJSON(config, pipeline)
	if err != nil {
		return nil, err
	}
	return objectsOf(config, pipeline, full, entity)
}

// objectsOf makes the objects of a whole configuration, and of the pipeline as the ConfigMap keeps it.
func objectsOf(config *Config, pipeline *omapi.IngestionPipeline, full workflow.Config, entity string) (*Objects, error) {
	publicYAML, overlayYAML, err := halves(config, full, pipeline)
	if err != nil {
		return nil, err
	}
	objects, err := newObjects(config, pipeline, map[string]string{configKey: publicYAML, fingerprintKey: workflow.Fingerprint(publicYAML), pipelineKey: entity}, overlayYAML)
	if err != nil {
		return nil, err
	}
	return objects, objects.checkSizes(config, pipeline)
}

// halves are a configuration without its secrets, and these, as pods read them. They are read back before anything is done
// with them: what would come out changed is refused here.
func halves(config *Config, full workflow.Config, pipeline *omapi.IngestionPipeline) (public, overlay string, err error) {
	split, secrets := config.secretRules().Split(full)
	public, err = fitting(identity.EnvConfig, split)
	if err == nil {
		overlay, err = fitting(identity.EnvPreviousSecret, secrets.Of(workflow.Fingerprint(public)))
	}
	if err == nil {
		err = workflow.Verify(full, public, overlay)
	}
	if err != nil {
		return "", "", fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	return public, overlay, checkMerged(full, pipeline)
}

// fitting is a text laid out for people; where it would be too large for a variable, without the layout.
func fitting(variable string, value interface {
	YAML() (string, error)
	Compact() (string, error)
},
) (string, error) {
	text, err := value.YAML()
	if err != nil || variableSize(variable, text) <= identity.MaxVariable {
		return text, err
	}
	return value.Compact()
}

// wholeOf is the inverse of objectsOf.
func wholeOf(configMap *corev1.ConfigMap, secret *corev1.Secret) (workflow.Config, error) {
	public, err := workflow.Parse(configMap.Data[configKey])
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s: %w", configMap.Name, err)
	}
	overlay, err := overlayOf(configMap, secret)
	if err != nil {
		return nil, err
	}
	full, err := workflow.Merge(public, overlay)
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s and Secret %s: %w", configMap.Name, secret.Name, err)
	}
	return full, nil
}

// overlayOf are the secret values of a configuration.
func overlayOf(configMap *corev1.ConfigMap, secret *corev1.Secret) (workflow.Overlay, error) {
	overlay, err := workflow.OverlayOf(configMap.Data[fingerprintKey], string(secret.Data[secretKey]), string(secret.Data[previousKey]))
	if errors.Is(err, workflow.ErrOtherDeploy) {
		return nil, fmt.Errorf("ConfigMap %s and Secret %s: %w", configMap.Name, secret.Name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", secret.Name, err)
	}
	return overlay, nil
}

// connectionOf is how a configuration reaches OpenMetadata; connect gives it another way.
func connectionOf(full workflow.Config) map[string]any {
	section, _ := full["workflowConfig"].(map[string]any)
	connection, _ := section["openMetadataServerConfig"].(map[string]any)
	return connection
}

func connect(full workflow.Config, connection map[string]any) {
	if section, ok := full["workflowConfig"].(map[string]any); ok {
		section["openMetadataServerConfig"] = connection
	}
}

// newObjects makes the objects of what the ConfigMap and the Secret shall hold.
func newObjects(config *Config, pipeline *omapi.IngestionPipeline, public map[string]string, overlay string) (*Objects, error) {
	when, err := parseSchedule(pipeline)
	if err != nil {
		return nil, err
	}
	data := secretVariables(config)
	data[secretKey] = []byte(overlay)
	names := identity.NamesOf(pipeline.Name, pipeline.FQN())
	out := &Objects{
		ConfigMap: &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: objectMeta(config, pipeline, names.ConfigMap),
			Data:       public,
		},
		Secret: &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: kindSecret},
			ObjectMeta: objectMeta(config, pipeline, names.Secret),
			Type:       corev1.SecretTypeOpaque,
			Data:       data,
		},
	}
	if when != nil {
		out.CronJob = newCronJob(config, pipeline, names, when)
	}
	return out, nil
}

// NewJob makes the Job of an on-demand run, whose record has the timestamp in milliseconds.
func NewJob(config *Config, pipeline *omapi.IngestionPipeline, runID string, timestamp int64) *batchv1.Job {
	names := identity.NamesOf(pipeline.Name, pipeline.FQN())
	name := identity.JobName(pipeline.Name, pipeline.FQN(), runID)
	meta := objectMeta(config, pipeline, name)
	meta.Labels[identity.LabelRunID] = runID
	meta.Annotations[identity.AnnotationTimestamp] = strconv.FormatInt(timestamp, 10)
	job := &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: meta,
		Spec: jobSpec(config, pipeline, meta, []corev1.EnvVar{
			{Name: identity.EnvRunID, Value: runID},
			{Name: identity.EnvJobName, Value: name},
		}, names),
	}
	enqueue(config, job.Labels, &job.Spec)
	return job
}

func newCronJob(config *Config, pipeline *omapi.IngestionPipeline, names identity.ObjectNames, when *schedule) *batchv1.CronJob {
	starting := config.StartingDeadlineSeconds
	if starting == 0 {
		// 0 means "no catch-up" to OpenMetadata, but a CronJob with 0 never fires.
		starting = noCatchUpSeconds
	}
	// Before its start a schedule is suspended, until Kubernetes knows that it has to wait; see hold.
	now := time.Now()
	suspend := !enabled(pipeline) || when.future(now) || when.ended(now)
	meta := objectMeta(config, pipeline, names.CronJob)
	when.annotate(meta.Annotations)
	jobMeta := objectMeta(config, pipeline, "")
	jobMeta.Namespace = ""
	out := &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: meta,
		Spec: batchv1.CronJobSpec{
			Schedule:                   when.expression,
			ConcurrencyPolicy:          batchv1.ForbidConcurrent,
			StartingDeadlineSeconds:    &starting,
			Suspend:                    &suspend,
			SuccessfulJobsHistoryLimit: &config.SuccessfulJobsHistoryLimit,
			FailedJobsHistoryLimit:     &config.FailedJobsHistoryLimit,
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: jobMeta.Labels, Annotations: jobMeta.Annotations},
				// All attempts of one tick share the Job, so its UID is the run id.
				Spec: jobSpec(config, pipeline, jobMeta, []corev1.EnvVar{
					fromLabel(identity.EnvRunID, batchv1.ControllerUidLabel),
					fromLabel(identity.EnvJobName, batchv1.JobNameLabel),
				}, names),
			},
		},
	}
	enqueue(config, out.Spec.JobTemplate.Labels, &out.Spec.JobTemplate.Spec)
	out.Spec.TimeZone = &when.zone
	return out
}

// enqueue leaves it to Kueue when a Job runs: it resumes what it admits. Not by a label of the pods, which it would take for
// pods without a Job.
func enqueue(config *Config, labels map[string]string, spec *batchv1.JobSpec) {
	if config.QueueName != "" {
		labels[identity.LabelQueue] = config.QueueName
		spec.Suspend = new(true)
	}
}

func jobSpec(config *Config, pipeline *omapi.IngestionPipeline, meta metav1.ObjectMeta, env []corev1.EnvVar, names identity.ObjectNames) batchv1.JobSpec {
	failed := batchv1.Failed
	return batchv1.JobSpec{
		BackoffLimit:            &config.BackoffLimit,
		ActiveDeadlineSeconds:   deadline(config, pipeline),
		TTLSecondsAfterFinished: &config.TTLSecondsAfterFinished,
		// The next attempt starts when the last has ended, so that two never write at the same time.
		PodReplacementPolicy: &failed,
		PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
			// A drain or a preemption is not the pipeline's failure.
			Action:          batchv1.PodFailurePolicyActionIgnore,
			OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
		}}},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: podMeta(config, meta),
			Spec:       podSpec(config, pipeline, env, names),
		},
	}
}

func podMeta(config *Config, job metav1.ObjectMeta) metav1.ObjectMeta {
	out := metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}
	labels, annotations := config.ServiceMesh.meta()
	maps.Copy(out.Labels, labels)
	maps.Copy(out.Annotations, annotations)
	maps.Copy(out.Annotations, config.PodAnnotations)
	maps.Copy(out.Labels, config.PodLabels)
	maps.Copy(out.Labels, job.Labels) // Ours win: the reporters find pods by them.
	if fqn := job.Annotations[identity.AnnotationFQN]; fqn != "" {
		out.Annotations[identity.AnnotationFQN] = fqn
	}
	return out
}

func podSpec(config *Config, pipeline *omapi.IngestionPipeline, env []corev1.EnvVar, names identity.ObjectNames) corev1.PodSpec {
	env = append([]corev1.EnvVar{
		{Name: identity.EnvPipelineType, Value: string(pipeline.PipelineType)},
		{Name: identity.EnvPipelineFQN, Value: literal(pipeline.FQN())},
		{Name: identity.EnvConfig, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: names.ConfigMap}, Key: configKey,
		}}},
		{Name: identity.EnvConfigSecret, ValueFrom: secretRef(names.Secret, secretKey)},
		{Name: identity.EnvConfigFingerprint, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: names.ConfigMap}, Key: fingerprintKey, Optional: new(true),
		}}},
		{Name: identity.EnvPreviousSecret, ValueFrom: optionalSecretRef(names.Secret, previousKey)},
		{Name: identity.EnvNamespace, ValueFrom: fieldRef("metadata.namespace")},
		{Name: identity.EnvPodName, ValueFrom: fieldRef("metadata.name")},
		{Name: identity.EnvGracePeriod, Value: strconv.FormatInt(config.TerminationGracePeriodSeconds, 10)},
	}, env...)
	env = append(env, extraVariables(config, names.Secret)...)
	spec := basePodSpec(config, env, "python", "main.py")
	handler := exitHandlerPath(config)
	container := &spec.Containers[0]
	container.Command = append([]string{handler, "run", "--"}, container.Command...)
	container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{handler}}}}
	// No TerminationMessageFallbackToLogsOnError: a secret that the process prints would get into the pod's status.
	if config.ExitHandlerImage != "" {
		installExitHandler(config, &spec)
	}
	if config.Sidecar != SidecarNever {
		addSidecar(config, &spec, env)
	}
	return spec
}

// literal is a variable's value that Kubernetes leaves as it is: it replaces $(NAME), and makes $ of $$.
func literal(value string) string { return strings.ReplaceAll(value, "$", "$$") }

// basePodSpec is what all pods have in common: whatever the configuration says of pods holds for each of them.
func basePodSpec(config *Config, env []corev1.EnvVar, command ...string) corev1.PodSpec {
	no := false
	pullSecrets := make([]corev1.LocalObjectReference, 0, len(config.ImagePullSecrets))
	for _, name := range config.ImagePullSecrets {
		pullSecrets = append(pullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		TerminationGracePeriodSeconds: &config.TerminationGracePeriodSeconds,
		ServiceAccountName:            config.ServiceAccountName,
		ImagePullSecrets:              pullSecrets,
		NodeSelector:                  config.NodeSelector,
		Tolerations:                   config.Tolerations,
		Affinity:                      config.Affinity,
		PriorityClassName:             config.PriorityClassName,
		Volumes:                       slices.Clone(config.Volumes),
		// Variables of the namespace's Services are of no use to the ingestion and can be thousands.
		EnableServiceLinks: &no,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsUser: config.RunAsUser, RunAsGroup: config.RunAsGroup, FSGroup: config.FSGroup, RunAsNonRoot: &config.RunAsNonRoot,
			SeccompProfile: config.SeccompProfile,
		},
		Containers: []corev1.Container{{
			Name:            identity.ContainerName,
			Image:           config.IngestionImage,
			ImagePullPolicy: config.ImagePullPolicy,
			Command:         command,
			Env:             env,
			Resources:       config.Resources,
			VolumeMounts:    slices.Clone(config.VolumeMounts),
			SecurityContext: containerSecurity(config, false),
		}},
	}
}

func containerSecurity(config *Config, readOnlyRoot bool) *corev1.SecurityContext {
	no := false
	return &corev1.SecurityContext{
		RunAsUser: config.RunAsUser, RunAsNonRoot: &config.RunAsNonRoot,
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &readOnlyRoot,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func exitHandlerPath(config *Config) string {
	if config.ExitHandlerImage == "" {
		return "exithandler"
	}
	return toolsPath + "/exithandler"
}

func toolsMount() corev1.VolumeMount {
	return corev1.VolumeMount{Name: toolsVolume, MountPath: toolsPath}
}

// installExitHandler brings the binary into an ingestion image that does not have it.
func installExitHandler(config *Config, spec *corev1.PodSpec) {
	mount := toolsMount()
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: toolsVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, mount)
	spec.InitContainers = append(spec.InitContainers, corev1.Container{
		Name:            "install-exithandler",
		Image:           config.ExitHandlerImage,
		ImagePullPolicy: config.ImagePullPolicy,
		Command:         []string{"/exithandler", "install", toolsPath},
		VolumeMounts:    []corev1.VolumeMount{mount},
		// A namespace's quota may demand them of every container.
		Resources:       config.SidecarResources,
		SecurityContext: containerSecurity(config, true),
	})
}

// addSidecar adds the container that sees how the ingestion container ends. It comes after those that prepare the pod, and
// has what the ingestion container has to reach OpenMetadata: variables, and the certificate authorities of its image and
// its volumes.
func addSidecar(config *Config, spec *corev1.PodSpec, env []corev1.EnvVar) {
	always := corev1.ContainerRestartPolicyAlways
	mounts := slices.Clone(config.VolumeMounts)
	if config.ExitHandlerImage != "" {
		mounts = append(mounts, toolsMount())
	}
	spec.InitContainers = append(spec.InitContainers, corev1.Container{
		Name:            identity.SidecarName,
		Image:           config.IngestionImage,
		ImagePullPolicy: config.ImagePullPolicy,
		Command:         []string{exitHandlerPath(config), "watch"},
		Env:             slices.Clone(env),
		RestartPolicy:   &always,
		VolumeMounts:    mounts,
		Resources:       config.SidecarResources,
		SecurityContext: containerSecurity(config, true),
	})
}

// extraVariables are the user's own. A value that may be secret is kept in the pipeline's Secret; the reporters in the pod are told of
// which variables that is so, and of those that come from other Secrets, since their names may not say it.
func extraVariables(config *Config, secret string) []corev1.EnvVar {
	out := make([]corev1.EnvVar, 0, len(config.ExtraEnvVars)+1)
	var secrets []string
	for _, variable := range config.ExtraEnvVars {
		if isSecretVariable(config, variable) || variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
			secrets = append(secrets, variable.Name)
		}
		if isSecretVariable(config, variable) {
			variable = corev1.EnvVar{Name: variable.Name, ValueFrom: secretRef(secret, variableKey(variable.Name))}
		}
		out = append(out, variable)
	}
	if len(secrets) > 0 {
		out = append(out, corev1.EnvVar{Name: identity.EnvSecretVariables, Value: strings.Join(secrets, ",")})
	}
	return out
}

func isSecretVariable(config *Config, variable corev1.EnvVar) bool {
	return variable.ValueFrom == nil && config.secretRules().Variable(variable.Name, variable.Value) != ""
}

// variableKey is the Secret's key for a variable of the user's.
func variableKey(name string) string { return variablePrefix + name }

// secretVariables are the values that extraVariables refers to, by the Secret's key.
func secretVariables(config *Config) map[string][]byte {
	out := map[string][]byte{}
	for _, variable := range config.ExtraEnvVars {
		if isSecretVariable(config, variable) {
			out[variableKey(variable.Name)] = []byte(variable.Value)
		}
	}
	return out
}

func secretRef(name, key string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
}

func optionalSecretRef(name, key string) *corev1.EnvVarSource {
	out := secretRef(name, key)
	out.SecretKeyRef.Optional = new(true)
	return out
}

func objectMeta(config *Config, pipeline *omapi.IngestionPipeline, name string) metav1.ObjectMeta {
	component := "ingestion"
	if pipeline.PipelineType == omapi.PipelineApplication {
		component = "application"
	}
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: config.Namespace,
		Labels: map[string]string{
			identity.LabelName:         openMetadata,
			identity.LabelComponent:    component,
			identity.LabelManagedBy:    openMetadata,
			identity.LabelPipeline:     identity.NamesOf(pipeline.Name, pipeline.FQN()).Label,
			identity.LabelPipelineType: strings.ToLower(string(pipeline.PipelineType)),
		},
		Annotations: map[string]string{identity.AnnotationFQN: pipeline.FQN()},
	}
}

// entityJSON is the pipeline without its secrets, from which a run's Job is made later.
func entityJSON(config *Config, pipeline *omapi.IngestionPipeline) (string, error) {
	stripped := *pipeline
	stripped.OpenMetadataServerConnection = nil
	stripped.SourceConfig, _ = config.secretRules().Split(pipeline.SourceConfig)
	data, err := json.Marshal(&stripped)
	if err != nil {
		return "", fmt.Errorf("encode pipeline %s: %w", pipeline.FQN(), err)
	}
	return string(data), nil
}

func fromLabel(name, label string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: fieldRef("metadata.labels['" + label + "']")}
}

func fieldRef(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}
