package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// TestDecide has every cell of outcome and state.
func TestDecide(t *testing.T) {
	t.Parallel()
	const (
		queued, running  = omapi.StateQueued, omapi.StateRunning
		success, partial = omapi.StateSuccess, omapi.StatePartialSuccess
		failed, stopped  = omapi.StateFailed, omapi.StateStopped
	)
	recorded := []omapi.PipelineState{none, queued, running, success, partial, failed, stopped, superseded}
	cases := map[Outcome]struct {
		reason string
		want   []omapi.PipelineState // For each of recorded.
	}{
		Waiting:   {"queued until a container has started, and running after", []omapi.PipelineState{queued, queued, running, success, partial, failed, stopped, running}},
		Undecided: {"the run goes on: an attempt that another follows is not its end", []omapi.PipelineState{running, running, running, success, partial, failed, stopped, running}},
		Complete:  {"the Job completed; the workflow knows better how well", []omapi.PipelineState{success, success, success, success, partial, failed, stopped, success}},
		Failed:    {"the worse of the two wins; who stopped it had the last word", []omapi.PipelineState{failed, failed, failed, failed, failed, failed, stopped, failed}},
		Stopped:   {"a person ended it, unless it had ended before", []omapi.PipelineState{stopped, stopped, stopped, success, partial, failed, stopped, stopped}},
		Lost:      {"nothing is left that could tell: what was written stands, and what goes on is over", []omapi.PipelineState{none, failed, failed, success, partial, failed, stopped, superseded}},
	}
	require.Len(t, cases, 6, "one row for each outcome")
	for outcome, tc := range cases {
		require.Len(t, tc.want, len(recorded))
		for i, state := range recorded {
			got := Decide(outcome, state)
			assert.Equal(t, tc.want[i], got, "%s, %q: %s", outcome, state, tc.reason)
			if outcome.Final() {
				assert.Equal(t, got, Decide(outcome, got), "%s, %q: a final state absorbs", outcome, state)
			}
		}
	}
}

// TestStateOf: how a record is read as the table's rows name it.
func TestStateOf(t *testing.T) {
	t.Parallel()
	const ended = started + 5
	cases := map[string]struct {
		reason string
		state  omapi.PipelineState
		ended  int64
		until  int64
		want   omapi.PipelineState
	}{
		"None":       {reason: "a run without a record"},
		"Unknown":    {reason: "as OpenMetadata's own client maps it", state: "paused", want: omapi.StateQueued},
		"Final":      {reason: "nothing is known of attempts", state: omapi.StateFailed, ended: ended, want: omapi.StateFailed},
		"Earlier":    {reason: "it ended before the attempt that counts", state: omapi.StateFailed, ended: ended, until: ended + 1, want: superseded},
		"Success":    {reason: "so may a success have", state: omapi.StateSuccess, ended: ended, until: ended + 1, want: superseded},
		"Partial":    {reason: "and a partial one", state: omapi.StatePartialSuccess, ended: ended, until: ended + 1, want: superseded},
		"Own":        {reason: "it is of the attempt that counts", state: omapi.StateFailed, ended: ended, until: ended, want: omapi.StateFailed},
		"Stopped":    {reason: "a person's word is of no attempt", state: omapi.StateStopped, ended: ended, until: ended + 1, want: omapi.StateStopped},
		"Running":    {reason: "the end of what runs means nothing", state: omapi.StateRunning, ended: ended, until: ended + 1, want: omapi.StateRunning},
		"WithoutEnd": {reason: "nobody knows when it ended", state: omapi.StateFailed, until: ended, want: omapi.StateFailed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			finding := Finding{}
			if tc.until > 0 {
				finding.Superseded = time.UnixMilli(tc.until)
			}
			assert.Equal(t, tc.want, stateOf(&omapi.PipelineStatus{State: tc.state, EndDate: tc.ended}, &finding), tc.reason)
		})
	}
}
