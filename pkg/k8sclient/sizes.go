package k8sclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// ErrTooLarge is what a pod or the cluster would not take for its size; test with errors.Is.
var ErrTooLarge = errors.New("too large")

const (
	// maxEnvironment is how large all variables and arguments of a process may be, with a pointer to each: a quarter of its stack,
	// which is 8 MiB in a container, less what the image and Kubernetes put there themselves.
	maxEnvironment = 2<<20 - environmentReserve
	// environmentReserve is for the image's own variables and the addresses of Services.
	environmentReserve = 256 << 10
	pointerSize        = 8

	// maxData is how much data a ConfigMap or a Secret takes (MaxSecretSize in Kubernetes).
	maxData = 1 << 20
	// maxManifest keeps a Job or CronJob below the 1.5 MiB that etcd takes in one request, with room for what the API server adds,
	// such as managedFields, which names each field.
	maxManifest = 1 << 20
)

const (
	shortenConfiguration = "shorten its filters, or make several pipelines of it"
	shortenVariables     = "shorten extraEnvVars, or mount a file in their place (parameters volumes and volumeMounts)"
)

func variableSize(name, value string) int { return len(name) + len("=") + len(value) }

func tooLarge(what string, size, limit int, advice string) error {
	return fmt.Errorf("%w: %s has %d bytes, the limit is %d; %s", ErrTooLarge, what, size, limit, advice)
}

// checkMerged refuses a configuration that the ingestion process cannot be given: main.py reads it, whole, from one variable.
func checkMerged(full workflow.Config, pipeline *omapi.IngestionPipeline) error {
	text, err := full.Compact()
	if err != nil {
		return err
	}
	if size := variableSize(identity.EnvConfig, text); size > identity.MaxVariable {
		return fmt.Errorf("pipeline %s: %w", pipeline.FQN(), tooLarge("its workflow configuration as variable "+identity.EnvConfig+", with its secrets,", size, identity.MaxVariable, shortenConfiguration))
	}
	return nil
}

// checkSizes refuses what would be found out only when a container starts, or half way through a deploy.
func (o *Objects) checkSizes(config *Config, pipeline *omapi.IngestionPipeline) error {
	if err := o.checkData(config); err != nil {
		return fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	if o.CronJob != nil {
		if err := checkManifest("CronJob "+o.CronJob.Name, o.CronJob); err != nil {
			return fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
		}
	}
	// Scheduled or not, all runs have the same pod, but for the run's id.
	job := NewJob(config, pipeline, uuid.Nil.String(), 0)
	if err := checkManifest("the Job of a run", job); err != nil {
		return fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	if err := checkPodEnvironment(&job.Spec.Template.Spec, lookup(o.ConfigMap, o.Secret)); err != nil {
		return fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	return nil
}

func (o *Objects) checkData(config *Config) error {
	public, secret := 0, secretSize(o.Secret)
	for _, value := range o.ConfigMap.Data {
		public += len(value)
	}
	switch {
	case public > maxData:
		return tooLarge("ConfigMap "+o.ConfigMap.Name, public, maxData, shortenConfiguration)
	case secret > maxData:
		return tooLarge("Secret "+o.Secret.Name, secret, maxData, shortenVariables)
	case config.RevisionHistoryLimit > 0 && public+secret > maxData:
		return tooLarge(fmt.Sprintf("a revision, which keeps ConfigMap %s and Secret %s in one Secret,", o.ConfigMap.Name, o.Secret.Name), public+secret, maxData, shortenVariables+", or set revisionHistoryLimit to 0")
	default:
		return nil
	}
}

func checkManifest(what string, o object) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode %s: %w", what, err)
	}
	if len(data) > maxManifest {
		return tooLarge(what, len(data), maxManifest, shortenVariables)
	}
	return nil
}

// checkRun refuses a run whose pod could not be executed: the client's parameters may have changed since the deploy. The Secret
// is the run's own, nil where it has none.
func checkRun(job *batchv1.Job, configMap *corev1.ConfigMap, secret *corev1.Secret) error {
	if err := checkManifest("Job "+job.Name, job); err != nil {
		return err
	}
	if secret != nil {
		if size := secretSize(secret); size > maxData {
			return tooLarge("Secret "+secret.Name, size, maxData, shortenVariables)
		}
	}
	return checkPodEnvironment(&job.Spec.Template.Spec, lookup(configMap, secret))
}

// lookup knows what variables are taken from, where it is in one of the two objects; either may be nil.
func lookup(configMap *corev1.ConfigMap, secret *corev1.Secret) func(*corev1.EnvVarSource) string {
	return func(source *corev1.EnvVarSource) string {
		if ref := source.ConfigMapKeyRef; ref != nil && configMap != nil && ref.Name == configMap.Name {
			return configMap.Data[ref.Key]
		}
		if ref := source.SecretKeyRef; ref != nil && secret != nil && ref.Name == secret.Name {
			if ref.Key == previousKey {
				return string(secret.Data[secretKey]) // The next deploy keeps it there.
			}
			return string(secret.Data[ref.Key])
		}
		return ""
	}
}

func secretSize(secret *corev1.Secret) int {
	size := 0
	for _, value := range secret.Data {
		size += len(value)
	}
	return size
}

// checkPodEnvironment refuses a pod of which a container gets more than Linux gives to a process. What a variable is taken from
// lookup knows; of other objects and of the pod's own fields nothing is known, and they count as empty.
func checkPodEnvironment(spec *corev1.PodSpec, lookup func(*corev1.EnvVarSource) string) error {
	containers := append(append([]corev1.Container{}, spec.InitContainers...), spec.Containers...)
	for i := range containers {
		container := &containers[i]
		values := map[string]string{}
		total := 0
		for _, argument := range append(append([]string{}, container.Command...), container.Args...) {
			total += len(argument) + 1 + pointerSize
		}
		for _, variable := range container.Env {
			value := expand(variable.Value, values)
			if variable.ValueFrom != nil {
				value = lookup(variable.ValueFrom)
			}
			values[variable.Name] = value
			if size := variableSize(variable.Name, value); size > identity.MaxVariable {
				return tooLarge("variable "+variable.Name+" of container "+container.Name, size, identity.MaxVariable, adviceFor(variable.Name))
			}
		}
		for name, value := range values {
			total += variableSize(name, value) + 1 + pointerSize
		}
		if total > maxEnvironment {
			return tooLarge("the environment of container "+container.Name+", all variables together,", total, maxEnvironment, shortenVariables)
		}
	}
	return nil
}

func adviceFor(variable string) string {
	switch variable {
	case identity.EnvConfig, identity.EnvConfigSecret, identity.EnvPreviousSecret:
		return shortenConfiguration
	default:
		return shortenVariables
	}
}

// expand replaces $(NAME) by the variables before it and makes $ of $$, as the kubelet does.
func expand(text string, values map[string]string) string {
	var out strings.Builder
	for {
		at := strings.IndexByte(text, '$')
		if at < 0 || at+1 == len(text) {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(text[:at])
		rest := text[at+1:]
		end := strings.IndexByte(rest, ')')
		switch {
		case rest[0] == '$':
			out.WriteByte('$')
			text = rest[1:]
		case rest[0] == '(' && end > 0:
			if value, ok := values[rest[1:end]]; ok {
				out.WriteString(value)
			} else {
				out.WriteString("$" + rest[:end+1])
			}
			text = rest[end+1:]
		default:
			out.WriteByte('$')
			text = rest
		}
	}
}
