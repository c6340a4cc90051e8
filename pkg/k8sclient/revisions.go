package k8sclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
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
	// Problem says why the configuration cannot be read, and so neither its schedule.
	Problem string `json:"problem,omitempty"`
}

// revise counts the configuration, and keeps the one that it replaces. Where nothing differs from what is there, the objects
// get the id of the deploy that made that.
func (d *deployment) revise(ctx context.Context, before *snapshot) error {
	public, _ := before.find(kindConfigMap, d.names.ConfigMap).(*corev1.ConfigMap)
	secret, _ := before.find(kindSecret, d.names.Secret).(*corev1.Secret)
	cronJob, _ := before.find("CronJob", d.names.CronJob).(*batchv1.CronJob)
	schedule, err := scheduleHash(d.objects.CronJob)
	if err != nil {
		return err
	}
	d.objects.ConfigMap.Annotations[identity.AnnotationSchedule] = schedule
	d.id = uuid.NewString()[:8]
	sameSecret := d.fillSecret(public, secret, cronJob)
	if size := secretSize(d.objects.Secret); size > maxData {
		return fmt.Errorf("pipeline %s: %w", d.fqn, tooLarge("Secret "+d.names.Secret+", with the values that are in force until the deploy is done,", size, maxData, shortenVariables))
	}
	if public == nil {
		d.number(1)
		return nil
	}
	current := revisionOf(public)
	inForce, whole := overlayInForce(public, secret)
	whole = whole && canRun(public, inForce)
	if sameSecret && maps.Equal(public.Data, d.objects.ConfigMap.Data) {
		if d.finished(schedule, public, secret, cronJob) {
			d.id = public.Annotations[identity.AnnotationDeploy]
		}
		d.number(current)
		return nil
	}
	if whole && !d.dryRun && d.client.config.RevisionHistoryLimit > 0 {
		if current, err = d.keep(ctx, public, secret, inForce, current); err != nil {
			return err
		}
		// Deleted when all is done: a deploy that fails changes nothing.
		revisions := earlier(ownRevisions(before.revisions[d.names.Label], d.fqn), current)
		d.outdated = revisions[:max(0, len(revisions)-int(d.client.config.RevisionHistoryLimit)+1)]
	}
	d.number(current + 1)
	return nil
}

// finished says whether the objects are of one deploy, which had this schedule.
func (d *deployment) finished(schedule string, public *corev1.ConfigMap, secret *corev1.Secret, cronJob *batchv1.CronJob) bool {
	id := public.Annotations[identity.AnnotationDeploy]
	if id == "" || secret.Annotations[identity.AnnotationDeploy] != id || public.Annotations[identity.AnnotationSchedule] != schedule {
		return false
	}
	if d.objects.CronJob == nil {
		return cronJob == nil || !owned(cronJob, d.fqn)
	}
	return cronJob != nil && cronJob.Annotations[identity.AnnotationDeploy] == id
}

// overlayInForce is the text of the secret values that belong to a ConfigMap; whole says whether they are there and the
// pipeline can be read. Half of another deploy is no configuration to go back to, and so is what somebody has edited beyond
// reading.
func overlayInForce(public *corev1.ConfigMap, secret *corev1.Secret) (text []byte, whole bool) {
	if _, err := pipelineOf(public); err != nil || secret == nil {
		return nil, false
	}
	wanted, ok := public.Annotations[identity.AnnotationSecretRevision]
	if ok && wanted != secret.Annotations[identity.AnnotationRevision] {
		return nil, false
	}
	for _, key := range []string{secretKey, previousKey} {
		text := secret.Data[key]
		if len(text) == 0 {
			continue
		}
		if _, err := workflow.OverlayOf(public.Data[fingerprintKey], string(text), ""); err == nil {
			return text, true
		}
	}
	return nil, false
}

// canRun says whether a run could read its configuration. One that it could not is nothing to go back to.
func canRun(public *corev1.ConfigMap, overlay []byte) bool {
	_, err := wholeOf(public, &corev1.Secret{Data: map[string][]byte{secretKey: overlay}})
	return err == nil
}

// fillSecret adds to the Secret what the configuration in force still needs, and says whether it has the same values. A run
// may start at any time until the ConfigMap, and then the CronJob, are those of this deploy.
func (d *deployment) fillSecret(public *corev1.ConfigMap, existing *corev1.Secret, cronJob *batchv1.CronJob) (same bool) {
	if existing == nil {
		return false
	}
	data := d.objects.Secret.Data
	variables := maps.Clone(data)
	delete(variables, secretKey)
	missing := d.nameVariables(variables, existing)
	var inForce []byte
	if public != nil {
		inForce, _ = overlayInForce(public, existing)
	}
	same = missing == 0 && inForce != nil && bytes.Equal(inForce, data[secretKey])
	d.keepVariables(variables, existing, usedKeys(cronJob, d.names.Secret), same)
	switch {
	case same && bytes.Equal(existing.Data[secretKey], inForce):
		if previous, ok := existing.Data[previousKey]; ok {
			data[previousKey] = previous
		}
	case inForce != nil && !same:
		data[previousKey] = inForce
	}
	return same
}

// nameVariables gives the variables the keys under which the existing Secret has the same values, or new ones, and says how many
// the existing Secret does not have.
func (d *deployment) nameVariables(variables map[string][]byte, existing *corev1.Secret) (missing int) {
	data := d.objects.Secret.Data
	keys, unknown := findVariables(variables, existing.Data)
	for _, first := range unknown {
		name, _, _ := parseVariableKey(first)
		if newest := newestVersion(existing.Data, name); newest > 0 {
			keys[first] = versionedKey(name, newest+1)
		}
	}
	for first, key := range keys {
		delete(data, first)
		data[key] = variables[first]
	}
	if d.objects.CronJob != nil {
		keys.use(&d.objects.CronJob.Spec.JobTemplate.Spec, d.names.Secret)
	}
	return len(unknown)
}

// keepVariables keeps the values of the existing Secret that runs may still read: those that the CronJob uses, and of each
// variable of this deploy the newest one, or all if nothing has changed.
func (d *deployment) keepVariables(variables map[string][]byte, existing *corev1.Secret, used []string, same bool) {
	data := d.objects.Secret.Data
	for key, value := range existing.Data {
		name, version, ok := parseVariableKey(key)
		_, wanted := variables[variableKey(name)]
		if ok && data[key] == nil && (slices.Contains(used, key) || wanted && (same || version == newestVersion(existing.Data, name))) {
			data[key] = value
		}
	}
}

// scheduleHash tells CronJobs apart; that somebody has suspended one does not count.
func scheduleHash(cronJob *batchv1.CronJob) (string, error) {
	if cronJob == nil {
		return "", nil
	}
	plain := cronJob.DeepCopy()
	plain.Spec.Suspend = nil
	data, err := json.Marshal(plain)
	if err != nil {
		return "", fmt.Errorf("encode CronJob %s: %w", cronJob.Name, err)
	}
	return workflow.Fingerprint(string(data)), nil
}

// number gives the objects the revision of the configuration, and the id of the deploy.
func (d *deployment) number(revision int64) {
	d.revision = revision
	objects := []object{d.objects.ConfigMap, d.objects.Secret}
	for _, o := range objects {
		o.GetAnnotations()[identity.AnnotationRevision] = strconv.FormatInt(revision, 10)
		o.GetAnnotations()[identity.AnnotationDeploy] = d.id
	}
	if d.objects.CronJob != nil {
		d.objects.CronJob.Annotations[identity.AnnotationDeploy] = d.id
	}
}

// keep writes the revision before it is replaced, and gives its number: another than its own where a Secret of that name
// holds something else, such as what was kept before the pipeline was deleted by hand and deployed anew. A deploy that
// fails after it leaves one more, which does no harm.
func (d *deployment) keep(ctx context.Context, public *corev1.ConfigMap, secret *corev1.Secret, overlay []byte, number int64) (int64, error) {
	for ; ; number++ {
		kept := d.revisionSecret(public, secret, overlay, number)
		_, err := d.client.secrets().create(ctx, kept)
		if err == nil {
			return number, nil
		}
		if apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) {
			// Made by an earlier version, which did not look: it must not keep a better one from coming.
			d.warnings = append(d.warnings, fmt.Sprintf("revision %d of pipeline %s is not kept, so it cannot be rolled back to: %v", number, d.fqn, err))
			return number, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return 0, d.client.failed("keep the configuration in Secret "+kept.Name, err)
		}
		there, err := d.client.secrets().get(ctx, kept.Name)
		if err != nil {
			return 0, d.client.failed("read Secret "+kept.Name, err)
		}
		existing, _ := there.(*corev1.Secret)
		if existing.Type == revisionType && owned(existing, d.fqn) && sameConfiguration(existing, kept) {
			return number, nil // Another deploy has kept it.
		}
	}
}

// sameConfiguration compares revisions. A Secret may hold values of variables that a deploy which was cut off has left.
func sameConfiguration(a, b *corev1.Secret) bool {
	return maps.Equal(configMapOf(a).Data, configMapOf(b).Data) && bytes.Equal(a.Data[revisionSecret+secretKey], b.Data[revisionSecret+secretKey])
}

func (d *deployment) revisionSecret(public *corev1.ConfigMap, secret *corev1.Secret, overlay []byte, number int64) *corev1.Secret {
	kept := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: kindSecret},
		ObjectMeta: objectMeta(&d.client.config, d.pipeline, d.names.Revision(number)),
		Type:       revisionType,
		Immutable:  new(true),
		Data:       map[string][]byte{},
	}
	kept.Labels[identity.LabelPipeline] = d.names.Label
	kept.Annotations[identity.AnnotationRevision] = strconv.FormatInt(number, 10)
	for key, value := range public.Data {
		kept.Data[revisionPublic+key] = []byte(value)
	}
	for key, value := range secret.Data {
		if _, _, ok := parseVariableKey(key); ok {
			kept.Data[revisionSecret+key] = value
		}
	}
	kept.Data[revisionSecret+secretKey] = overlay
	kept.OwnerReferences = []metav1.OwnerReference{*ownedBy(public)}
	return kept
}

// prune removes the oldest revisions over the limit. The one that is just being kept is not among them. The deploy is done
// by then: one that cannot be removed now is by the next deploy.
func (d *deployment) prune(ctx context.Context) {
	for _, old := range d.outdated {
		err := d.client.secrets().delete(ctx, old.Name, metav1.DeletePropagationBackground, thisOne(old))
		if err != nil && !apierrors.IsNotFound(err) {
			d.warnings = append(d.warnings, d.client.failed("delete Secret "+old.Name+", an old revision", err).Error())
		}
	}
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
	current := revisionOf(now.public)
	out := []Revision{{Revision: current, Current: true}}
	out[0].read(now.public)
	if _, err := now.whole(); err != nil && out[0].Problem == "" {
		out[0].Problem = err.Error()
	}
	for _, secret := range slices.Backward(earlier(kept, current)) {
		revision := Revision{Revision: revisionOf(secret), Replaced: secret.CreationTimestamp.UTC()}
		revision.read(configMapOf(secret))
		if _, err := wholeOf(configMapOf(secret), secretOf(secret)); err != nil && revision.Problem == "" {
			revision.Problem = err.Error()
		}
		out = append(out, revision)
	}
	return out, nil
}

func (r *Revision) read(configMap *corev1.ConfigMap) {
	pipeline, err := pipelineOf(configMap)
	if err != nil {
		r.Problem = err.Error()
		return
	}
	r.Schedule = pipeline.AirflowConfig.ScheduleInterval
}

// Rollback puts an earlier configuration in force again; 0 is the one before the current one. It becomes a new revision.
// Parameters of the client, such as the image, stay as they are, and so does the connection to OpenMetadata: the token of
// then may have expired since. Where the connection in force cannot be read, a warning says that it is the one of then.
func (c *Client) Rollback(ctx context.Context, fqn string, revision int64, options DeployOptions) (*DeployResult, error) {
	to, err := c.rollback(ctx, fqn, revision)
	if err != nil {
		return nil, err
	}
	options.keepSuspend = true
	result, err := c.deployObjects(ctx, to.pipeline, to.objects, options)
	if err != nil {
		return nil, err
	}
	result.Warnings = append(to.warnings, result.Warnings...)
	return result, nil
}

// CheckRollback finds the configuration that Rollback would put in force and makes its objects, and sends nothing.
func (c *Client) CheckRollback(ctx context.Context, fqn string, revision int64) (*DeployResult, error) {
	to, err := c.rollback(ctx, fqn, revision)
	if err != nil {
		return nil, err
	}
	return &DeployResult{FQN: fqn, Schedule: to.pipeline.AirflowConfig.ScheduleInterval, Revision: to.current + 1, Warnings: to.warnings}, nil
}

// goal is an earlier configuration, to be put in force again.
type goal struct {
	pipeline *omapi.IngestionPipeline
	objects  *Objects
	// current is the revision that is in force.
	current  int64
	warnings []string
}

func (c *Client) rollback(ctx context.Context, fqn string, revision int64) (*goal, error) {
	now, kept, err := c.revisions(ctx, fqn)
	if err != nil {
		return nil, err
	}
	to := &goal{current: revisionOf(now.public)}
	kept = earlier(kept, to.current)
	var i int
	if revision == 0 {
		i, to.warnings = newestReadable(kept)
	} else {
		i = slices.IndexFunc(kept, func(s *corev1.Secret) bool { return revisionOf(s) == revision })
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("%w: pipeline %s has no earlier configuration to go back to", ErrNoRevision, fqn)
	}
	if i < 0 {
		numbers := make([]int64, len(kept))
		for i, secret := range kept {
			numbers[i] = revisionOf(secret)
		}
		return nil, fmt.Errorf("%w: pipeline %s has kept %v; see pipelinectl history %s", ErrNoRevision, fqn, numbers, fqn)
	}
	public := configMapOf(kept[i])
	if to.pipeline, err = pipelineOf(public); err != nil {
		return nil, err
	}
	config, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	full, err := wholeOf(public, secretOf(kept[i]))
	if err != nil {
		return nil, fmt.Errorf("revision %d of pipeline %s: %w; see pipelinectl history %s for another one", revisionOf(kept[i]), fqn, err, fqn)
	}
	inForce, err := now.whole()
	if err != nil {
		to.warnings = append(to.warnings, fmt.Sprintf("the connection to OpenMetadata is that of revision %d, since the one in force cannot be read: %v", revisionOf(kept[i]), err))
	} else {
		connect(full, connectionOf(inForce))
	}
	// What was public then may be secret now.
	entity, err := entityJSON(config, to.pipeline)
	if err != nil {
		return nil, err
	}
	to.objects, err = objectsOf(config, to.pipeline, full, entity)
	return to, err
}

// newestReadable passes over revisions that no run could read, and says which. Where there is none it is the newest.
func newestReadable(kept []*corev1.Secret) (at int, warnings []string) {
	for i := range slices.Backward(kept) {
		_, err := pipelineOf(configMapOf(kept[i]))
		if err == nil {
			_, err = wholeOf(configMapOf(kept[i]), secretOf(kept[i]))
		}
		if err == nil {
			return i, warnings
		}
		warnings = append(warnings, fmt.Sprintf("revision %d is passed over, since it cannot be read: %v", revisionOf(kept[i]), err))
	}
	return len(kept) - 1, nil
}

// edition is one configuration.
type edition struct {
	public *corev1.ConfigMap
	// secret is nil where it is gone.
	secret *corev1.Secret
}

func (e edition) whole() (workflow.Config, error) {
	if e.secret == nil {
		return nil, errors.New("its Secret is gone")
	}
	return wholeOf(e.public, e.secret)
}

// revisions gives the configuration in force and those that are kept, oldest first.
func (c *Client) revisions(ctx context.Context, fqn string) (edition, []*corev1.Secret, error) {
	public, names, err := c.configMap(ctx, fqn)
	if err != nil {
		return edition{}, nil, err
	}
	all, err := c.secrets().list(ctx, pipelineSelector(names))
	if err != nil {
		return edition{}, nil, c.failed("list the Secrets of pipeline "+fqn, err)
	}
	now := edition{public: public}
	var secrets []*corev1.Secret
	for _, o := range all {
		secret, _ := o.(*corev1.Secret)
		if secret.Name == names.Secret {
			now.secret = secret
		}
		secrets = append(secrets, secret)
	}
	return now, ownRevisions(secrets, fqn), nil
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
	out := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: revision.Name}, Data: map[string][]byte{}}
	for key, value := range revision.Data {
		if name, ok := strings.CutPrefix(key, revisionSecret); ok {
			out.Data[name] = value
		}
	}
	return out
}
