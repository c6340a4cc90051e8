package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// Finding is what a reporter knows of a run.
type Finding struct {
	FQN   string
	RunID string
	// Timestamp is the one of the run's record in milliseconds, used where the run has no record yet.
	Timestamp int64
	Outcome   Outcome
	// Ended is when the run ended; now where it is zero.
	Ended time.Time
	// Step is added to the record if it is not there yet; nil for none.
	Step *omapi.StepSummary
}

// Result says what a report did.
type Result struct {
	State omapi.PipelineState
	// Written is false where nothing was missing.
	Written bool
}

// Report reads the run's record, changes what the rules say, and writes it back, as often as it takes until the
// context ends. Nothing that others wrote is lost, and nothing is written where nothing is missing.
func Report(ctx context.Context, server *omapi.Client, finding Finding) (Result, error) {
	// The server's own time to recover is seconds; a reporter has about a minute in all.
	backoff := wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 1 << 20, Cap: 5 * time.Second}
	return reportWith(ctx, server, finding, backoff)
}

func reportWith(ctx context.Context, server *omapi.Client, finding Finding, backoff wait.Backoff) (Result, error) {
	var (
		result Result
		last   error
	)
	// Not wait.ExponentialBackoffWithContext, which gives up when the delay has reached its cap.
	err := backoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		var err error
		result, err = attempt(ctx, server, &finding)
		last = err
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, omapi.ErrConflict), omapi.Retryable(err):
			return false, nil
		default:
			return false, err
		}
	})
	if err != nil && last != nil {
		err = last
	}
	return result, err
}

func attempt(ctx context.Context, server *omapi.Client, finding *Finding) (Result, error) {
	record, err := server.GetStatus(ctx, finding.FQN, finding.RunID)
	if errors.Is(err, omapi.ErrNoRecord) {
		record, err = nil, nil
	}
	if err != nil {
		return Result{}, err
	}
	merged, changed := Merge(record, *finding)
	if !changed {
		return Result{State: merged.State}, nil
	}
	err = server.PutStatus(ctx, finding.FQN, merged)
	switch {
	case errors.Is(err, omapi.ErrConflict) && record == nil:
		// The timestamp is another run's, or another reporter was faster; the next attempt reads which.
		finding.Timestamp++
		return Result{}, err
	case errors.Is(err, omapi.ErrBadRequest) && merged.State == omapi.StateStopped:
		// Servers before 1.12 do not know the state.
		finding.Outcome = Failed
		return attempt(ctx, server, finding)
	case err != nil:
		return Result{}, err
	}
	return Result{State: merged.State, Written: true}, nil
}

// Merge gives the record as it shall be, and whether that differs from what is there. A nil record is a run that has none.
func Merge(record *omapi.PipelineStatus, finding Finding) (*omapi.PipelineStatus, bool) {
	if record == nil {
		record = &omapi.PipelineStatus{RunID: finding.RunID, StartDate: finding.Timestamp, Timestamp: finding.Timestamp}
	}
	merged := *record
	merged.State = Decide(finding.Outcome, record.State)
	changed := merged.State != record.State
	if changed {
		merged.EndDate = 0
	}
	if merged.State.Terminal() && merged.EndDate == 0 {
		ended := finding.Ended
		if ended.IsZero() {
			ended = time.Now()
		}
		merged.EndDate, changed = ended.UnixMilli(), true
	}
	if finding.Step != nil && !hasStep(record.Steps, finding.Step) {
		merged.Steps = append(slices.Clone(record.Steps), *finding.Step)
		changed = true
	}
	return &merged, changed
}

// hasStep compares what identifies a diagnosis: its text differs from one look to the next.
func hasStep(steps []omapi.StepSummary, step *omapi.StepSummary) bool {
	return slices.ContainsFunc(steps, func(other omapi.StepSummary) bool {
		if other.Name != step.Name || len(other.Failures) != len(step.Failures) {
			return false
		}
		for i := range other.Failures {
			if other.Failures[i].Name != step.Failures[i].Name || other.Failures[i].Error != step.Failures[i].Error {
				return false
			}
		}
		return true
	})
}

// Queue writes the record `queued` of a run that is about to start, and gives the timestamp that it got: the one
// wanted, or the next that no other run of the pipeline has.
func Queue(ctx context.Context, server *omapi.Client, fqn, runID string, timestamp int64) (int64, error) {
	const tries = 20
	var err error
	for range tries {
		status := &omapi.PipelineStatus{RunID: runID, State: omapi.StateQueued, StartDate: timestamp, Timestamp: timestamp}
		if err = server.PutStatus(ctx, fqn, status); !errors.Is(err, omapi.ErrConflict) {
			return timestamp, err
		}
		timestamp++
	}
	return 0, fmt.Errorf("no free timestamp in %d tries: %w", tries, err)
}
