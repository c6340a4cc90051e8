package report

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	const (
		queued, running  = omapi.StateQueued, omapi.StateRunning
		success, partial = omapi.StateSuccess, omapi.StatePartialSuccess
		failed, stopped  = omapi.StateFailed, omapi.StateStopped
	)
	cases := map[string]struct {
		reason   string
		outcome  Outcome
		recorded []omapi.PipelineState
		want     omapi.PipelineState
	}{
		"Retry": {
			reason:  "a retry will come: an attempt's failure is not the run's",
			outcome: Undecided, recorded: []omapi.PipelineState{none, queued, running, superseded}, want: running,
		},
		"Unended": {
			reason:  "the workflow has written its result, and its container ends in a moment",
			outcome: Undecided, recorded: []omapi.PipelineState{failed}, want: failed,
		},
		"CompleteRetried": {
			reason:  "an earlier attempt's failure, and the last one could not write",
			outcome: Complete, recorded: []omapi.PipelineState{superseded}, want: success,
		},
		"Waiting": {
			reason:  "queued until a container has started",
			outcome: Waiting, recorded: []omapi.PipelineState{none, queued}, want: queued,
		},
		"CompleteUnreported": {
			reason:  "the Job completed and the workflow could not say so",
			outcome: Complete, recorded: []omapi.PipelineState{none, queued, running, success}, want: success,
		},
		"CompletePartial": {
			reason:  "the workflow knows better than its exit code",
			outcome: Complete, recorded: []omapi.PipelineState{partial}, want: partial,
		},
		"CompleteFailed": {
			reason:  "a process can exit 0 after it reported a failure",
			outcome: Complete, recorded: []omapi.PipelineState{failed}, want: failed,
		},
		"Failed": {
			reason:  "the worse of the two wins, also over a success that was reported too early",
			outcome: Failed, recorded: []omapi.PipelineState{none, queued, running, failed, success, partial}, want: failed,
		},
		"Stopped": {
			reason:  "a person ended the run",
			outcome: Stopped, recorded: []omapi.PipelineState{none, queued, running, stopped}, want: stopped,
		},
		"StoppedTooLate": {
			reason:  "the run had ended before the kill",
			outcome: Stopped, recorded: []omapi.PipelineState{success}, want: success,
		},
		"StoppedAbsorbs": {
			reason:  "stopped is terminal: the Job of a killed run fails too",
			outcome: Failed, recorded: []omapi.PipelineState{stopped}, want: stopped,
		},
		"Lost": {
			reason:  "a run of which nothing is left goes on no more",
			outcome: Lost, recorded: []omapi.PipelineState{queued, running, failed}, want: failed,
		},
		"LostSuccess": {
			reason:  "it ended, and its Job was deleted, between the look at its record and the look for its Job",
			outcome: Lost, recorded: []omapi.PipelineState{success}, want: success,
		},
		"LostPartial": {reason: "as a success", outcome: Lost, recorded: []omapi.PipelineState{partial}, want: partial},
		"LostStopped": {reason: "the kill took the Job along", outcome: Lost, recorded: []omapi.PipelineState{stopped}, want: stopped},
		"LostUnknown": {reason: "there is no run to end", outcome: Lost, recorded: []omapi.PipelineState{none}, want: none},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, recorded := range tc.recorded {
				assert.Equal(t, tc.want, Decide(tc.outcome, recorded), "%s: %s", recorded, tc.reason)
			}
		})
	}
}
