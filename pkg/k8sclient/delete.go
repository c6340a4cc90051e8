package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// DeleteOptions are how a pipeline is deleted.
type DeleteOptions struct {
	// Force goes on where OpenMetadata cannot be told how the runs ended; KillResult.Problem says which.
	Force bool
}

// DeleteResult says what a delete did.
type DeleteResult struct {
	FQN string `json:"fullyQualifiedName"`
	// Killed are the runs that had not ended.
	Killed []KillResult `json:"killed,omitempty"`
	// Objects are kind/name, in the order in which they were deleted.
	Objects []string `json:"objects"`
}

// Delete removes a pipeline, also what is left of one whose ConfigMap is gone. Its ConfigMap says first that it is being
// deleted, so that a delete that was cut off is seen; then the schedule goes, so that no run starts, without the runs that it
// has started: they could not tell how they end. These are killed and removed. The ConfigMap goes last, and with it whatever the
// API server may still make of an earlier deploy. A delete that failed half way can be repeated.
func (c *Client) Delete(ctx context.Context, fqn string, options DeleteOptions) (*DeleteResult, error) {
	names, err := c.namesLeft(ctx, fqn)
	if err != nil {
		return nil, err
	}
	result := &DeleteResult{FQN: fqn}
	if err := c.requestDelete(ctx, fqn, names.ConfigMap); err != nil {
		return result, err
	}
	if err := c.removeSchedule(ctx, fqn, names.CronJob, result); err != nil {
		return result, err
	}
	if result.Killed, err = c.kill(ctx, fqn, names, "", options.Force); err != nil && !errors.Is(err, ErrNothingToKill) {
		return result, fmt.Errorf("pipeline %s is not scheduled any more, but not all of its runs could be ended; delete it again: %w", fqn, err)
	}
	remove := func(client resourceClient, name string) error {
		deleted, err := c.deleteOwned(ctx, client, name, fqn)
		if deleted {
			result.Objects = append(result.Objects, client.kind+"/"+name)
		}
		if errors.Is(err, ErrNotOurs) {
			return nil // Such as a Secret that somebody has made beside the pipeline.
		}
		return err
	}
	if err := c.removeAll(ctx, c.jobClient(), fqn, names, remove); err != nil {
		return result, err
	}
	// Its earlier configurations too, and whatever a run has left.
	if err := c.removeAll(ctx, c.secrets(), fqn, names, remove); err != nil {
		return result, err
	}
	if err := remove(c.secrets(), names.Secret); err != nil { // Where it has lost its label.
		return result, err
	}
	if err := c.awaitScheduleGone(ctx, names.CronJob, result); err != nil {
		return result, err
	}
	return result, remove(c.configMaps(), names.ConfigMap)
}

// requestDelete writes on the pipeline's ConfigMap, where it has one, that it is to be deleted.
func (c *Client) requestDelete(ctx context.Context, fqn, name string) error {
	configMap, err := c.configMaps().get(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return c.failed("read ConfigMap "+name, err)
	}
	if !owned(configMap, fqn) || configMap.GetAnnotations()[identity.AnnotationDeleteRequested] != "" {
		return nil
	}
	err = c.configMaps().merge(ctx, name, map[string]any{fieldMetadata: map[string]any{
		fieldUID: configMap.GetUID(), fieldAnnotations: map[string]string{identity.AnnotationDeleteRequested: time.Now().UTC().Format(time.RFC3339)},
	}})
	if err != nil && !apierrors.IsNotFound(err) {
		return c.failed("update ConfigMap "+name, err)
	}
	return nil
}

// removeSchedule deletes the pipeline's CronJob, where it has one, and leaves the runs that it has started.
func (c *Client) removeSchedule(ctx context.Context, fqn, name string, result *DeleteResult) error {
	cronJob, err := c.cronJobs().get(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return c.failed("read CronJob "+name, err)
	}
	// Such as a CronJob that somebody has made beside a pipeline on demand.
	if !owned(cronJob, fqn) {
		return nil
	}
	result.Objects = append(result.Objects, "CronJob/"+name)
	if cronJob.GetDeletionTimestamp() != nil {
		return nil // It starts no run. Deleted once more it could take its runs with it.
	}
	err = c.cronJobs().delete(ctx, name, metav1.DeletePropagationOrphan, thisOne(cronJob))
	if err != nil && !apierrors.IsNotFound(err) {
		return c.failed("delete CronJob "+name, err)
	}
	return nil
}

// awaitScheduleGone waits for a CronJob that was deleted: it is there until its runs are parted from it.
func (c *Client) awaitScheduleGone(ctx context.Context, name string, result *DeleteResult) error {
	const interval = 100 * time.Millisecond
	if !slices.Contains(result.Objects, "CronJob/"+name) {
		return nil
	}
	var problem error
	err := wait.PollUntilContextTimeout(ctx, interval, c.settle, true, func(ctx context.Context) (bool, error) {
		var found object
		found, problem = c.cronJobs().get(ctx, name)
		gone := apierrors.IsNotFound(problem) || problem == nil && found.GetDeletionTimestamp() == nil
		if gone {
			problem = nil
		}
		return gone, nil
	})
	if err != nil && ctx.Err() != nil {
		return c.failed("read CronJob "+name, context.Cause(ctx))
	}
	if problem != nil && !errors.Is(problem, context.DeadlineExceeded) {
		return c.failed("read CronJob "+name, problem)
	}
	return nil // One that takes longer goes by itself.
}

// removeAll removes all objects of a kind that are the pipeline's.
func (c *Client) removeAll(ctx context.Context, client resourceClient, fqn string, names identity.ObjectNames, remove func(resourceClient, string) error) error {
	found, err := client.list(ctx, pipelineSelector(names))
	if err != nil {
		return c.failed("list the "+client.kind+"s of pipeline "+fqn, err)
	}
	found = slices.DeleteFunc(found, func(o object) bool { return !owned(o, fqn) })
	for _, o := range found {
		if err := remove(client, o.GetName()); err != nil {
			return err
		}
	}
	return nil
}
