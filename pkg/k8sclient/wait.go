package k8sclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// ErrUnreported is for a run whose Job has ended and whose record does not become final.
var ErrUnreported = errors.New("nobody has reported how the run ended")

// unreportedAfter is how long after its Job a run's record may take to become final.
const unreportedAfter = 90 * time.Second

// Wait returns a run's record when it is final, which is more than one that the workflow has ended: a Job that tries
// again makes a failed record running again. It waits as long as the context does, and goes on where a server does not
// answer. ErrUnreported where the Job has ended and nobody tells.
func (c *Client) Wait(ctx context.Context, fqn, runID string, changed func(omapi.PipelineState)) (*omapi.PipelineStatus, error) {
	const interval = time.Second
	_, names, err := c.deployed(ctx, fqn)
	if err != nil {
		return nil, err
	}
	if c.om == nil {
		return nil, fmt.Errorf("wait for a run of pipeline %s: %w", fqn, ErrNoServer)
	}
	w := &waiter{client: c, fqn: fqn, names: names, runID: runID, changed: changed}
	if err := wait.PollUntilContextCancel(ctx, interval, true, w.poll); ctx.Err() != nil {
		return w.record, fmt.Errorf("run %s of pipeline %s, state %s, goes on, but is not waited for any longer: %w", runID, fqn, cmp.Or(w.seen, "unknown"), context.Cause(ctx))
	} else if err != nil {
		return w.record, fmt.Errorf("run %s of pipeline %s, state %s: %w; see pipelinectl diagnose %s", runID, fqn, w.seen, err, runID)
	}
	return w.record, nil
}

type waiter struct {
	client  *Client
	fqn     string
	names   identity.ObjectNames
	runID   string
	changed func(omapi.PipelineState)
	record  *omapi.PipelineStatus
	seen    omapi.PipelineState
	// ended is when the Job was first seen ended.
	ended time.Time
}

func (w *waiter) poll(ctx context.Context) (bool, error) {
	ended, err := w.client.jobEnded(ctx, w.fqn, w.names, w.runID)
	if diagnostics.Denied(err) {
		return false, err
	}
	if err == nil && ended && w.ended.IsZero() {
		w.ended = time.Now()
	}
	record, err := w.client.om.GetStatus(ctx, w.fqn, w.runID)
	switch {
	case err == nil:
		w.record = record
		if record.State != w.seen && w.changed != nil {
			w.changed(record.State)
		}
		w.seen = record.State
	case !errors.Is(err, omapi.ErrNoRecord) && !omapi.Retryable(err):
		return false, err
	}
	switch {
	case w.ended.IsZero():
		return false, nil
	case w.seen.Terminal():
		return true, nil
	case time.Since(w.ended) > unreportedAfter:
		return false, ErrUnreported
	default:
		return false, nil
	}
}

func (c *Client) jobEnded(ctx context.Context, fqn string, names identity.ObjectNames, runID string) (bool, error) {
	jobs, err := c.jobs(ctx, fqn, names)
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
