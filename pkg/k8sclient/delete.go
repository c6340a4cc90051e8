package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"

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

// Delete removes a pipeline, also what is left of one whose ConfigMap is gone. Its schedule is taken out of force first, so
// that no run starts; then its runs are killed where they have not ended, and removed. The CronJob comes after them, as they
// would go with it before they could tell how they end, and the ConfigMap last, so that a delete that failed half way can be
// repeated.
func (c *Client) Delete(ctx context.Context, fqn string, options DeleteOptions) (*DeleteResult, error) {
	names, err := c.namesLeft(ctx, fqn)
	if err != nil {
		return nil, err
	}
	result := &DeleteResult{FQN: fqn}
	if err := c.stopSchedule(ctx, fqn, names.CronJob); err != nil {
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
			return nil // Such as a CronJob that somebody has made beside a pipeline on demand.
		}
		return err
	}
	if err := c.removeAll(ctx, c.jobClient(), fqn, names, remove); err != nil {
		return result, err
	}
	if err := remove(c.cronJobs(), names.CronJob); err != nil {
		return result, err
	}
	// Its earlier configurations too, and whatever a run has left.
	if err := c.removeAll(ctx, c.secrets(), fqn, names, remove); err != nil {
		return result, err
	}
	if err := remove(c.secrets(), names.Secret); err != nil { // Where it has lost its label.
		return result, err
	}
	return result, remove(c.configMaps(), names.ConfigMap)
}

// stopSchedule suspends the pipeline's CronJob, where it has one.
func (c *Client) stopSchedule(ctx context.Context, fqn, name string) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		found, err := c.cronJobs().get(ctx, name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return c.failed("read CronJob "+name, err)
		}
		cronJob, _ := found.(*batchv1.CronJob)
		// One that is being deleted starts no run.
		if !owned(cronJob, fqn) || suspended(cronJob) || cronJob.DeletionTimestamp != nil {
			return nil
		}
		if err := c.suspend(ctx, cronJob, true); !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
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
