package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// Wait returns a run's record when it is final, which is more than one that the workflow has ended: a Job that tries
// again makes a failed record running again. It waits as long as the context does.
func (c *Client) Wait(ctx context.Context, fqn, runID string, changed func(omapi.PipelineState)) (*omapi.PipelineStatus, error) {
	const interval = time.Second
	pipeline, err := c.Deployed(ctx, fqn)
	if err != nil {
		return nil, err
	}
	var (
		record *omapi.PipelineStatus
		seen   omapi.PipelineState
	)
	err = wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		status, err := c.om.GetStatus(ctx, fqn, runID)
		if errors.Is(err, omapi.ErrNoRecord) || omapi.Retryable(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if record = status; record.State != seen && changed != nil {
			changed(record.State)
		}
		if seen = record.State; !seen.Terminal() {
			return false, nil
		}
		return c.jobEnded(ctx, pipeline, runID)
	})
	if err != nil {
		return record, fmt.Errorf("run %s of pipeline %s goes on, state %s: %w; see pipelinectl status %s", runID, fqn, seen, err, fqn)
	}
	return record, nil
}

func (c *Client) jobEnded(ctx context.Context, pipeline *omapi.IngestionPipeline, runID string) (bool, error) {
	jobs, err := c.jobs(ctx, pipeline)
	if err != nil {
		return false, err
	}
	for i := range jobs {
		if report.RunIDOf(&jobs[i]) == runID {
			return finished(&jobs[i]), nil
		}
	}
	return true, nil
}
