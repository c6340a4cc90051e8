package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// history is one run as it may go: what the workflow of each attempt writes, who reports what and when, and how the Job ends.
type history struct {
	// queued: the client wrote the record; duplicated: several first writers did; waiting: a reporter saw that nothing runs.
	queued, duplicated, waiting bool
	attempts                    []attemptHistory
	outcome                     Outcome
	// decidedLater is how long after the last attempt the Job's controller says so, in milliseconds.
	decidedLater int64
	// reporters is how many report the end at the same time; killed: one more ends half way.
	reporters int
	killed    bool
	// last is when the workflow's last write comes: before the end is reported, at the same time, or after.
	last string
	// stale: a report that a retry will come resumes after the end.
	stale bool
	// fault disturbs the reporters; empty for none.
	fault admin.Fault
}

type attemptHistory struct {
	writes []omapi.PipelineState
	// announced: its init says that it begins; seen: a reporter sees that it failed.
	announced, seen bool
}

const (
	before    = "before"
	meanwhile = "meanwhile"
	after     = "after"
)

func randomHistory(r *rand.Rand) history {
	oneIn := func(n int) bool { return r.IntN(n) == 0 }
	states := []omapi.PipelineState{omapi.StateSuccess, omapi.StatePartialSuccess, omapi.StateFailed}
	faults := []admin.Fault{
		{},
		{Kind: admin.FaultStatus, Status: http.StatusConflict, Method: http.MethodPut, Count: 1 + r.IntN(3)},
		{Kind: admin.FaultStatus, Status: http.StatusBadGateway, Method: http.MethodPut, AfterHandling: true, Count: 1 + r.IntN(2)},
		{Kind: admin.FaultStatus, Status: http.StatusServiceUnavailable, Count: 1 + r.IntN(3)},
		{Kind: admin.FaultReset, Count: 1},
	}
	h := history{
		queued: oneIn(2), duplicated: oneIn(8), waiting: oneIn(3), killed: oneIn(3), reporters: 1 + r.IntN(4),
		outcome: []Outcome{Complete, Failed, Stopped, Lost}[r.IntN(4)], stale: oneIn(2), decidedLater: []int64{0, 0, 2_000, 600_000}[r.IntN(4)],
		last: []string{before, before, meanwhile, after}[r.IntN(4)], fault: faults[r.IntN(len(faults))],
	}
	for range 1 + r.IntN(3) {
		a := attemptHistory{announced: oneIn(2), seen: !oneIn(4)}
		if !oneIn(5) {
			a.writes = append(a.writes, omapi.StateRunning)
			if oneIn(2) {
				a.writes = append(a.writes, states[r.IntN(len(states))])
			}
		}
		h.attempts = append(h.attempts, a)
	}
	if h.outcome == Lost {
		// Only what a record shows to go on is looked for.
		h.queued, h.attempts = true, h.attempts[:1]
	}
	return h
}

// want is the design's table, for the state that the last attempt's workflow has written.
func (h *history) want(written omapi.PipelineState) omapi.PipelineState {
	switch {
	case h.outcome == Failed:
		return omapi.StateFailed
	case written.Terminal():
		return written
	case h.outcome == Lost:
		return omapi.StateFailed
	case h.outcome == Complete:
		return omapi.StateSuccess
	default:
		return omapi.StateStopped
	}
}

// TestAnyHistoryEndsAsTheTableSays: one final state, the table's; nothing of the workflow's record lost; one row; and no
// write where nothing is missing.
func TestAnyHistoryEndsAsTheTableSays(t *testing.T) {
	t.Parallel()
	const histories = 200
	server := omtest.Start(t, openmetadata.Options{})
	fqn := server.Pipeline(t, "svc", "nightly")
	reporter := newReporter(t, server, "a reporter")
	for i := range histories {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			timestamp := started + int64(i)*1_000_000
			p := &player{server: server, workflow: server.Client(t), reporter: reporter, fqn: fqn, runID: uuid.NewString(), first: timestamp, clock: timestamp, history: randomHistory(r)}
			p.play(t, r)
		})
	}
}

func newReporter(t *testing.T, server *omtest.Server, name string) *omapi.Client {
	t.Helper()
	client, err := omapi.New(omapi.Config{URL: server.URL, Token: server.Token, UserAgent: name})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// player plays one history.
type player struct {
	history

	server             *omtest.Server
	workflow, reporter *omapi.Client
	fqn, runID         string
	first              int64

	mu sync.Mutex // guards clock and stored
	// clock is the time of the history, in milliseconds.
	clock int64
	// stored is what the workflow of the attempt that runs has written last, as far as it was not refused; none for nothing.
	stored omapi.PipelineState
}

func (p *player) tick() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock += 1000
	return p.clock
}

// write is a write of the workflow, as the Python client does it: read, replace, keep the timestamp, swallow a refusal.
func (p *player) write(ctx context.Context, t *testing.T, attempt int, state omapi.PipelineState) {
	t.Helper()
	record, err := getStatus(ctx, p.workflow, p.fqn, p.runID)
	assert.NoError(t, err) //nolint:testifylint // Also called beside the test.
	if record == nil {
		record = &omapi.PipelineStatus{RunID: p.runID, Timestamp: p.first, StartDate: p.first}
	} else {
		record.EndDate = p.tick()
	}
	record.State = state
	record.Config = json.RawMessage(fmt.Sprintf(`{"attempt":%d}`, attempt))
	record.Metadata = json.RawMessage(`{"kept":true}`)
	if state.Terminal() {
		record.Steps = slices.DeleteFunc(record.Steps, func(step omapi.Step) bool { return step.Name == "Source" })
		record.Steps = append(record.Steps, omapi.NewStep(omapi.StepSummary{Name: "Source", Records: attempt + 1}))
	}
	err = p.workflow.PutStatus(ctx, p.fqn, record)
	if errors.Is(err, omapi.ErrConflict) {
		return
	}
	assert.NoError(t, err) //nolint:testifylint // As above.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stored = state
}

func (p *player) finding(outcome Outcome, superseded int64, step *omapi.StepSummary) Finding {
	finding := Finding{FQN: p.fqn, RunID: p.runID, Timestamp: p.first, Outcome: outcome, Ended: time.UnixMilli(p.tick()), Step: step}
	if superseded != 0 {
		finding.Superseded = time.UnixMilli(superseded)
	}
	return finding
}

func (p *player) report(ctx context.Context, t *testing.T, finding Finding) Result {
	t.Helper()
	result, err := reportWith(ctx, p.reporter, finding, impatient())
	assert.NoError(t, err, "%+v", p.history)
	return result
}

func (p *player) play(t *testing.T, r *rand.Rand) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p.begin(ctx, t)
	defer p.server.ClearFaults()
	if p.fault.Kind != "" {
		p.fault.UserAgent, p.fault.Path = "^a reporter$", "pipelineStatus"
		p.server.Fault(t, p.fault)
	}
	if p.waiting {
		p.report(ctx, t, p.finding(Waiting, 0, nil))
	}
	var began int64
	var stale Finding
	final := len(p.attempts) - 1
	for i, attempt := range p.attempts {
		began, p.stored = p.tick(), none
		if attempt.announced {
			p.report(ctx, t, p.finding(Undecided, began, nil))
		}
		writes := attempt.writes
		if i == final && p.last != before && len(writes) > 0 {
			writes = writes[:len(writes)-1]
		}
		for _, state := range writes {
			p.write(ctx, t, i, state)
		}
		ended := p.tick() + r.Int64N(1000)
		retried := p.seen(Sight{Job: &batchv1.Job{}, Pod: attemptOf(began, ended), Inside: true}, &omapi.StepSummary{Name: fmt.Sprint("Pod Diagnostics: p", i)})
		if i < final && attempt.seen {
			p.report(ctx, t, retried)
		}
		if i < final || p.outcome == Failed && p.stored != omapi.StateFailed {
			// Of the last attempt too, by who had not seen that it was the last; but what its own workflow wrote of it
			// cannot be told from what that of an attempt before a retry did.
			stale = retried
		}
		if i == final {
			p.end(ctx, t, p.ending(began, ended), stale, r)
		}
	}
}

// ending is what is reported of the end, which the Job's controller decides when the last attempt has ended, or much later.
func (p *player) ending(began, ended int64) Finding {
	var step *omapi.StepSummary
	if p.outcome != Complete {
		step = diagnosis()
	}
	job := &batchv1.Job{}
	switch p.outcome {
	case Lost:
		return p.finding(Lost, 0, step)
	case Stopped:
		job.Annotations = map[string]string{identity.AnnotationStopRequested: "2026-01-02T03:04:05Z"}
	case Failed, Complete:
		kind := map[Outcome]batchv1.JobConditionType{Failed: batchv1.JobFailed, Complete: batchv1.JobComplete}[p.outcome]
		job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: wholeSeconds(ended + p.decidedLater)}}
	case Waiting, Undecided: // No end.
	}
	return p.seen(Sight{Job: job, Pod: attemptOf(began, ended)}, step)
}

func (p *player) seen(sight Sight, step *omapi.StepSummary) Finding {
	return Finding{FQN: p.fqn, RunID: p.runID, Timestamp: p.first, Outcome: sight.Outcome(), Ended: sight.Ended(), Superseded: sight.Superseded(), Step: step}
}

// attemptOf is a pod as the kubelet tells its end.
func attemptOf(began, ended int64) *corev1.Pod {
	return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, StartedAt: wholeSeconds(began), FinishedAt: wholeSeconds(ended)},
	}}}}}
}

func wholeSeconds(ms int64) metav1.Time { return metav1.Unix(ms/1000, 0) }

// begin makes the record, or leaves that to others.
func (p *player) begin(ctx context.Context, t *testing.T) {
	t.Helper()
	if p.duplicated {
		p.server.SetInsertGap(50 * time.Millisecond)
		defer p.server.SetInsertGap(0)
		var wg sync.WaitGroup
		for i := range int64(3) {
			wg.Go(func() {
				_ = p.workflow.PutStatus(ctx, p.fqn, &omapi.PipelineStatus{RunID: p.runID, State: omapi.StateQueued, Timestamp: p.first + i, StartDate: p.first}) // Some are refused.
			})
		}
		wg.Wait()
	} else if p.queued {
		_, err := Queue(ctx, p.workflow, p.fqn, p.runID, p.first)
		require.NoError(t, err)
	}
}

// end reports the end, by several at once, and checks what became of the record.
func (p *player) end(ctx context.Context, t *testing.T, finding, stale Finding, r *rand.Rand) {
	t.Helper()
	final := len(p.attempts) - 1
	writes := p.attempts[final].writes
	late := func() {
		if len(writes) > 0 {
			p.write(ctx, t, final, writes[len(writes)-1])
		}
	}
	earlier := p.stored
	var wg sync.WaitGroup
	if p.killed {
		// From some request on nothing of it arrives any more.
		p.server.Fault(t, admin.Fault{Kind: admin.FaultReset, UserAgent: "^a killed reporter$", Skip: r.IntN(4)})
		killed := newReporter(t, p.server, "a killed reporter")
		half, kill := context.WithTimeout(ctx, 60*time.Millisecond)
		defer kill()
		wg.Go(func() { _, _ = reportWith(half, killed, finding, impatient()) }) // It fails, or does not.
	}
	if p.last == meanwhile {
		wg.Go(late)
	}
	for range p.reporters {
		wg.Go(func() { p.report(ctx, t, finding) })
	}
	wg.Wait()
	if p.last == after {
		late()
	}
	// Whoever looks again later finds the truth, and writes it where it is not there.
	result := p.report(ctx, t, finding)
	if p.last == meanwhile {
		// The server has no way to refuse a write that has not seen the one before it: either may be the last.
		assert.Contains(t, []omapi.PipelineState{p.want(p.stored), p.want(earlier)}, result.State, "%+v", p.history)
	} else {
		assert.Equal(t, p.want(p.stored), result.State, "%+v", p.history)
	}
	if p.outcome == Failed && p.stored != omapi.StateFailed && p.last != meanwhile {
		run := p.server.Run(t, p.fqn, p.runID)
		var record struct {
			EndDate int64 `json:"endDate"`
		}
		require.NoError(t, json.Unmarshal(run.Rows[0], &record))
		assert.Equal(t, finding.Ended.UnixMilli(), record.EndDate, "the run ended with its container: %+v", p.history)
	}
	if p.stale && stale.Outcome != "" {
		assert.Equal(t, result.State, p.report(ctx, t, stale).State, "a late word on an attempt flips nothing: %+v", p.history)
	}
	written := len(p.server.Run(t, p.fqn, p.runID).Writes)
	assert.Equal(t, Result{State: result.State}, p.report(ctx, t, finding), "nothing is missing: %+v", p.history)
	run := p.server.Run(t, p.fqn, p.runID)
	assert.Len(t, run.Writes, written, "each write fires alerts: %+v", p.history)
	assert.Len(t, run.Rows, 1, "%+v", p.history)
	assert.InDelta(t, p.first, run.Timestamp, 3, "a 409 without a record is a timestamp that is taken: %+v", p.history)
	p.checkKept(ctx, t)
}

// checkKept: nothing of what the workflow wrote last is lost, where it did not write at the same time as others.
func (p *player) checkKept(ctx context.Context, t *testing.T) {
	t.Helper()
	if p.stored == none || p.last == meanwhile {
		return
	}
	record, err := p.workflow.GetStatus(ctx, p.fqn, p.runID)
	require.NoError(t, err)
	assert.JSONEq(t, fmt.Sprintf(`{"attempt":%d}`, len(p.attempts)-1), string(record.Config), "%+v", p.history)
	assert.JSONEq(t, `{"kept":true}`, string(record.Metadata), "%+v", p.history)
	if p.stored.Terminal() {
		at := slices.IndexFunc(record.Steps, func(step omapi.Step) bool { return step.Name == "Source" })
		require.GreaterOrEqual(t, at, 0, "%+v", p.history)
		assert.Equal(t, len(p.attempts), record.Steps[at].Summary().Records, "%+v", p.history)
	}
}
