package k8sclient

import (
	"context"
	"fmt"
	"slices"

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

// chosen are the names that the pipeline has: those of its ConfigMap, else those of whatever is left of it. A new pipeline
// gets the first names of which no object is another pipeline's.
func (s *snapshot) chosen(candidates []identity.ObjectNames, fqn string) identity.ObjectNames {
	for _, names := range candidates {
		if existing := s.find("ConfigMap", names.ConfigMap); existing != nil && owned(existing, fqn) {
			return names
		}
	}
	ours := func(o object) bool { return owned(o, fqn) }
	others := func(o object) bool { return taken(o, fqn) }
	free := slices.DeleteFunc(slices.Clone(candidates), func(names identity.ObjectNames) bool { return slices.ContainsFunc(s.under(names), others) })
	for _, names := range free {
		if slices.ContainsFunc(s.under(names), ours) {
			return names
		}
	}
	return append(free, candidates[len(candidates)-1])[0]
}

// under are the objects that have the names.
func (s *snapshot) under(names identity.ObjectNames) []object {
	var out []object
	for _, o := range []object{s.find("ConfigMap", names.ConfigMap), s.find("Secret", names.Secret), s.find("CronJob", names.CronJob)} {
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

// snapshotOf reads one pipeline's objects by name, so that one that lacks our labels is found too.
func (c *Client) snapshotOf(ctx context.Context, candidates []identity.ObjectNames, fqn string) (*snapshot, error) {
	out := newSnapshot()
	for _, names := range candidates {
		existing, err := c.addTo(ctx, out, c.configMaps(), names.ConfigMap)
		if err != nil {
			return nil, err
		}
		if existing != nil && taken(existing, fqn) {
			continue
		}
		if _, err := c.addTo(ctx, out, c.secrets(), names.Secret); err != nil {
			return nil, err
		}
		if _, err := c.addTo(ctx, out, c.cronJobs(), names.CronJob); err != nil {
			return nil, err
		}
		if existing != nil && owned(existing, fqn) {
			break
		}
	}
	if len(out.objects) == 0 {
		return out, nil // New: it has no earlier configurations.
	}
	revisions, err := c.secrets().list(ctx, pipelineSelector(out.chosen(candidates, fqn)))
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
	if resource == resourceConfigMaps || resource == resourceSecrets {
		return schema.GroupResource{Resource: resource}
	}
	return schema.GroupResource{Group: "batch", Resource: resource}
}
