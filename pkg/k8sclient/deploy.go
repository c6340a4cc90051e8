package k8sclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

const (
	// undoTimeout bounds the way back after a failed deploy, which goes on when the caller's context has ended.
	undoTimeout = 15 * time.Second
	// deployTimeout bounds one pipeline's deploy, with its repetitions after conflicts.
	deployTimeout = 2 * time.Minute
)

// unfinished is in the place of a deploy's id on a CronJob that is suspended until the deploy is done.
const unfinished = "unfinished"

func isUnfinished(cronJob *batchv1.CronJob) bool {
	return cronJob.Annotations[identity.AnnotationDeploy] == unfinished
}

// What a deploy did to an object.
const (
	ActionCreated    = "created"
	ActionConfigured = "configured"
	ActionUnchanged  = "unchanged"
	ActionDeleted    = "deleted"
)

// ObjectResult is one object and what was done to it.
type ObjectResult struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action string `json:"action"`
}

// DeployResult says what a deploy did.
type DeployResult struct {
	FQN string `json:"fullyQualifiedName"`
	// Objects are the ConfigMap, the Secret and the CronJob.
	Objects []ObjectResult `json:"objects"`
	// Schedule is the cron expression; empty for a pipeline on demand.
	Schedule string `json:"schedule,omitempty"`
	// Disabled says that the schedule is not in force.
	Disabled bool `json:"disabled,omitempty"`
	// Revision counts the pipeline's configurations; Rollback goes back to an earlier one.
	Revision int64 `json:"revision"`
	// Secrets are what is kept in the Secret, and why, where the caller adds it; see Explain.
	Secrets []workflow.Finding `json:"secrets,omitempty"`
	// Warnings are about what is left to do after a deploy that is done.
	Warnings []string `json:"warnings,omitempty"`
}

// Action is created, configured or unchanged: that of the object that changed most.
func (r *DeployResult) Action() string {
	action := ActionUnchanged
	for _, object := range r.Objects {
		switch object.Action {
		case ActionCreated:
			if object.Kind == kindConfigMap {
				return ActionCreated
			}
			action = ActionConfigured
		case ActionConfigured, ActionDeleted:
			action = ActionConfigured
		}
	}
	return action
}

// DeployOptions are how a deploy is done.
type DeployOptions struct {
	// DryRun lets the server check all and change nothing.
	DryRun bool
	// Service is the one that the pipeline reads from; nil: OpenMetadata is asked.
	Service *omapi.Service
	// Copy says that the pipeline is not what OpenMetadata has now, but a copy such as a file: what enable or disable said holds
	// against it.
	Copy bool
	// snapshot is what is in the namespace, where the caller has read it for many pipelines at once.
	snapshot *snapshot
	// keepSuspend leaves a schedule in or out of force, as it is.
	keepSuspend bool
}

// Deploy puts a pipeline's objects into the namespace, or brings them up to date. Where a deploy fails half way, what it
// made is removed and what it changed is put back. Deploys of one pipeline at the same time end with the objects of one
// of them.
func (c *Client) Deploy(ctx context.Context, pipeline *omapi.IngestionPipeline, options DeployOptions) (*DeployResult, error) {
	objects, err := c.Render(ctx, pipeline, options.Service)
	if err != nil {
		return nil, err
	}
	warnings, err := c.checkToken(ctx, pipeline, &tokenAnswers{})
	if err != nil {
		return nil, err
	}
	result, err := c.deployObjects(ctx, pipeline, objects, options)
	if result != nil {
		result.Warnings = append(warnings, result.Warnings...)
	}
	return result, err
}

// Render makes a pipeline's objects as Deploy does, and changes nothing. The service may be nil: then OpenMetadata is asked.
func (c *Client) Render(ctx context.Context, pipeline *omapi.IngestionPipeline, service *omapi.Service) (*Objects, error) {
	config, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	return c.render(ctx, config, pipeline, service)
}

func (c *Client) render(ctx context.Context, config *Config, pipeline *omapi.IngestionPipeline, service *omapi.Service) (*Objects, error) {
	if err := workflow.CheckType(pipeline.PipelineType); err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	if service == nil && pipeline.PipelineType != omapi.PipelineApplication {
		var err error
		if service, err = c.service(ctx, pipeline.Service); err != nil {
			return nil, err
		}
	}
	return NewObjects(config, pipeline, service)
}

func (c *Client) deployObjects(ctx context.Context, pipeline *omapi.IngestionPipeline, objects *Objects, options DeployOptions) (*DeployResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, fmt.Errorf("the deploy is not done within %s", deployTimeout))
	defer cancel()
	d := newDeployment(c, pipeline, objects, options)
	// Deploys of one process take turns; those of others are found by the conflicts that they make.
	unlock, err := c.locks.lock(ctx, d.preferred.ConfigMap)
	if err != nil {
		return nil, c.failed("deploy pipeline "+d.fqn, err)
	}
	defer unlock()
	var conflict error
	// Not wait.ExponentialBackoffWithContext, which gives up when the delay has reached its cap.
	err = c.conflicts.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := d.run(ctx)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			conflict = err
			return false, nil
		}
		return err == nil, err
	})
	if err == nil {
		d.prune(ctx)
		d.settleSchedule(ctx)
		return d.result(), nil
	}
	if wait.Interrupted(err) && conflict != nil {
		err = c.failed("deploy pipeline "+d.fqn, fmt.Errorf("others change it at the same time: %w", conflict))
	}
	return nil, errors.Join(err, d.undo(ctx))
}

// deployment is one deploy. The ConfigMap is the commit point: it says which configuration is in force. A new pipeline's is
// written first, since it owns the others. Where there is one, the Secret is written before it and holds what belongs to
// either configuration, so that a run finds a pair that belongs together wherever the deploy is cut off; the CronJob follows.
// All three carry the id of the deploy, so that a deploy that was cut off is seen, and so that each of them changes when any
// does. Every write of an object that was there names the version that was read: whoever comes second finds a conflict and
// begins anew, so all objects end up from one deploy.
type deployment struct {
	client   *Client
	pipeline *omapi.IngestionPipeline
	fqn      string
	// preferred are the names that the objects were made with.
	preferred identity.ObjectNames
	rendered  *Objects
	dryRun    bool
	// keepSuspend leaves a schedule in or out of force, as it is: the pipeline does not say which.
	keepSuspend bool
	// before is what is in the namespace, where the first try is spared the look.
	before *snapshot

	// names and objects are those of this try, tried is what it has written.
	names   identity.ObjectNames
	objects *Objects
	tried   []applied
	// done is what all tries have written.
	done []applied

	// id names this deploy on all of its objects.
	id string
	// owner is the ConfigMap, once it is known to be there: the garbage collector removes with it what it owns, also what
	// the API server makes later.
	owner *metav1.OwnerReference
	// begun is when the deploy began.
	begun time.Time

	// isCopy is DeployOptions.Copy.
	isCopy bool
	// active says whether the schedule shall be in force, now or from its start on. decision is what enable or disable said
	// last, overruled that OpenMetadata has said something else since.
	active, overruled bool
	decision          decision
	scheduleNotes     []string

	revision int64
	// outdated are revisions over the limit.
	outdated []*corev1.Secret
	warnings []string
}

func newDeployment(c *Client, pipeline *omapi.IngestionPipeline, objects *Objects, options DeployOptions) *deployment {
	return &deployment{
		client: c, pipeline: pipeline, fqn: pipeline.FQN(), preferred: identity.NamesOf(pipeline.Name, pipeline.FQN()), rendered: objects,
		begun: time.Now(), dryRun: options.DryRun, keepSuspend: options.keepSuspend || pipeline.Enabled == nil && pipeline.AirflowConfig.PausePipeline == nil, before: options.snapshot,
		isCopy: options.Copy,
	}
}

// applied is an object that was written, and what was there before.
type applied struct {
	resourceClient

	name   string
	action string
	// before is nil where nothing was there; after is nil where it was deleted.
	before, after object
	// desired is set where no answer came, or only to a repetition: the object may be as desired, or else as in after.
	desired object
}

// run is one try.
func (d *deployment) run(ctx context.Context) error {
	before := d.before
	d.before, d.tried = nil, nil // After a conflict it is out of date.
	candidates := identity.Candidates(d.pipeline.Name, d.fqn)
	if before == nil {
		var err error
		if before, err = d.client.snapshotOf(ctx, candidates, d.fqn); err != nil {
			return err
		}
	}
	d.names = before.chosen(candidates, d.fqn)
	if err := d.settleNames(ctx, before); err != nil {
		return err
	}
	d.objects = d.rendered.named(d.preferred, d.names)
	for _, step := range d.steps() {
		if err := d.check(step, before.find(step.client.kind, step.name)); err != nil {
			return err
		}
	}
	if err := d.cancelDelete(ctx, before); err != nil {
		return err
	}
	d.schedule(before)
	if err := d.revise(ctx, before); err != nil {
		return err
	}
	for _, step := range d.inOrder(before) {
		if err := d.write(ctx, step, before.find(step.client.kind, step.name)); err != nil {
			return err
		}
	}
	return d.verify(ctx)
}

// schedule puts the schedule in force or out of it. Before its start it stays suspended until hold has been done.
func (d *deployment) schedule(before *snapshot) {
	d.scheduleNotes, d.overruled = nil, false
	was, _ := before.find("CronJob", d.names.CronJob).(*batchv1.CronJob)
	if was != nil && isUnfinished(was) {
		was = nil // That it is suspended is nobody's wish.
	}
	d.decide(was)
	if d.objects.CronJob == nil {
		return
	}
	w, now := windowOf(d.objects.CronJob), time.Now()
	waits := w.future(now) && (was == nil || !isHeld(was, w))
	d.objects.CronJob.Spec.Suspend = new(!d.active || waits || w.ended(now))
}

// settleNames gives up names of which an object has become another pipeline's since this deploy made its ConfigMap: two
// pipelines of one name were deployed at the same time.
func (d *deployment) settleNames(ctx context.Context, before *snapshot) error {
	if !slices.ContainsFunc(before.under(d.names), func(o object) bool { return taken(o, d.fqn) }) {
		return nil
	}
	for i, a := range d.done {
		if a.kind != kindConfigMap || a.name != d.names.ConfigMap || a.action != ActionCreated {
			continue
		}
		if err := d.putBack(ctx, a); err != nil && !apierrors.IsNotFound(err) {
			return d.client.failed("give up ConfigMap "+a.name+", whose name another pipeline has taken", err)
		}
		d.done = slices.Delete(d.done, i, i+1)
		return step{client: a.resourceClient, name: a.name}.conflict("another pipeline has taken the name")
	}
	return nil
}

// cancelDelete takes back the request to delete the pipeline, from a delete that was cut off.
func (d *deployment) cancelDelete(ctx context.Context, before *snapshot) error {
	configMap := before.find(kindConfigMap, d.names.ConfigMap)
	if d.dryRun || configMap == nil || configMap.GetAnnotations()[identity.AnnotationDeleteRequested] == "" {
		return nil
	}
	client := d.client.configMaps()
	err := client.annotate(ctx, configMap, identity.AnnotationDeleteRequested, nil)
	if err != nil {
		return d.client.failed("update ConfigMap "+configMap.GetName(), err)
	}
	return step{client: client, name: configMap.GetName()}.conflict("it was about to be deleted")
}

// step is an object as it shall be; nil where it shall not be.
type step struct {
	client  resourceClient
	name    string
	desired object
}

func (d *deployment) steps() []step {
	out := []step{
		{d.client.configMaps(), d.names.ConfigMap, d.objects.ConfigMap},
		{d.client.secrets(), d.names.Secret, d.objects.Secret},
		{d.client.cronJobs(), d.names.CronJob, nil},
	}
	if d.objects.CronJob != nil {
		out[2].desired = d.objects.CronJob
	}
	return out
}

// inOrder are the steps in the order in which they are written.
func (d *deployment) inOrder(before *snapshot) []step {
	out := d.steps()
	configMap := before.find(kindConfigMap, d.names.ConfigMap)
	if configMap == nil {
		d.owner = nil
		return out
	}
	d.owner = ownedBy(configMap)
	out[0], out[1] = out[1], out[0]
	return out
}

// ownedBy is a reference to a pipeline's ConfigMap. Nothing waits for what it owns before it goes: to block its deletion would
// need a permission of its own where OwnerReferencesPermissionEnforcement is on.
func ownedBy(configMap object) *metav1.OwnerReference {
	return &metav1.OwnerReference{APIVersion: "v1", Kind: kindConfigMap, Name: configMap.GetName(), UID: configMap.GetUID()}
}

// check refuses to write over somebody else's object, and over one that will be gone in a moment.
func (d *deployment) check(s step, existing object) error {
	if existing == nil || s.desired == nil {
		return nil
	}
	if err := checkOwner(s.client.kind, existing, d.fqn); err != nil {
		// What another pipeline's deploy has left under this name may be about to go.
		if taken(existing, d.fqn) && time.Since(d.begun) < d.client.settle {
			return s.conflict(err.Error())
		}
		return err
	}
	if existing.GetDeletionTimestamp() != nil {
		return s.conflict("it is being deleted")
	}
	return nil
}

func (s step) conflict(why string) error {
	return apierrors.NewConflict(batchResource(s.client.resource), s.name, errors.New(why))
}

func (d *deployment) write(ctx context.Context, s step, before object) error {
	if s.desired == nil {
		return d.remove(ctx, s, before)
	}
	if d.owner != nil && s.client.kind != kindConfigMap {
		s.desired.SetOwnerReferences([]metav1.OwnerReference{*d.owner})
	}
	cronJob, ok := s.desired.(*batchv1.CronJob)
	if !ok || before != nil || suspended(cronJob) || d.dryRun || d.created(kindConfigMap) {
		return d.apply(ctx, s, before)
	}
	// A CronJob that the API server makes after the deploy was undone must not fire: it is made suspended. With a new
	// pipeline it would go with its owner.
	waiting := cronJob.DeepCopy()
	waiting.Spec.Suspend = new(true)
	waiting.Annotations[identity.AnnotationDeploy] = unfinished
	if err := d.apply(ctx, step{s.client, s.name, waiting}, nil); err != nil {
		return err
	}
	return d.apply(ctx, s, d.tried[len(d.tried)-1].after)
}

// created says whether this try has made the object of a kind.
func (d *deployment) created(kind string) bool {
	return slices.ContainsFunc(d.tried, func(a applied) bool { return a.kind == kind && a.action == ActionCreated })
}

func (d *deployment) apply(ctx context.Context, s step, before object) error {
	version := ""
	if before != nil {
		version = before.GetResourceVersion()
	}
	patch, err := applyPatch(s.desired, version)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", s.client.kind, s.name, err)
	}
	// What is there is the pipeline's own, so its fields are taken from others. What was not there when it was looked at
	// may be anyone's: the next try finds out whose.
	var lost bool
	s.client.lost = &lost
	after, created, err := s.client.apply(ctx, d.manager(), s.name, patch, before != nil, d.dryRun)
	if lost && (err != nil || before == nil && !created) {
		d.record(applied{resourceClient: s.client, name: s.name, action: ActionConfigured, before: before, desired: s.desired})
	}
	if err != nil {
		return d.client.failed(fmt.Sprintf("apply %s %s", s.client.kind, s.name), err)
	}
	entry := applied{resourceClient: s.client, name: s.name, action: ActionConfigured, before: before, after: after}
	switch {
	case created:
		entry.action = ActionCreated
	case before == nil:
		return d.withdraw(ctx, s, after)
	case d.same(before, after):
		entry.action = ActionUnchanged
	}
	if s.client.kind == kindConfigMap {
		d.owner = ownedBy(after)
	}
	d.record(entry)
	return nil
}

// manager owns what a deploy of the pipeline applies. It is another for each pipeline, so that one of the same name in
// another service, which finds nothing there and makes the same object a moment later, meets a conflict.
func (d *deployment) manager() string { return managerOf(d.fqn) }

func managerOf(fqn string) string { return FieldManager + "-" + identity.Hash(fqn) }

// same says whether an apply has changed nothing.
func (d *deployment) same(before, after object) bool {
	if !d.dryRun {
		return before.GetResourceVersion() == after.GetResourceVersion()
	}
	// A dry run leaves the version as it was, whatever it would change.
	plain := func(o object) runtime.Object {
		copied := o.DeepCopyObject()
		if accessor, err := meta.Accessor(copied); err == nil {
			accessor.SetManagedFields(nil)
		}
		return copied
	}
	return equality.Semantic.DeepEqual(plain(before), plain(after))
}

// withdraw handles an object that came up since it was looked at: another deploy's of the pipeline, or somebody else's,
// from which our fields are taken back. The next try finds it.
func (d *deployment) withdraw(ctx context.Context, s step, after object) error {
	if d.foreign(after) && !d.dryRun {
		if err := d.takeBack(ctx, s); err != nil {
			return d.client.failed(fmt.Sprintf("take back what was written to %s %s, which is somebody else's", s.client.kind, s.name), err)
		}
	}
	return s.conflict("somebody has just made it")
}

// foreign says whether an object has fields of others, beside its status.
func (d *deployment) foreign(o object) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager != d.manager() && entry.Subresource == ""
	})
}

// takeBack removes our fields from an object.
func (d *deployment) takeBack(ctx context.Context, s step) error {
	nothing, err := json.Marshal(map[string]any{
		"apiVersion": apiVersion(s.desired), "kind": s.client.kind, fieldMetadata: map[string]any{"name": s.name},
	})
	if err != nil {
		return err
	}
	_, _, err = s.client.apply(ctx, d.manager(), s.name, nothing, true, false)
	return err
}

// remove deletes the CronJob of a pipeline that has no schedule any more; its runs go on.
func (d *deployment) remove(ctx context.Context, s step, before object) error {
	if before == nil || !owned(before, d.fqn) || before.GetDeletionTimestamp() != nil {
		return nil
	}
	if !d.dryRun {
		var lost bool
		s.client.lost = &lost
		err := s.client.delete(ctx, s.name, metav1.DeletePropagationOrphan, asRead(before))
		if apierrors.IsConflict(err) && !lost { // A CronJob that goes has another version, too.
			return d.client.failed(fmt.Sprintf("delete %s %s", s.client.kind, s.name), err)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			// It may be gone all the same: the way back looks.
			d.record(applied{resourceClient: s.client, name: s.name, action: ActionDeleted, before: before})
			return d.client.failed(fmt.Sprintf("delete %s %s", s.client.kind, s.name), err)
		}
	}
	d.record(applied{resourceClient: s.client, name: s.name, action: ActionDeleted, before: before})
	return nil
}

// record notes a write. Where an earlier try has written the object too, and nobody else has since, what was there before
// that one counts.
func (d *deployment) record(a applied) {
	d.tried = append(d.tried, a)
	at := slices.IndexFunc(d.done, func(other applied) bool { return other.kind == a.kind && other.name == a.name })
	if at < 0 {
		d.done = append(d.done, a)
		return
	}
	earlier := d.done[at]
	if d.left(earlier, a.before) {
		if a.desired != nil {
			a.after = a.before
		}
		a.before = earlier.before
		switch {
		case a.before == nil:
			a.action = ActionCreated
		case earlier.action != ActionUnchanged && a.action != ActionDeleted:
			a.action = ActionConfigured
		}
	}
	d.done[at] = a
}

// left says whether an object is as a write has left it, or may have where its answer was lost.
func (d *deployment) left(a applied, now object) bool {
	if a.desired == nil {
		return leftAs(a.after, now)
	}
	return a.after != nil && leftAs(a.after, now) || now != nil && d.wrote(a.desired, now)
}

// wrote says whether an object has our fields as desired; what a server adds to them does not count.
func (d *deployment) wrote(desired, now object) bool {
	ours := slices.ContainsFunc(now.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == d.manager() })
	want, ok := desired.DeepCopyObject().(object)
	if !ours || !ok {
		return false
	}
	// A typed client leaves the kind out, and times and numbers are compared though they are not set.
	want.GetObjectKind().SetGroupVersionKind(now.GetObjectKind().GroupVersionKind())
	want.SetCreationTimestamp(now.GetCreationTimestamp())
	want.SetGeneration(now.GetGeneration())
	return equality.Semantic.DeepDerivative(want, now)
}

// leftAs says whether nobody has changed an object since it was written. The status of a CronJob, which its controller
// writes, changes the version.
func leftAs(after, now object) bool {
	if after == nil || now == nil {
		return after == nil && now == nil
	}
	if _, ok := now.(*batchv1.CronJob); ok {
		return after.GetUID() == now.GetUID() && after.GetGeneration() == now.GetGeneration()
	}
	return after.GetUID() == now.GetUID() && after.GetResourceVersion() == now.GetResourceVersion()
}

// verify looks whether another deploy came in between: it may have left the CronJob as it was, so that no write has met it,
// but never the Secret. Of a pipeline that this try has made it needs no look: who else wanted to make it was told that it is
// there, and begins anew.
func (d *deployment) verify(ctx context.Context) error {
	at := slices.IndexFunc(d.tried, func(a applied) bool { return a.kind == kindSecret })
	changed := slices.ContainsFunc(d.tried, func(a applied) bool { return a.action != ActionUnchanged })
	if d.dryRun || d.created(kindConfigMap) || !changed {
		return nil
	}
	secret := d.tried[at]
	now, err := secret.get(ctx, secret.name)
	if err != nil {
		return d.client.failed(fmt.Sprintf("read %s %s", secret.kind, secret.name), err)
	}
	if now.GetResourceVersion() != secret.after.GetResourceVersion() {
		return apierrors.NewConflict(batchResource(secret.resource), secret.name, errors.New("another deploy has changed it"))
	}
	return nil
}

func (d *deployment) result() *DeployResult {
	out := &DeployResult{FQN: d.fqn, Revision: d.revision, Warnings: slices.Concat(d.scheduleNotes, d.warnings)}
	for _, step := range d.steps() {
		for _, a := range d.done {
			if a.kind == step.client.kind && a.name == step.name {
				out.Objects = append(out.Objects, ObjectResult{Kind: a.kind, Name: a.name, Action: a.action})
			}
		}
	}
	if d.objects.CronJob != nil {
		out.Schedule = d.objects.CronJob.Spec.Schedule
		out.Disabled = !d.active
	}
	return out
}

// undo removes what was made and puts back what was changed, in all tries. What others have written since is theirs.
func (d *deployment) undo(ctx context.Context) error {
	if d.dryRun {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var errs []error
	// The ConfigMap goes back before the Secret that belongs to it, and a new one after what it owns.
	order := map[string]int{"CronJob": 0, kindSecret: 1, kindConfigMap: 2}
	if !slices.ContainsFunc(d.done, func(a applied) bool { return a.kind == kindConfigMap && a.before == nil }) {
		order[kindSecret], order[kindConfigMap] = order[kindConfigMap], order[kindSecret]
	}
	done := slices.SortedStableFunc(slices.Values(d.done), func(a, b applied) int { return order[a.kind] - order[b.kind] })
	for _, a := range done {
		if a.action == ActionUnchanged {
			continue
		}
		// A CronJob's status may change between the look and the write.
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { return d.putBack(ctx, a) })
		if err == nil || apierrors.IsNotFound(err) {
			continue
		}
		errs = append(errs, d.client.failed(fmt.Sprintf("put %s %s back after the failure", a.kind, a.name), err))
		if a.kind == kindConfigMap && a.before != nil {
			break // The Secret holds what belongs to either configuration.
		}
	}
	return errors.Join(errs...)
}

func (d *deployment) putBack(ctx context.Context, a applied) error {
	now, err := a.get(ctx, a.name)
	if a.action == ActionDeleted {
		return d.remake(ctx, a, now, err)
	}
	if apierrors.IsNotFound(err) && a.isFirstConfigMap() {
		// Nothing owns it. The others go with it, or are harmless.
		if now, err = a.appears(ctx, a.name, d.client.settle); apierrors.IsNotFound(err) {
			return errors.New("whether it was made is not known; if pipelinectl list shows the pipeline as incomplete, deploy it again or delete it")
		}
	}
	if err != nil {
		return err
	}
	switch {
	case !d.left(a, now):
		if a.desired != nil && a.before != nil && leftAs(a.before, now) {
			return a.touch(ctx, now)
		}
		return nil
	case a.before != nil:
		return d.restore(ctx, a, now.GetResourceVersion())
	case a.desired != nil && d.foreign(now):
		return d.takeBack(ctx, step{a.resourceClient, a.name, a.desired})
	default:
		return a.delete(ctx, a.name, metav1.DeletePropagationBackground, asRead(now))
	}
}

// isFirstConfigMap says whether it is the ConfigMap of a pipeline that was not deployed before.
func (a applied) isFirstConfigMap() bool {
	return a.kind == kindConfigMap && a.desired != nil && a.before == nil
}

// remake makes an object again that was deleted, when it is gone.
func (d *deployment) remake(ctx context.Context, a applied, now object, err error) error {
	const interval = 100 * time.Millisecond
	goes := func() bool { return err == nil && now.GetDeletionTimestamp() != nil }
	_ = wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		if goes() {
			now, err = a.get(ctx, a.name)
		}
		return !goes(), nil
	})
	switch {
	case apierrors.IsNotFound(err):
		return d.restore(ctx, a, "")
	case err != nil:
		return err
	case now.GetDeletionTimestamp() != nil:
		return errors.New("it is being deleted, and does not go; deploy the pipeline again")
	case now.GetUID() == a.before.GetUID() && now.GetResourceVersion() == a.before.GetResourceVersion():
		return a.touch(ctx, now) // It was not deleted after all.
	default:
		return nil // Somebody has made one, or changed it.
	}
}

func (d *deployment) restore(ctx context.Context, a applied, version string) error {
	patch, err := applyPatch(a.before, version)
	if err != nil {
		return err
	}
	_, _, err = a.apply(ctx, d.manager(), a.name, patch, true, false)
	return err
}

// applyPatch is an object as an apply takes it: without what only the server writes. A version makes the apply fail
// where the object is not at it any more.
func applyPatch(o object, version string) ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	out := maps.Clone(content)
	delete(out, "status")
	out["apiVersion"], out["kind"] = apiVersion(o), kindOf(o)
	for _, name := range []string{"creationTimestamp", "managedFields", fieldUID, fieldResourceVersion, "generation", "selfLink"} {
		unstructured.RemoveNestedField(out, fieldMetadata, name)
	}
	if version != "" {
		if err := unstructured.SetNestedField(out, version, fieldMetadata, fieldResourceVersion); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return escapeForYAML(data), nil
}

// escapeForYAML escapes what JSON allows in a text and YAML does not (YAML 1.2, 5.1), and what YAML takes for a line break: the
// API server reads an apply as YAML.
func escapeForYAML(data []byte) []byte {
	forbidden := func(r rune) bool {
		return r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff
	}
	if bytes.IndexFunc(data, forbidden) < 0 {
		return data
	}
	var out bytes.Buffer
	for _, r := range string(data) {
		if forbidden(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes()
}
