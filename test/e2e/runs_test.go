package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

func TestRunEnds(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		reason  string
		service string
		options map[string]string
		want    omapi.PipelineState
	}{
		"Succeeds": {
			reason: "the workflow reports its own success, which stands", service: "good",
			options: map[string]string{"rows": "10"}, want: omapi.StateSuccess,
		},
		"PartlySucceeds": {
			reason: "one error in twenty is a partial success", service: "partly",
			options: map[string]string{"rows": "20", "errors": "1"}, want: omapi.StatePartialSuccess,
		},
		"Fails": {
			reason: "the workflow reports its own failure, which stands", service: "bad",
			options: map[string]string{"rows": "20", "errors": "20"}, want: omapi.StateFailed,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file, fqn := w.pipeline(t, tc.service, tc.options, "")
			started := w.start(t, file, fqn)
			run := w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal)
			assert.Equal(t, string(tc.want), run.State, tc.reason)
			assert.Len(t, run.Rows, 1, "one record per run")
			assertWrites(t, run, omapi.StateQueued, omapi.StateRunning, tc.want)
		})
	}
}

func TestKill(t *testing.T) {
	w := newWorld(t)
	file, fqn := w.pipeline(t, "endless", map[string]string{"duration": "600", "rows": "6"}, "")
	started := w.start(t, file, fqn)
	w.await(t, fqn, started.RunID, func(state omapi.PipelineState) bool { return state == omapi.StateRunning })

	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))

	require.Len(t, killed, 1)
	assert.Equal(t, k8sclient.KillResult{FQN: fqn, RunID: started.RunID, JobName: started.JobName, State: omapi.StateStopped}, killed[0])
	run := w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal)
	assertWrites(t, run, omapi.StateQueued, omapi.StateRunning, omapi.StateStopped)
	last := run.Writes[len(run.Writes)-1]
	assert.Contains(t, last.UserAgent, "preStop hook", "the hook saw the end, not the client")
	require.NotNil(t, run.Cause)
	assert.Equal(t, "Killed", run.Cause.Name)
	assert.Contains(t, run.Cause.Error, started.JobName)
	assert.NotContains(t, w.objects(t, w.namespace), "jobs/"+started.JobName, "the Job is gone, so that the schedule is free")

	_, err := w.command.Run(t.Context(), "kill", fqn)
	assert.ErrorContains(t, err, k8sclient.ErrNothingToKill.Error(), "a killed run cannot be killed again")
}

func TestKillBeforeStart(t *testing.T) {
	w := newWorld(t)
	file, fqn := w.pipeline(t, "unstartable", nil, "")
	started := w.startWithImage(t, file, fqn, "pipelinectl.local/does-not-exist:dev")

	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))

	require.Len(t, killed, 1, "a run that waits for its image can be killed too")
	run := w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal)
	assertWrites(t, run, omapi.StateQueued, omapi.StateStopped)
	require.NotNil(t, run.Cause, "no hook was there to tell, so the kill itself did")
	assert.Contains(t, run.Cause.Error, "was stopped by a person")
	text, err := w.command.Run(t.Context(), "diagnose", fqn)
	require.NoError(t, err)
	assert.Contains(t, text, "Run: "+started.RunID+"\nCategory: Killed\n", "the newest run has no Job any more")
}

// assertWrites compares the states that were written, in their order: the promise is about what is never seen. Running may
// be written by the container's init and by the workflow.
func assertWrites(t *testing.T, run *admin.Run, want ...omapi.PipelineState) {
	t.Helper()
	var got []omapi.PipelineState
	for _, write := range run.Writes {
		state := omapi.PipelineState(write.State)
		if n := len(got); n > 0 && got[n-1] == state && !state.Terminal() {
			continue
		}
		got = append(got, state)
	}
	assert.Equal(t, want, got)
}
