package report

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

const (
	// fresh is how old a record may be that is merged into: who reads and writes at once loses least of what others write.
	fresh = 200 * time.Millisecond
	// rounds bounds how often a record is written again because another writer came in between.
	rounds = 5
	// repairTimeout bounds the time between the deletion of a record's rows and its writing, also where there is no more.
	repairTimeout = 5 * time.Second
)

var errOverwritten = fmt.Errorf("the record was written %d times, and each time another writer changed it; a later report will tell who is right", rounds)

// Finding is what a reporter knows of a run.
type Finding struct {
	FQN   string
	RunID string
	// Timestamp is the one of the run's record in milliseconds, used where the run has no record yet.
	Timestamp int64
	Outcome   Outcome
	// Ended is when the run ended; now where it is zero.
	Ended time.Time
	// Superseded is until when final states of the record are of attempts that do not count: the start of the one that
	// does; now, where one has failed and another will come. Zero where neither is known: then a final state stands.
	Superseded time.Time
	// Step is added to the record if it has none of this name that is as good; nil for none.
	Step *omapi.StepSummary
}

// Result says what a report did.
type Result struct {
	State omapi.PipelineState `json:"state,omitempty"`
	// Written is false where nothing was missing.
	Written bool `json:"written"`
}

// Report reads the run's record, changes what the rules say, writes it, and reads it back, as often as it takes until
// the context ends. Nothing that others wrote is lost, and nothing is written where nothing is missing.
func Report(ctx context.Context, server *omapi.Client, finding Finding) (Result, error) {
	return reportWith(ctx, server, finding, patient())
}

// When is Report for a finding that takes time: the record is read meanwhile, so that the two do not wait for each
// other; it is waited for. A finding without an outcome is no news: nothing is written.
func When(ctx context.Context, server *omapi.Client, fqn, runID string, find func() Finding) (Result, error) {
	r := &reporter{server: server}
	found := make(chan Finding, 1)
	go func() { found <- find() }()
	record, err := getStatus(ctx, server, fqn, runID)
	read := time.Now()
	r.finding = <-found
	if r.finding.Outcome == "" {
		return Result{}, nil
	}
	if err == nil && time.Since(read) < fresh {
		r.early = &earlier{record: record}
	}
	return r.run(ctx, patient())
}

// patient is for a server that restarts: its time to recover is seconds, a reporter in a pod has about a minute in all.
func patient() wait.Backoff {
	return wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 1 << 20, Cap: 5 * time.Second}
}

func reportWith(ctx context.Context, server *omapi.Client, finding Finding, backoff wait.Backoff) (Result, error) {
	return (&reporter{server: server, finding: finding}).run(ctx, backoff)
}

type reporter struct {
	server  *omapi.Client
	finding Finding
	// early is what was read before the finding was there.
	early *earlier
	// seen is the record as it was last read or written. Where the server has none any more, somebody has deleted its
	// duplicate rows and is about to write it again.
	seen *omapi.PipelineStatus
	// repaired is what was written in the place of duplicate rows.
	repaired  *omapi.PipelineStatus
	conflicts int
	result    Result
	writes    int
	// unread: it is written, and not read since.
	unread bool
}

type earlier struct{ record *omapi.PipelineStatus }

func (r *reporter) run(ctx context.Context, backoff wait.Backoff) (Result, error) {
	delay := backoff.DelayFunc()
	var last error
	for {
		done, err := r.attempt(ctx)
		if err != nil && last != nil && ctx.Err() != nil {
			return r.failed(last) // That time is over is less news than what the server had said.
		}
		last = err
		switch {
		case done:
			return r.result, nil
		case err == nil:
			continue // Written: read it back.
		case !errors.Is(err, omapi.ErrConflict) && !omapi.Retryable(err):
			return r.failed(err)
		}
		if !sleep(ctx, max(delay(), retryAfter(err))) {
			return r.failed(err)
		}
	}
}

// failed is no failure where the record was written and only could not be read back.
func (r *reporter) failed(err error) (Result, error) {
	if r.unread {
		return r.result, nil
	}
	return Result{}, err
}

// attempt says whether the record is as it shall be.
func (r *reporter) attempt(ctx context.Context) (bool, error) {
	record, lost, err := r.read(ctx)
	if err != nil {
		return false, err
	}
	r.unread = false
	merged, changed := Merge(record, r.finding)
	if !changed && !lost {
		r.result.State = merged.State
		return true, nil
	}
	if r.writes >= rounds {
		return false, fmt.Errorf("run %s of pipeline %s: %w", r.finding.RunID, r.finding.FQN, errOverwritten)
	}
	if err := r.write(ctx, record, merged); err != nil {
		return false, err
	}
	r.wrote(merged)
	if r.repaired == merged {
		// Whoever has read between deletion and writing writes by then.
		sleep(ctx, 2*fresh)
	}
	return false, nil
}

func (r *reporter) wrote(merged *omapi.PipelineStatus) {
	r.writes++
	r.conflicts, r.unread, r.seen, r.result = 0, true, merged, Result{State: merged.State, Written: true}
}

// read says too whether the server has lost of the record what was there before.
func (r *reporter) read(ctx context.Context) (record *omapi.PipelineStatus, lost bool, err error) {
	if early := r.early; early != nil {
		r.early = nil
		record = early.record
	} else if record, err = getStatus(ctx, r.server, r.finding.FQN, r.finding.RunID); err != nil {
		return nil, false, err
	}
	if record == nil {
		return r.seen, r.seen != nil, nil
	}
	if r.repaired != nil {
		record, lost = restore(record, r.repaired)
	}
	r.seen = record
	return record, lost, nil
}

// restore gives a record what it lacks of the one that was in its place, and says whether that is anything. What it has
// stays: it may be newer.
func restore(record, before *omapi.PipelineStatus) (*omapi.PipelineStatus, bool) {
	steps := slices.DeleteFunc(slices.Clone(before.Steps), func(step omapi.Step) bool {
		return slices.ContainsFunc(record.Steps, func(s omapi.Step) bool { return s.Name == step.Name })
	})
	withoutConfig := record.Config == nil && before.Config != nil
	if len(steps) == 0 && !withoutConfig {
		return record, false
	}
	whole := *record
	whole.Steps = slices.Concat(steps, record.Steps) // The newest is the last.
	if withoutConfig {
		whole.Config = before.Config
	}
	return &whole, true
}

// getStatus gives nil for a run that has no record.
func getStatus(ctx context.Context, server *omapi.Client, fqn, runID string) (*omapi.PipelineStatus, error) {
	record, err := server.GetStatus(ctx, fqn, runID)
	if errors.Is(err, omapi.ErrNoRecord) {
		return nil, nil //nolint:nilnil // A run without a record is none of the errors.
	}
	return record, err
}

func (r *reporter) write(ctx context.Context, before, merged *omapi.PipelineStatus) error {
	err := r.server.PutStatus(ctx, r.finding.FQN, merged)
	switch {
	case errors.Is(err, omapi.ErrConflict):
		return r.conflict(ctx, before, merged, err)
	case merged.State == omapi.StateStopped && unknownState(err):
		// Servers before 1.12.
		r.finding = unstopped(r.finding)
		again, _ := Merge(before, r.finding)
		*merged = *again
		return r.server.PutStatus(ctx, r.finding.FQN, merged)
	default:
		return err
	}
}

// unknownState says that the server refuses a state that it does not know, and nothing else of the record: it lists those
// that it knows.
func unknownState(err error) bool {
	refused, ok := errors.AsType[*omapi.Error](err)
	return ok && refused.StatusCode == http.StatusBadRequest && strings.Contains(refused.Message, "one of") &&
		(strings.Contains(refused.Message, "pipelineState") || strings.Contains(refused.Message, string(omapi.StateStopped)))
}

// conflict finds out which of three it is: another reporter came first, the timestamp is another run's, or the run has
// more than one row, which the server refuses for ever.
func (r *reporter) conflict(ctx context.Context, before, merged *omapi.PipelineStatus, conflict error) error {
	r.conflicts++
	current, err := getStatus(ctx, r.server, r.finding.FQN, r.finding.RunID)
	switch {
	case err != nil:
		return err
	case current == nil && before == nil:
		r.finding.Timestamp++
	case current != nil && r.conflicts > 1 && reflect.DeepEqual(before, current):
		// Refused again, though nobody has changed it.
		rows, err := r.server.CountRows(ctx, r.finding.FQN, r.finding.RunID)
		if err != nil {
			return err
		}
		if rows > 1 {
			return r.repair(ctx, merged)
		}
	}
	return conflict
}

// repair deletes a run's rows and writes its record, which between the two is in this process only: the context's end
// does not part them.
func (r *reporter) repair(ctx context.Context, merged *omapi.PipelineStatus) error {
	pipeline, err := r.server.GetPipeline(ctx, r.finding.FQN)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), repairTimeout)
	defer cancel()
	r.seen, r.repaired = merged, merged
	if err := r.server.DeleteStatus(ctx, pipeline.ID, r.finding.RunID); err != nil && !omapi.Retryable(err) {
		return err
	}
	for {
		err := r.server.PutStatus(ctx, r.finding.FQN, merged)
		if !omapi.Retryable(err) || !sleep(ctx, fresh) {
			return err
		}
	}
}

// unstopped is a stop for a server that does not know the state: a failure whose cause says so.
func unstopped(finding Finding) Finding {
	const note = "this server does not know the state stopped; "
	finding.Outcome = Failed
	step := omapi.StepSummary{Name: "Kill", Failures: []omapi.StackTraceError{{Name: "Killed", Error: "the run was stopped by a person"}}}
	if finding.Step != nil && len(finding.Step.Failures) > 0 {
		step = *finding.Step
		step.Failures = slices.Clone(step.Failures)
	}
	step.Failures[0].Error = note + step.Failures[0].Error
	finding.Step = &step
	return finding
}

func retryAfter(err error) time.Duration {
	if status, ok := errors.AsType[*omapi.Error](err); ok {
		return status.RetryAfter
	}
	return 0
}

// sleep says whether there is time left after the delay. A delay that would take all that is left takes half of it.
func sleep(ctx context.Context, delay time.Duration) bool {
	const useless = 50 * time.Millisecond
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left < useless {
			return false
		}
		delay = min(delay, left/2)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
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

// Missing says whether a report of the finding would change the record, or would if it had a step of the name; an empty
// name is no step.
func Missing(ctx context.Context, server *omapi.Client, finding Finding, step string) (bool, error) {
	record, err := getStatus(ctx, server, finding.FQN, finding.RunID)
	if err != nil {
		return false, err
	}
	if step != "" {
		finding.Step = &omapi.StepSummary{Name: step}
	}
	_, changed := Merge(record, finding)
	return changed, nil
}
