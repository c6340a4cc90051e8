package k8sclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
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
	w := &waiter{client: c, fqn: fqn, names: names, runID: runID, changed: changed, holder: newHolder(c)}
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
	// ended is when the run was first seen ended.
	ended  time.Time
	holder *holder
	// job is nil if it is gone.
	job *batchv1.Job
}

func (w *waiter) poll(ctx context.Context) (bool, error) {
	ended, err := w.runEnded(ctx)
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
		if w.job != nil {
			w.holder.releaseAll(ctx, w.job)
		}
		return true, nil
	case time.Since(w.ended) > unreportedAfter:
		return false, ErrUnreported
	default:
		return false, nil
	}
}

// runEnded says that the run's Job has ended, or is gone, or only waits for a container that is not the run's. The pods that
// such a container keeps running are ended, so that the next attempt can start.
func (w *waiter) runEnded(ctx context.Context) (bool, error) {
	jobs, err := w.client.jobs(ctx, w.fqn, w.names)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(jobs, func(job batchv1.Job) bool { return report.RunIDOf(&job) == w.runID })
	w.job = nil
	if at < 0 {
		return true, nil
	}
	w.job = &jobs[at]
	if finished(w.job) {
		return true, nil
	}
	pods, err := w.client.podsOf(ctx, w.job)
	if err != nil {
		return false, err
	}
	w.holder.release(ctx, pods, false)
	return endedApart(w.job, pods), nil
}
