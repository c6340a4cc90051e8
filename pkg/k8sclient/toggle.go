package k8sclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
)

// ErrNoCronJob is for a pipeline with a schedule whose CronJob is gone; test with errors.Is.
var ErrNoCronJob = errors.New("the pipeline's CronJob is gone")

// ToggleResult says whether a pipeline's schedule is in force.
type ToggleResult struct {
	FQN string `json:"fullyQualifiedName"`
	// Schedule is empty for a pipeline on demand, which cannot be toggled and is left as it is: it has no schedule in force.
	Schedule string `json:"schedule,omitempty"`
	Enabled  bool   `json:"enabled"`
	Changed  bool   `json:"changed"`
}

// SetEnabled puts a pipeline's schedule into force, or out of it. A run that goes on is not touched.
func (c *Client) SetEnabled(ctx context.Context, fqn string, enabled bool) (*ToggleResult, error) {
	return c.toggle(ctx, fqn, func(bool) bool { return enabled })
}

// Toggle turns a pipeline's schedule on where it is off, and off where it is on.
func (c *Client) Toggle(ctx context.Context, fqn string) (*ToggleResult, error) {
	return c.toggle(ctx, fqn, func(enabled bool) bool { return !enabled })
}

func (c *Client) toggle(ctx context.Context, fqn string, want func(enabled bool) bool) (*ToggleResult, error) {
	pipeline, names, err := c.deployed(ctx, fqn)
	if err != nil {
		return nil, err
	}
	if pipeline.AirflowConfig.ScheduleInterval == "" {
		return &ToggleResult{FQN: fqn}, nil
	}
	name := names.CronJob
	var result *ToggleResult
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		found, err := c.cronJobs().get(ctx, name)
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: %s of pipeline %s, schedule %s; deploy it again", ErrNoCronJob, name, fqn, pipeline.AirflowConfig.ScheduleInterval)
		}
		if err != nil {
			return c.failed("read CronJob "+name, err)
		}
		cronJob, _ := found.(*batchv1.CronJob)
		if err := checkOwner("CronJob", cronJob, fqn); err != nil {
			return err
		}
		enabled := !suspended(cronJob)
		result = &ToggleResult{FQN: fqn, Schedule: cronJob.Spec.Schedule, Enabled: want(enabled)}
		result.Changed = result.Enabled != enabled
		if !result.Changed {
			return nil
		}
		return c.suspend(ctx, cronJob, !result.Enabled)
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// suspend names the version that was read, so that two who flip at the same time do not both flip from the same state.
func (c *Client) suspend(ctx context.Context, cronJob *batchv1.CronJob, suspend bool) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": cronJob.ResourceVersion},
		"spec":     map[string]any{"suspend": suspend},
	})
	if err != nil {
		return fmt.Errorf("encode the patch of CronJob %s: %w", cronJob.Name, err)
	}
	_, err = c.kube.BatchV1().CronJobs(c.config.Namespace).Patch(ctx, cronJob.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err != nil {
		return c.failed("toggle CronJob "+cronJob.Name, err)
	}
	return nil
}

func suspended(cronJob *batchv1.CronJob) bool {
	return cronJob.Spec.Suspend != nil && *cronJob.Spec.Suspend
}
