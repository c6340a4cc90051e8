package k8sclient

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
)

const noCatchUpSeconds = 60

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
	public, overlay := workflow.Split(full)
	publicYAML, err := public.YAML()
	if err != nil {
		return nil, err
	}
	overlayYAML, err := overlay.YAML()
	if err != nil {
		return nil, err
	}
	entity, err := entityJSON(pipeline)
	if err != nil {
		return nil, err
	}
	names := identity.NamesOf(pipeline.Name, pipeline.FQN())
	out := &Objects{
		ConfigMap: &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: objectMeta(config, pipeline, names.ConfigMap),
			Data:       map[string]string{configKey: publicYAML, pipelineKey: entity},
		},
		Secret: &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: objectMeta(config, pipeline, names.Secret),
			Type:       corev1.SecretTypeOpaque,
			Data:       map[string][]byte{secretKey: []byte(overlayYAML)},
		},
	}
	if strings.TrimSpace(pipeline.AirflowConfig.ScheduleInterval) != "" {
		out.CronJob = newCronJob(config, pipeline, names)
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
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: meta,
		Spec: jobSpec(config, pipeline, meta, []corev1.EnvVar{
			{Name: identity.EnvRunID, Value: runID},
			{Name: identity.EnvJobName, Value: name},
		}, names),
	}
}

func newCronJob(config *Config, pipeline *omapi.IngestionPipeline, names identity.ObjectNames) *batchv1.CronJob {
	starting := config.StartingDeadlineSeconds
	if starting == 0 {
		// 0 means "no catch-up" to OpenMetadata, but a CronJob with 0 never fires.
		starting = noCatchUpSeconds
	}
	suspend := pipeline.Enabled != nil && !*pipeline.Enabled
	meta := objectMeta(config, pipeline, names.CronJob)
	jobMeta := objectMeta(config, pipeline, "")
	jobMeta.Namespace = ""
	out := &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: meta,
		Spec: batchv1.CronJobSpec{
			Schedule:                   cronExpression(pipeline.AirflowConfig.ScheduleInterval),
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
	if zone := pipeline.AirflowConfig.PipelineTimezone; zone != "" {
		out.Spec.TimeZone = &zone
	}
	return out
}

func jobSpec(config *Config, pipeline *omapi.IngestionPipeline, meta metav1.ObjectMeta, env []corev1.EnvVar, names identity.ObjectNames) batchv1.JobSpec {
	failed := batchv1.Failed
	return batchv1.JobSpec{
		BackoffLimit:            &config.BackoffLimit,
		ActiveDeadlineSeconds:   &config.ActiveDeadlineSeconds,
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
	maps.Copy(out.Annotations, config.PodAnnotations)
	maps.Copy(out.Labels, job.Labels)
	out.Annotations[identity.AnnotationFQN] = job.Annotations[identity.AnnotationFQN]
	return out
}

func podSpec(config *Config, pipeline *omapi.IngestionPipeline, env []corev1.EnvVar, names identity.ObjectNames) corev1.PodSpec {
	no := false
	pullSecrets := make([]corev1.LocalObjectReference, 0, len(config.ImagePullSecrets))
	for _, name := range config.ImagePullSecrets {
		pullSecrets = append(pullSecrets, corev1.LocalObjectReference{Name: name})
	}
	env = append([]corev1.EnvVar{
		{Name: identity.EnvPipelineType, Value: string(pipeline.PipelineType)},
		{Name: identity.EnvPipelineFQN, Value: pipeline.FQN()},
		{Name: identity.EnvConfig, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: names.ConfigMap}, Key: configKey,
		}}},
		{Name: identity.EnvConfigSecret, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: names.Secret}, Key: secretKey,
		}}},
		{Name: identity.EnvNamespace, ValueFrom: fieldRef("metadata.namespace")},
		{Name: identity.EnvPodName, ValueFrom: fieldRef("metadata.name")},
		{Name: identity.EnvGracePeriod, Value: strconv.FormatInt(config.TerminationGracePeriodSeconds, 10)},
	}, env...)
	return corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		TerminationGracePeriodSeconds: &config.TerminationGracePeriodSeconds,
		ServiceAccountName:            config.ServiceAccountName,
		ImagePullSecrets:              pullSecrets,
		NodeSelector:                  config.NodeSelector,
		// Variables of the namespace's Services are of no use to the ingestion and can be thousands.
		EnableServiceLinks: &no,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsUser: &config.RunAsUser, RunAsGroup: &config.RunAsGroup, FSGroup: &config.FSGroup, RunAsNonRoot: &config.RunAsNonRoot,
		},
		Containers: []corev1.Container{{
			Name:            identity.ContainerName,
			Image:           config.IngestionImage,
			ImagePullPolicy: config.ImagePullPolicy,
			Command:         []string{"exithandler", "run", "--", "python", "main.py"},
			Env:             env,
			Resources:       resourceRequirements(config.Resources),
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
				Exec: &corev1.ExecAction{Command: []string{"exithandler"}},
			}},
			// A run that dies without a word of its own still leaves its last lines in the pod's status.
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			SecurityContext: &corev1.SecurityContext{
				RunAsUser: &config.RunAsUser, RunAsNonRoot: &config.RunAsNonRoot,
				AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &no,
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
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
			identity.LabelName:         "openmetadata",
			identity.LabelComponent:    component,
			identity.LabelManagedBy:    "openmetadata",
			identity.LabelPipeline:     identity.NamesOf(pipeline.Name, pipeline.FQN()).Label,
			identity.LabelPipelineType: strings.ToLower(string(pipeline.PipelineType)),
		},
		Annotations: map[string]string{identity.AnnotationFQN: pipeline.FQN()},
	}
}

// entityJSON is the pipeline without its secrets, from which a run's Job is made later.
func entityJSON(pipeline *omapi.IngestionPipeline) (string, error) {
	stripped := *pipeline
	stripped.OpenMetadataServerConnection = nil
	stripped.SourceConfig, _ = workflow.Split(pipeline.SourceConfig)
	data, err := json.Marshal(&stripped)
	if err != nil {
		return "", fmt.Errorf("encode pipeline %s: %w", pipeline.FQN(), err)
	}
	return string(data), nil
}

// cronExpression turns the descriptors that OpenMetadata knows into expressions that a CronJob knows.
func cronExpression(schedule string) string {
	schedule = strings.TrimSpace(schedule)
	switch strings.ToLower(schedule) {
	case "@hourly":
		return "0 * * * *"
	case "@daily", "@midnight":
		return "0 0 * * *"
	case "@weekly":
		return "0 0 * * 0"
	case "@monthly":
		return "0 0 1 * *"
	case "@yearly", "@annually":
		return "0 0 1 1 *"
	default:
		return schedule
	}
}

func resourceRequirements(r Resources) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: resourceList(r.Requests), Limits: resourceList(r.Limits)}
}

// resourceList takes quantities that Validate has parsed.
func resourceList(in map[corev1.ResourceName]string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, quantity := range in {
		out[name] = resource.MustParse(quantity)
	}
	return out
}

func fromLabel(name, label string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: fieldRef("metadata.labels['" + label + "']")}
}

func fieldRef(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}
