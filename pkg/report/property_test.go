package report

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// history is one run as it may go: what the workflow of each attempt writes, who reports what and when, and how the Job ends.
type history struct {
	attempts []attemptHistory
	outcome  Outcome
	// reporters is how many report the end at the same time.
	reporters int
}

type attemptHistory struct {
	writes []omapi.PipelineState
	// seen: a reporter sees that the attempt failed; late: the workflow's last write comes while the end is reported.
	seen, late bool
}

func randomHistory(r *rand.Rand) history {
	states := []omapi.PipelineState{omapi.StateSuccess, omapi.StatePartialSuccess, omapi.StateFailed}
	h := history{outcome: []Outcome{Complete, Failed, Stopped}[r.IntN(3)], reporters: 1 + r.IntN(4)}
	for range 1 + r.IntN(3) {
		a := attemptHistory{seen: r.IntN(4) > 0, late: r.IntN(4) == 0}
		if r.IntN(5) > 0 {
			a.writes = append(a.writes, omapi.StateRunning)
			if r.IntN(2) == 0 {
				a.writes = append(a.writes, states[r.IntN(len(states))])
			}
		}
		h.attempts = append(h.attempts, a)
	}
	return h
}

// want is the design's table, for what the last attempt's workflow had written.
func (h *history) want() omapi.PipelineState {
	last := none
	if writes := h.attempts[len(h.attempts)-1].writes; len(writes) > 0 {
		last = writes[len(writes)-1]
	}
	switch {
	case h.outcome == Complete && last == omapi.StatePartialSuccess, h.outcome == Complete && last == omapi.StateFailed:
		return last
	case h.outcome == Complete:
		return omapi.StateSuccess
	case h.outcome == Failed:
		return omapi.StateFailed
	case last.Terminal():
		return last
	default:
		return omapi.StateStopped
	}
}

// TestAnyHistoryEndsAsTheTableSays: one final state, the table's; nothing of the workflow's record lost; one row; and no
// write where nothing is missing.
func TestAnyHistoryEndsAsTheTableSays(t *testing.T) {
	t.Parallel()
	const histories = 150
	server := omtest.Start(t, openmetadata.Options{})
	client, fqn := server.Client(t), server.Pipeline(t, "svc", "nightly")
	for i := range histories {
		seed := uint64(i)
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			play(t, server, client, fqn, started+int64(i)*1_000_000, randomHistory(r), r)
		})
	}
}

type player struct {
	client *omapi.Client
	fqn    string
	runID  string
	first  int64
	clock  int64
}

func (p *player) tick() int64 { p.clock += 1000; return p.clock }

// workflow writes as the Python client does: read, replace, keep the timestamp.
func (p *player) workflow(ctx context.Context, t *testing.T, attempt int, state omapi.PipelineState) {
	t.Helper()
	record, err := getStatus(ctx, p.client, p.fqn, p.runID)
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
		record.Steps = []omapi.Step{omapi.NewStep(omapi.StepSummary{Name: "Source", Records: attempt + 1})}
	}
	assert.NoError(t, p.client.PutStatus(ctx, p.fqn, record))
}

//nolint:cyclop // One story, from the start of a run to its end.
func play(t *testing.T, server *omtest.Server, client *omapi.Client, fqn string, timestamp int64, h history, r *rand.Rand) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := &player{client: client, fqn: fqn, runID: uuid.NewString(), first: timestamp, clock: timestamp}
	if r.IntN(2) == 0 {
		_, err := Queue(ctx, client, fqn, p.runID, timestamp)
		require.NoError(t, err)
	}
	var attemptStarted int64
	var last attemptHistory
	for i, attempt := range h.attempts {
		attemptStarted, last = p.tick(), attempt
		final := i == len(h.attempts)-1
		writes := attempt.writes
		if final && attempt.late && len(writes) > 0 {
			writes = writes[:len(writes)-1]
		}
		for _, state := range writes {
			p.workflow(ctx, t, i, state)
		}
		if !final && attempt.seen {
			_, err := reportWith(ctx, client, p.finding(Undecided, &omapi.StepSummary{Name: fmt.Sprintf("Pod Diagnostics: p%d", i)}, p.tick()), impatient())
			require.NoError(t, err)
		}
	}
	var wg sync.WaitGroup
	if last.late && len(last.writes) > 0 {
		wg.Go(func() { p.workflow(ctx, t, len(h.attempts)-1, last.writes[len(last.writes)-1]) })
		if h.outcome == Stopped { // Whether it came before the kill is then up to chance.
			wg.Wait()
		}
	}
	var step *omapi.StepSummary
	if h.outcome != Complete {
		step = diagnosis()
	}
	finding := p.finding(h.outcome, step, attemptStarted)
	for range h.reporters {
		wg.Go(func() {
			_, err := reportWith(ctx, client, finding, impatient())
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	// Whoever looks again later finds the truth, and writes it where it is not there.
	result, err := reportWith(ctx, client, finding, impatient())
	require.NoError(t, err)
	if !last.late || h.outcome != Complete {
		assert.Equal(t, h.want(), result.State, "%+v", h)
	}
	again, err := reportWith(ctx, client, finding, impatient())
	require.NoError(t, err)
	assert.False(t, again.Written, "nothing is missing: %+v", h)

	run := server.Run(t, fqn, p.runID)
	require.NotNil(t, run)
	assert.Len(t, run.Rows, 1, "%+v", h)
	assert.Equal(t, timestamp, run.Timestamp, "%+v", h)
	if len(last.writes) > 0 && !last.late {
		record, err := client.GetStatus(ctx, fqn, p.runID)
		require.NoError(t, err)
		assert.JSONEq(t, fmt.Sprintf(`{"attempt":%d}`, len(h.attempts)-1), string(record.Config), "%+v", h)
		assert.JSONEq(t, `{"kept":true}`, string(record.Metadata), "%+v", h)
		if last.writes[len(last.writes)-1].Terminal() {
			assert.True(t, slices.ContainsFunc(record.Steps, func(step omapi.Step) bool { return step.Name == "Source" }), "%+v", h)
		}
	}
}

func (p *player) finding(outcome Outcome, step *omapi.StepSummary, attemptStarted int64) Finding {
	finding := Finding{FQN: p.fqn, RunID: p.runID, Timestamp: p.first, Outcome: outcome, Ended: time.UnixMilli(p.clock + 500), Step: step}
	if attemptStarted != 0 {
		finding.Superseded = time.UnixMilli(attemptStarted)
	}
	return finding
}
