package k8sclient

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// snapshot is what was in the namespace when a deploy began.
type snapshot struct {
	objects map[string]object
	// revisions are kept configurations, by the pipeline's label.
	revisions map[string][]*corev1.Secret
}

func newSnapshot() *snapshot {
	return &snapshot{objects: map[string]object{}, revisions: map[string][]*corev1.Secret{}}
}

func (s *snapshot) find(kind, name string) object { return s.objects[kind+"/"+name] }

func (s *snapshot) add(kind string, o object) {
	if secret, ok := o.(*corev1.Secret); ok && secret.Type == revisionType {
		label := secret.Labels[identity.LabelPipeline]
		s.revisions[label] = append(s.revisions[label], secret)
		return
	}
	s.objects[kind+"/"+o.GetName()] = o
}

// snapshotOf reads one pipeline's objects, by name: an object of the name that lacks our labels is found too.
func (c *Client) snapshotOf(ctx context.Context, names identity.ObjectNames) (*snapshot, error) {
	out := newSnapshot()
	for _, target := range []struct {
		client resourceClient
		name   string
	}{{c.configMaps(), names.ConfigMap}, {c.secrets(), names.Secret}, {c.cronJobs(), names.CronJob}} {
		existing, err := target.client.get(ctx, target.name)
		switch {
		case err == nil:
			out.add(target.client.kind, existing)
		case !apierrors.IsNotFound(err):
			return nil, c.failed(fmt.Sprintf("read %s %s", target.client.kind, target.name), err)
		}
	}
	if len(out.objects) == 0 {
		return out, nil // New: it has no earlier configurations.
	}
	revisions, err := c.secrets().list(ctx, labels.Set{identity.LabelPipeline: names.Label}.String())
	if err != nil {
		return nil, c.failed("list the Secrets of pipeline "+names.Label, err)
	}
	for _, o := range revisions {
		if secret, ok := o.(*corev1.Secret); ok && secret.Type == revisionType {
			out.add("Secret", o)
		}
	}
	return out, nil
}

func managedByOther(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager != FieldManager && entry.Subresource == ""
}

// apiVersion and kindOf are of the scheme: an object that was read from a server may not carry them.
func apiVersion(o object) string { return gvkOf(o).GroupVersion().String() }

func kindOf(o object) string { return gvkOf(o).Kind }

func gvkOf(o object) schema.GroupVersionKind {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil || len(kinds) == 0 {
		return schema.GroupVersionKind{}
	}
	return kinds[0]
}

func batchResource(resource string) schema.GroupResource {
	if resource == "configmaps" || resource == "secrets" {
		return schema.GroupResource{Resource: resource}
	}
	return schema.GroupResource{Group: "batch", Resource: resource}
}
