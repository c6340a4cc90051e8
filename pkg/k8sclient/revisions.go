package k8sclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// revisionType is the type of the Secrets that keep earlier configurations. They are Secrets since the configuration's
// secrets belong to it.
const revisionType corev1.SecretType = "pipelines.openmetadata.org/revision"

// Keys of a revision: those of the ConfigMap and the Secret, apart.
const (
	revisionPublic = "configMap."
	revisionSecret = "secret."
)

// ErrNoRevision is a revision that is not kept; test with errors.Is.
var ErrNoRevision = errors.New("no such revision")

// Revision is one configuration of a pipeline.
type Revision struct {
	Revision int64 `json:"revision"`
	// Replaced is when the next one came; zero for the one in force.
	Replaced time.Time `json:"replaced,omitzero"`
	Current  bool      `json:"current,omitempty"`
	// Schedule is empty for a pipeline on demand.
	Schedule string `json:"schedule,omitempty"`
}

// revise counts the configuration, and keeps the one that it replaces.
func (d *deployment) revise(ctx context.Context, before *snapshot) error {
	public, _ := before.find("ConfigMap", d.names.ConfigMap).(*corev1.ConfigMap)
	secret, _ := before.find("Secret", d.names.Secret).(*corev1.Secret)
	if public == nil {
		d.number(1, 1)
		return nil
	}
	// Half of another deploy is no configuration to go back to.
	whole := secret != nil && public.Annotations[identity.AnnotationSecretRevision] == secret.Annotations[identity.AnnotationRevision]
	sameSecret := whole && maps.EqualFunc(secret.Data, d.objects.Secret.Data, bytes.Equal)
	current := revisionOf(public)
	switch {
	case sameSecret && maps.Equal(public.Data, d.objects.ConfigMap.Data):
		d.number(current, revisionOf(secret))
		return nil
	case sameSecret:
		d.number(current+1, revisionOf(secret))
	default:
		d.number(current+1, current+1)
	}
	if !whole || d.dryRun {
		return nil
	}
	if err := d.keep(ctx, public, secret, current); err != nil {
		return err
	}
	// Deleted when all is done: a deploy that fails changes nothing.
	revisions := earlier(ownRevisions(before.revisions[d.names.Label], d.fqn), current)
	limit := max(int(d.client.config.RevisionHistoryLimit)-1, 0)
	d.outdated = revisions[:max(0, len(revisions)-limit)]
	return nil
}

// number gives the configuration its revision, and the Secret the one in which it changed last.
func (d *deployment) number(revision, secretRevision int64) {
	d.revision = revision
	d.objects.ConfigMap.Annotations[identity.AnnotationRevision] = strconv.FormatInt(revision, 10)
	d.objects.ConfigMap.Annotations[identity.AnnotationSecretRevision] = strconv.FormatInt(secretRevision, 10)
	d.objects.Secret.Annotations[identity.AnnotationRevision] = strconv.FormatInt(secretRevision, 10)
}

// keep writes the revision before it is replaced: a deploy that fails after it leaves one more, which does no harm.
func (d *deployment) keep(ctx context.Context, public *corev1.ConfigMap, secret *corev1.Secret, revision int64) error {
	if d.client.config.RevisionHistoryLimit == 0 {
		return nil
	}
	pipeline, err := pipelineOf(public)
	if err != nil {
		return err
	}
	kept := &corev1.Secret{
		ObjectMeta: objectMeta(&d.client.config, pipeline, d.names.Revision(revision)),
		Type:       revisionType,
		Immutable:  new(true),
		Data:       map[string][]byte{},
	}
	kept.Labels[identity.LabelPipeline] = d.names.Label
	kept.Annotations[identity.AnnotationRevision] = strconv.FormatInt(revision, 10)
	for key, value := range public.Data {
		kept.Data[revisionPublic+key] = []byte(value)
	}
	for key, value := range secret.Data {
		kept.Data[revisionSecret+key] = value
	}
	patch, err := applyPatch(kept, "")
	if err != nil {
		return fmt.Errorf("encode Secret %s: %w", kept.Name, err)
	}
	_, _, err = d.client.secrets().apply(ctx, kept.Name, patch, true, false)
	if apierrors.IsInvalid(err) {
		if _, getErr := d.client.secrets().get(ctx, kept.Name); getErr == nil {
			return nil // It is immutable and there: another deploy has kept it.
		}
	}
	if err != nil {
		return d.client.failed("keep the configuration in Secret "+kept.Name, err)
	}
	return nil
}

// prune removes the oldest revisions over the limit. The one that is just being kept is not among them.
func (d *deployment) prune(ctx context.Context) error {
	for _, old := range d.outdated {
		if err := d.client.secrets().delete(ctx, old.Name, old.UID); err != nil && !apierrors.IsNotFound(err) {
			return d.client.failed("delete Secret "+old.Name, err)
		}
	}
	return nil
}

// ownRevisions are a pipeline's revisions, oldest first.
func ownRevisions(secrets []*corev1.Secret, fqn string) []*corev1.Secret {
	own := slices.DeleteFunc(slices.Clone(secrets), func(s *corev1.Secret) bool {
		return s.Type != revisionType || s.Annotations[identity.AnnotationFQN] != fqn
	})
	slices.SortFunc(own, func(a, b *corev1.Secret) int { return int(revisionOf(a) - revisionOf(b)) })
	return own
}

// earlier leaves out the revision in force, which a deploy keeps that then fails and is undone.
func earlier(revisions []*corev1.Secret, current int64) []*corev1.Secret {
	return slices.DeleteFunc(revisions, func(s *corev1.Secret) bool { return revisionOf(s) >= current })
}

func revisionOf(o metav1.Object) int64 {
	revision, err := strconv.ParseInt(o.GetAnnotations()[identity.AnnotationRevision], 10, 64)
	if err != nil {
		return 0 // Made before revisions were counted.
	}
	return revision
}

// History lists a pipeline's configurations, newest first, the one in force among them.
func (c *Client) History(ctx context.Context, fqn string) ([]Revision, error) {
	now, kept, err := c.revisions(ctx, fqn)
	if err != nil {
		return nil, err
	}
	pipeline, err := pipelineOf(now)
	if err != nil {
		return nil, err
	}
	out := []Revision{{Revision: revisionOf(now), Current: true, Schedule: pipeline.AirflowConfig.ScheduleInterval}}
	for _, secret := range slices.Backward(earlier(kept, revisionOf(now))) {
		revision := Revision{Revision: revisionOf(secret), Replaced: secret.CreationTimestamp.UTC()}
		if old, err := pipelineOf(configMapOf(secret)); err == nil {
			revision.Schedule = old.AirflowConfig.ScheduleInterval
		}
		out = append(out, revision)
	}
	return out, nil
}

// Rollback puts an earlier configuration in force again; 0 is the one before the current one. It becomes a new revision.
// Parameters of the client, such as the image, stay as they are.
func (c *Client) Rollback(ctx context.Context, fqn string, revision int64, options DeployOptions) (*DeployResult, error) {
	pipeline, objects, _, err := c.rollback(ctx, fqn, revision)
	if err != nil {
		return nil, err
	}
	options.keepSuspend = true
	return c.deployObjects(ctx, pipeline, objects, options)
}

// CheckRollback finds the configuration that Rollback would put in force and makes its objects, and sends nothing.
func (c *Client) CheckRollback(ctx context.Context, fqn string, revision int64) (*DeployResult, error) {
	pipeline, _, current, err := c.rollback(ctx, fqn, revision)
	if err != nil {
		return nil, err
	}
	return &DeployResult{FQN: fqn, Schedule: pipeline.AirflowConfig.ScheduleInterval, Revision: current + 1}, nil
}

// rollback gives an earlier configuration, and the revision that is in force.
func (c *Client) rollback(ctx context.Context, fqn string, revision int64) (pipeline *omapi.IngestionPipeline, objects *Objects, current int64, err error) {
	now, kept, err := c.revisions(ctx, fqn)
	if err != nil {
		return nil, nil, 0, err
	}
	current = revisionOf(now)
	kept = earlier(kept, current)
	i := len(kept) - 1
	if revision != 0 {
		i = slices.IndexFunc(kept, func(s *corev1.Secret) bool { return revisionOf(s) == revision })
	}
	if i < 0 {
		numbers := make([]int64, len(kept))
		for i, secret := range kept {
			numbers[i] = revisionOf(secret)
		}
		return nil, nil, 0, fmt.Errorf("%w: pipeline %s has kept %v; see pipelinectl history %s", ErrNoRevision, fqn, numbers, fqn)
	}
	public := configMapOf(kept[i])
	if pipeline, err = pipelineOf(public); err != nil {
		return nil, nil, 0, err
	}
	config, err := c.settled(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	objects, err = newObjects(config, pipeline, public.Data, secretOf(kept[i]).Data)
	return pipeline, objects, current, err
}

// revisions gives the configuration in force and those that are kept, oldest first.
func (c *Client) revisions(ctx context.Context, fqn string) (*corev1.ConfigMap, []*corev1.Secret, error) {
	public, names, err := c.configMap(ctx, fqn)
	if err != nil {
		return nil, nil, err
	}
	all, err := c.secrets().list(ctx, pipelineSelector(names))
	if err != nil {
		return nil, nil, c.failed("list the Secrets of pipeline "+fqn, err)
	}
	var secrets []*corev1.Secret
	for _, o := range all {
		if secret, ok := o.(*corev1.Secret); ok {
			secrets = append(secrets, secret)
		}
	}
	return public, ownRevisions(secrets, fqn), nil
}

func configMapOf(revision *corev1.Secret) *corev1.ConfigMap {
	out := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: revision.Name}, Data: map[string]string{}}
	for key, value := range revision.Data {
		if name, ok := strings.CutPrefix(key, revisionPublic); ok {
			out.Data[name] = string(value)
		}
	}
	return out
}

func secretOf(revision *corev1.Secret) *corev1.Secret {
	out := &corev1.Secret{Data: map[string][]byte{}}
	for key, value := range revision.Data {
		if name, ok := strings.CutPrefix(key, revisionSecret); ok {
			out.Data[name] = value
		}
	}
	return out
}
