package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
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
	// InOpenMetadata says that OpenMetadata shows the same.
	InOpenMetadata bool `json:"inOpenMetadata"`
	// Warnings are about what is left to do.
	Warnings []string `json:"warnings,omitempty"`
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
		now := inForce(cronJob)
		result = &ToggleResult{FQN: fqn, Schedule: cronJob.Spec.Schedule, Enabled: want(now)}
		result.Changed = result.Enabled != now
		return c.decideFor(ctx, cronJob, result)
	})
	if err != nil {
		return nil, err
	}
	c.tellToggled(ctx, name, result)
	return result, nil
}

// decideFor keeps what was decided on the CronJob, and does it. It names the version that was read, so that two who flip at the
// same time do not both flip from the same state.
func (c *Client) decideFor(ctx context.Context, cronJob *batchv1.CronJob, result *ToggleResult) error {
	w := windowOf(cronJob)
	if result.Enabled && w.ended(time.Now()) {
		return fmt.Errorf("%w: pipeline %s: its schedule has ended at %s; give it a later airflowConfig.endDate, and deploy it", ErrSchedule, result.FQN, dateText(w.to))
	}
	d := decisionOf(cronJob)
	if result.Changed || !d.made || d.enabled != result.Enabled {
		// One that starts later is put in force by hold.
		suspend := !result.Enabled || w.future(time.Now()) && !isHeld(cronJob, w)
		err := c.patchCronJob(ctx, cronJob.Name, map[string]any{
			fieldMetadata: map[string]any{
				fieldResourceVersion: cronJob.ResourceVersion,
				fieldAnnotations:     map[string]any{identity.AnnotationEnabled: strconv.FormatBool(result.Enabled), identity.AnnotationEnabledTold: nil},
			},
			"spec": map[string]any{"suspend": suspend},
		})
		if err != nil {
			return c.failed("toggle CronJob "+cronJob.Name, err)
		}
		cronJob.Spec.Suspend = &suspend
	}
	return c.hold(ctx, cronJob, result.Enabled)
}

// tellToggled brings OpenMetadata in step, and says so when it is not.
func (c *Client) tellToggled(ctx context.Context, cronJob string, result *ToggleResult) {
	var err error
	result.InOpenMetadata, err = c.tell(ctx, result.FQN, map[string]bool{"enabled": result.Enabled})
	switch {
	case err != nil:
		result.Warnings = append(result.Warnings, fmt.Sprintf("OpenMetadata still shows pipeline %s as it was: %v; a deploy keeps what was decided here", result.FQN, err))
	case c.om == nil:
		result.Warnings = append(result.Warnings, fmt.Sprintf("OpenMetadata was not told of pipeline %s, as its address is not known: set OPENMETADATA_URL; a deploy keeps what was decided here", result.FQN))
	case result.InOpenMetadata:
		change := map[string]any{fieldMetadata: map[string]any{fieldAnnotations: map[string]any{identity.AnnotationEnabledTold: toldYes}}}
		if err := c.patchCronJob(ctx, cronJob, change); err != nil {
			result.Warnings = append(result.Warnings, c.failed("annotate CronJob "+cronJob, err).Error())
		}
	}
}

func suspended(cronJob *batchv1.CronJob) bool {
	return cronJob.Spec.Suspend != nil && *cronJob.Spec.Suspend
}
