package k8sclient

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// chosen are the names that the pipeline has, else the preferred ones, unless another pipeline has those.
func (s *snapshot) chosen(candidates []identity.ObjectNames, fqn string) identity.ObjectNames {
	chosen := candidates[0]
	for _, names := range candidates {
		existing := s.find("ConfigMap", names.ConfigMap)
		switch {
		case existing == nil:
		case owned(existing, fqn):
			return names
		case taken(existing, fqn):
			chosen = candidates[len(candidates)-1]
		}
	}
	return chosen
}

// snapshotOf reads one pipeline's objects, by name: an object of the name that lacks our labels is found too. Names whose
// ConfigMap is another pipeline's are passed over; those that are free come last.
func (c *Client) snapshotOf(ctx context.Context, candidates []identity.ObjectNames, fqn string) (*snapshot, error) {
	out := newSnapshot()
	for _, names := range candidates {
		existing, err := c.addTo(ctx, out, c.configMaps(), names.ConfigMap)
		if err != nil {
			return nil, err
		}
		if existing != nil && owned(existing, fqn) {
			break
		}
	}
	chosen := out.chosen(candidates, fqn)
	for _, target := range []struct {
		client resourceClient
		name   string
	}{{c.secrets(), chosen.Secret}, {c.cronJobs(), chosen.CronJob}} {
		if _, err := c.addTo(ctx, out, target.client, target.name); err != nil {
			return nil, err
		}
	}
	if len(out.objects) == 0 {
		return out, nil // New: it has no earlier configurations.
	}
	revisions, err := c.secrets().list(ctx, pipelineSelector(chosen))
	if err != nil {
		return nil, c.failed("list the Secrets of pipeline "+fqn, err)
	}
	for _, o := range revisions {
		if secret, ok := o.(*corev1.Secret); ok && secret.Type == revisionType {
			out.add("Secret", o)
		}
	}
	return out, nil
}

// addTo reads an object into a snapshot; nil where there is none.
func (c *Client) addTo(ctx context.Context, out *snapshot, client resourceClient, name string) (object, error) {
	existing, err := client.get(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // Nothing there is none of the errors.
	}
	if err != nil {
		return nil, c.failed(fmt.Sprintf("read %s %s", client.kind, name), err)
	}
	out.add(client.kind, existing)
	return existing, nil
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
