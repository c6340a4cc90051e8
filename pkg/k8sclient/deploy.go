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

	"golang.org/x/sync/semaphore"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"

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
	// Objects are in the order in which they were applied.
	Objects []ObjectResult `json:"objects"`
	// Schedule is the cron expression; empty for a pipeline on demand.
	Schedule string `json:"schedule,omitempty"`
	// Revision counts the pipeline's configurations; Rollback goes back to an earlier one.
	Revision int64 `json:"revision"`
}

// Action is created, configured or unchanged: that of the object that changed most.
func (r *DeployResult) Action() string {
	action := ActionUnchanged
	for _, object := range r.Objects {
		switch object.Action {
		case ActionCreated:
			if object.Kind == "ConfigMap" {
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
	// snapshot is what is in the namespace, where the caller has read it for many pipelines at once.
	snapshot *snapshot
	// keepSuspend leaves a schedule in or out of force, as it is.
	keepSuspend bool
}

// Deploy puts a pipeline's objects into the namespace, or brings them up to date. Where a deploy fails half way, what it
// made is removed and what it changed is put back. Deploys of one pipeline at the same time end with the objects of one
// of them.
func (c *Client) Deploy(ctx context.Context, pipeline *omapi.IngestionPipeline, options DeployOptions) (*DeployResult, error) {
	config, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := c.render(ctx, config, pipeline, options.Service)
	if err != nil {
		return nil, err
	}
	return c.deployObjects(ctx, pipeline, objects, options)
}

// Render makes a pipeline's objects and changes nothing. The service may be nil: then OpenMetadata is asked.
func (c *Client) Render(ctx context.Context, pipeline *omapi.IngestionPipeline, service *omapi.Service) (*Objects, error) {
	return c.render(ctx, &c.config, pipeline, service)
}

func (c *Client) render(ctx context.Context, config *Config, pipeline *omapi.IngestionPipeline, service *omapi.Service) (*Objects, error) {
	if err := workflow.CheckType(pipeline.PipelineType); err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	if service == nil && pipeline.PipelineType != omapi.PipelineApplication {
		var err error
		if service, err = c.om.GetService(ctx, pipeline.Service); err != nil {
			return nil, err
		}
	}
	return NewObjects(config, pipeline, service)
}

func (c *Client) deployObjects(ctx context.Context, pipeline *omapi.IngestionPipeline, objects *Objects, options DeployOptions) (*DeployResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, fmt.Errorf("the deploy is not done within %s", deployTimeout))
	defer cancel()
	var (
		result   *DeployResult
		conflict error
	)
	// Deploys of one process take turns; those of others are found by the conflicts that they make.
	unlock, err := c.lock(ctx, identity.NamesOf(pipeline.Name, pipeline.FQN()).ConfigMap)
	if err != nil {
		return nil, c.failed("deploy pipeline "+pipeline.FQN(), err)
	}
	defer unlock()
	// Not wait.ExponentialBackoffWithContext, which gives up when the delay has reached its cap.
	err = c.conflicts.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		d := &deployment{client: c, fqn: pipeline.FQN(), names: identity.NamesOf(pipeline.Name, pipeline.FQN()), objects: objects, pipelineName: pipeline.Name, dryRun: options.DryRun, keepSuspend: options.keepSuspend || pipeline.Enabled == nil && !pipeline.AirflowConfig.PausePipeline}
		before := options.snapshot
		options.snapshot = nil // After a conflict it is out of date.
		err := d.run(ctx, before)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			conflict = err
			return false, nil
		}
		if err != nil {
			return false, errors.Join(err, d.undo(ctx))
		}
		result = d.result()
		return true, nil
	})
	if wait.Interrupted(err) && conflict != nil {
		return nil, c.failed("deploy pipeline "+pipeline.FQN(), fmt.Errorf("others change it at the same time: %w", conflict))
	}
	return result, err
}

// lock waits until no other deploy of the pipeline, or of one that would have the same names, is at work in this process.
func (c *Client) lock(ctx context.Context, name string) (unlock func(), err error) {
	value, _ := c.locks.LoadOrStore(name, semaphore.NewWeighted(1))
	held, _ := value.(*semaphore.Weighted)
	if err := held.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { held.Release(1) }, nil
}

// deployment is one try of one deploy. Every write of an object that was there names the version that was read, and
// the ConfigMap is written first: whoever writes it last finds everything after it as it was, and everyone else finds a
// conflict and begins anew. So all objects end up from one deploy.
type deployment struct {
	client *Client
	fqn    string
	// names are the preferred ones until choose knows better.
	names        identity.ObjectNames
	pipelineName string
	objects      *Objects
	dryRun       bool
	// keepSuspend leaves a schedule in or out of force, as it is: the pipeline does not say which.
	keepSuspend bool

	revision int64
	// outdated are revisions over the limit.
	outdated []*corev1.Secret
	done     []applied
}

// applied is an object that was written, and what was there before.
type applied struct {
	resourceClient

	name   string
	action string
	// before is nil where nothing was there; after is nil where it was deleted.
	before, after object
}

func (d *deployment) run(ctx context.Context, before *snapshot) error {
	if before == nil {
		var err error
		if before, err = d.client.snapshotOf(ctx, identity.Candidates(d.pipelineName, d.fqn), d.fqn); err != nil {
			return err
		}
	}
	d.choose(before)
	for _, step := range d.steps() {
		existing := before.find(step.client.kind, step.name)
		if existing != nil {
			if err := checkOwner(step.client.kind, existing, d.fqn); err != nil {
				return err
			}
		}
	}
	if was, ok := before.find("CronJob", d.names.CronJob).(*batchv1.CronJob); ok && d.keepSuspend && d.objects.CronJob != nil {
		d.objects.CronJob.Spec.Suspend = new(suspended(was))
	}
	if err := d.revise(ctx, before); err != nil {
		return err
	}
	for _, step := range d.steps() {
		if err := d.write(ctx, step, before.find(step.client.kind, step.name)); err != nil {
			return err
		}
	}
	if err := d.verify(ctx); err != nil {
		return err
	}
	return d.prune(ctx)
}

// choose takes the names that the pipeline has, else those that are free.
func (d *deployment) choose(before *snapshot) {
	preferred := d.names
	d.names = before.chosen(identity.Candidates(d.pipelineName, d.fqn), d.fqn)
	d.objects = d.objects.named(preferred, d.names)
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

func (d *deployment) write(ctx context.Context, s step, before object) error {
	if s.desired == nil {
		return d.remove(ctx, s, before)
	}
	version := ""
	if before != nil {
		version = before.GetResourceVersion()
	}
	patch, err := applyPatch(s.desired, version)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", s.client.kind, s.name, err)
	}
	// What is there is the pipeline's own, so its fields are taken from others. What was not there when it was looked at
	// may be anyone's.
	after, created, err := s.client.apply(ctx, s.name, patch, before != nil, d.dryRun)
	if err != nil {
		return d.explain(ctx, s, before, err)
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
	d.done = append(d.done, entry)
	return nil
}

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

// explain tells a conflict with another deploy, which is tried again, from one with somebody else's object.
func (d *deployment) explain(ctx context.Context, s step, before object, err error) error {
	failure := d.client.failed(fmt.Sprintf("apply %s %s", s.client.kind, s.name), err)
	if before == nil && apierrors.IsConflict(err) {
		if existing, getErr := s.client.get(ctx, s.name); getErr == nil {
			if ownerErr := checkOwner(s.client.kind, existing, d.fqn); ownerErr != nil {
				return ownerErr
			}
		}
	}
	return failure
}

// withdraw handles an object that came up since it was looked at: another deploy's, which is a conflict, or somebody
// else's, from which our fields are taken back.
func (d *deployment) withdraw(ctx context.Context, s step, after object) error {
	foreign := slices.ContainsFunc(after.GetManagedFields(), managedByOther)
	if !foreign {
		return apierrors.NewConflict(batchResource(s.client.resource), s.name, errors.New("another deploy of the pipeline has just made it"))
	}
	nothing, err := json.Marshal(map[string]any{
		"apiVersion": apiVersion(s.desired), "kind": s.client.kind, "metadata": map[string]any{"name": s.name},
	})
	if err == nil && !d.dryRun {
		_, _, err = s.client.apply(ctx, s.name, nothing, true, false)
	}
	notOurs := fmt.Errorf("%w: %s %s was made by someone else; delete or rename it", ErrNotOurs, s.client.kind, s.name)
	return errors.Join(notOurs, err)
}

// remove deletes the CronJob of a pipeline that has no schedule any more.
func (d *deployment) remove(ctx context.Context, s step, before object) error {
	if before == nil {
		return nil
	}
	if !d.dryRun {
		if err := s.client.delete(ctx, s.name, before.GetUID()); err != nil && !apierrors.IsNotFound(err) {
			return d.client.failed(fmt.Sprintf("delete %s %s", s.client.kind, s.name), err)
		}
	}
	d.done = append(d.done, applied{resourceClient: s.client, name: s.name, action: ActionDeleted, before: before})
	return nil
}

// verify looks whether another deploy came in between. A new ConfigMap needs no look: who else wanted to make one was told.
func (d *deployment) verify(ctx context.Context) error {
	first := d.done[0]
	if d.dryRun || first.action == ActionCreated || !slices.ContainsFunc(d.done[1:], func(a applied) bool { return a.action != ActionUnchanged }) {
		return nil
	}
	now, err := first.get(ctx, first.name)
	if err != nil {
		return d.client.failed(fmt.Sprintf("read %s %s", first.kind, first.name), err)
	}
	if now.GetResourceVersion() != first.after.GetResourceVersion() {
		return apierrors.NewConflict(batchResource(first.resource), first.name, errors.New("another deploy has changed it"))
	}
	return nil
}

func (d *deployment) result() *DeployResult {
	out := &DeployResult{FQN: d.fqn, Revision: d.revision}
	for _, a := range d.done {
		out.Objects = append(out.Objects, ObjectResult{Kind: a.kind, Name: a.name, Action: a.action})
	}
	if d.objects.CronJob != nil {
		out.Schedule = d.objects.CronJob.Spec.Schedule
	}
	return out
}

// undo removes what was made and puts back what was changed, unless someone has changed it since.
func (d *deployment) undo(ctx context.Context) error {
	if d.dryRun {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var errs []error
	for _, a := range slices.Backward(d.done) {
		var err error
		switch {
		case a.before == nil:
			err = a.delete(ctx, a.name, a.after.GetUID())
		case a.action == ActionUnchanged:
		default:
			version := ""
			if a.after != nil {
				version = a.after.GetResourceVersion()
			}
			var patch []byte
			if patch, err = applyPatch(a.before, version); err == nil {
				_, _, err = a.apply(ctx, a.name, patch, true, false)
			}
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, d.client.failed(fmt.Sprintf("put %s %s back after the failure", a.kind, a.name), err))
		}
	}
	return errors.Join(errs...)
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
	for _, name := range []string{"creationTimestamp", "managedFields", "uid", "resourceVersion", "generation", "selfLink"} {
		unstructured.RemoveNestedField(out, "metadata", name)
	}
	if version != "" {
		if err := unstructured.SetNestedField(out, version, "metadata", "resourceVersion"); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return escapeForYAML(data), nil
}

// escapeForYAML escapes what JSON allows in a text and YAML does not (YAML 1.2, 5.1): the API server reads an apply as YAML.
func escapeForYAML(data []byte) []byte {
	forbidden := func(r rune) bool {
		return r >= 0x7f && r <= 0x9f && r != 0x85 || r == 0xfeff || r == 0xfffe || r == 0xffff
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
