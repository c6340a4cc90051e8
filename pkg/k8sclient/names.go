package k8sclient

import (
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// A pipeline's objects have the names that OpenMetadata's own client gives, where they are free: a pipeline of the same
// name in another service, which came first, keeps them, and the second has names with a hash. Which of the two it is the
// annotation on the ConfigMap says.

// owned says that an object is the pipeline's, and taken that it is another's.
func owned(o metav1.Object, fqn string) bool {
	return o.GetAnnotations()[identity.AnnotationFQN] == fqn
}

func taken(o metav1.Object, fqn string) bool {
	owner := o.GetAnnotations()[identity.AnnotationFQN]
	return owner != "" && owner != fqn
}

// named gives copies of the objects, under other names than those that they were made with where the two differ.
func (o *Objects) named(from, to identity.ObjectNames) *Objects {
	out := &Objects{ConfigMap: o.ConfigMap.DeepCopy(), Secret: o.Secret.DeepCopy(), CronJob: renamedCronJob(o.CronJob, from, to)}
	out.ConfigMap.Name, out.Secret.Name = to.ConfigMap, to.Secret
	relabel(&out.ConfigMap.ObjectMeta, to)
	relabel(&out.Secret.ObjectMeta, to)
	return out
}

func renamedCronJob(cronJob *batchv1.CronJob, from, to identity.ObjectNames) *batchv1.CronJob {
	if cronJob == nil {
		return nil
	}
	out := cronJob.DeepCopy()
	out.Name = to.CronJob
	relabel(&out.ObjectMeta, to)
	relabel(&out.Spec.JobTemplate.ObjectMeta, to)
	useObjects(&out.Spec.JobTemplate.Spec, from, to)
	return out
}

// renameJob makes a run's Job use the objects of other names.
func renameJob(job *batchv1.Job, from, to identity.ObjectNames) {
	relabel(&job.ObjectMeta, to)
	useObjects(&job.Spec, from, to)
}

func relabel(meta *metav1.ObjectMeta, names identity.ObjectNames) {
	meta.Labels = maps.Clone(meta.Labels)
	meta.Labels[identity.LabelPipeline] = names.Label
}

func useObjects(spec *batchv1.JobSpec, from, to identity.ObjectNames) {
	relabel(&spec.Template.ObjectMeta, to)
	for _, containers := range [][]corev1.Container{spec.Template.Spec.InitContainers, spec.Template.Spec.Containers} {
		for i := range containers {
			for k := range containers[i].Env {
				source := containers[i].Env[k].ValueFrom
				switch {
				case source == nil:
				case source.ConfigMapKeyRef != nil && source.ConfigMapKeyRef.Name == from.ConfigMap:
					source.ConfigMapKeyRef.Name = to.ConfigMap
				case source.SecretKeyRef != nil && source.SecretKeyRef.Name == from.Secret:
					source.SecretKeyRef.Name = to.Secret
				}
			}
		}
	}
}
