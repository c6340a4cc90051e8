package k8sclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// undoTimeout bounds the way back after a failed deploy, which goes on when the caller's context has ended.
const undoTimeout = 15 * time.Second

// DeployResult says what a deploy did.
type DeployResult struct {
	FQN string `json:"fullyQualifiedName"`
	// Objects are kind/name, in the order in which they were applied.
	Objects []string `json:"objects"`
	// Schedule is the cron expression; empty for a pipeline on demand.
	Schedule string `json:"schedule,omitempty"`
}

// Deploy puts a pipeline's objects into the namespace, or brings them up to date. Where it fails half way, what it
// made is removed and what it changed is put back.
func (c *Client) Deploy(ctx context.Context, pipeline *omapi.IngestionPipeline, service *omapi.Service) (*DeployResult, error) {
	if err := workflow.CheckType(pipeline.PipelineType); err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	if service == nil && pipeline.PipelineType != omapi.PipelineApplication {
		var err error
		if service, err = c.om.GetService(ctx, pipeline.Service); err != nil {
			return nil, err
		}
	}
	objects, err := NewObjects(&c.config, pipeline, service)
	if err != nil {
		return nil, err
	}
	result := &DeployResult{FQN: pipeline.FQN()}
	if objects.CronJob != nil {
		result.Schedule = objects.CronJob.Spec.Schedule
	}
	var done []applied
	for _, step := range c.desired(objects) {
		before, err := c.apply(ctx, step, pipeline.FQN())
		if err != nil {
			return nil, errors.Join(err, c.undo(ctx, done))
		}
		done = append(done, applied{desired: step, before: before})
		result.Objects = append(result.Objects, step.kind+"/"+step.object.GetName())
	}
	if objects.CronJob == nil {
		// The pipeline had a schedule before.
		if _, err := c.deleteOwned(ctx, c.cronJobs(), identity.NamesOf(pipeline.Name, pipeline.FQN()).CronJob, pipeline.FQN()); err != nil {
			return nil, errors.Join(err, c.undo(ctx, done))
		}
	}
	return result, nil
}

// desired is an object as it shall be.
type desired struct {
	resourceClient

	object metav1.Object
}

type applied struct {
	desired

	// before is what was there; nil where nothing was.
	before metav1.Object
}

func (c *Client) desired(objects *Objects) []desired {
	out := []desired{{c.configMaps(), objects.ConfigMap}, {c.secrets(), objects.Secret}}
	if objects.CronJob != nil {
		out = append(out, desired{c.cronJobs(), objects.CronJob})
	}
	return out
}

// apply gives what was there before.
func (c *Client) apply(ctx context.Context, step desired, fqn string) (metav1.Object, error) {
	name := step.object.GetName()
	before, err := step.get(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		before = nil
	case err != nil:
		return nil, c.failed(fmt.Sprintf("read %s %s", step.kind, name), err)
	default:
		if err := checkOwner(step.kind, before, fqn); err != nil {
			return nil, err
		}
	}
	data, err := applyPatch(step.object)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", step.kind, name, err)
	}
	force := true // The objects are this client's alone.
	if err := step.patch(ctx, name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: FieldManager, Force: &force}); err != nil {
		return nil, c.failed(fmt.Sprintf("apply %s %s", step.kind, name), err)
	}
	return before, nil
}

// applyPatch leaves out what only the server writes.
func applyPatch(object any) ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	return json.Marshal(content)
}

func (c *Client) undo(ctx context.Context, done []applied) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var errs []error
	for _, step := range slices.Backward(done) {
		name := step.object.GetName()
		if step.before == nil {
			if err := step.delete(ctx, name); err != nil && !apierrors.IsNotFound(err) {
				errs = append(errs, c.failed(fmt.Sprintf("remove %s %s after the failure", step.kind, name), err))
			}
			continue
		}
		step.before.SetResourceVersion("")
		if err := step.update(ctx, step.before); err != nil {
			errs = append(errs, c.failed(fmt.Sprintf("put %s %s back after the failure", step.kind, name), err))
		}
	}
	return errors.Join(errs...)
}
