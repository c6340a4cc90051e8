package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/harness"
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
	w.awaitWork(t, fqn, started.RunID)

	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))

	require.Len(t, killed, 1)
	assert.Equal(t, k8sclient.KillResult{FQN: fqn, RunID: started.RunID, JobName: started.JobName, State: omapi.StateStopped}, killed[0])
	run := w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal)
	assertWrites(t, run, omapi.StateQueued, omapi.StateRunning, omapi.StateStopped)
	last := run.Writes[len(run.Writes)-1]
	assert.Contains(t, last.UserAgent, "sidecar", "who saw the process end, not the client")
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

// TestKillFreesTheSchedule: the tick after a kill has its run, though the CronJob allows one at a time.
func TestKillFreesTheSchedule(t *testing.T) {
	t.Parallel() // It waits for the next minute most of the time.
	w := newWorld(t)
	file, fqn := w.pipeline(t, "again", map[string]string{"duration": "600", "rows": "6"}, everyMinute)
	first := w.awaitTick(t, file, fqn, "")
	w.awaitWork(t, fqn, first)
	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))
	require.Len(t, killed, 1)
	assert.Equal(t, first, killed[0].RunID)
	assert.Equal(t, omapi.StateStopped, killed[0].State)
	second := w.awaitTick(t, file, fqn, first)
	w.awaitWork(t, fqn, second)
	w.deleteStopped(t, fqn, second)
}

// TestDeleteEndsScheduledRun: the run of a CronJob tells that it was stopped before the CronJob goes.
func TestDeleteEndsScheduledRun(t *testing.T) {
	t.Parallel() // It waits for the next minute most of the time.
	w := newWorld(t)
	file, fqn := w.pipeline(t, "doomed", map[string]string{"duration": "600", "rows": "6"}, everyMinute)
	runID := w.awaitTick(t, file, fqn, "")
	w.awaitWork(t, fqn, runID)
	w.deleteStopped(t, fqn, runID)
}

// deleteStopped deletes a pipeline with a run that goes on, and checks that it ends as one that a person has stopped.
func (w *world) deleteStopped(t *testing.T, fqn, runID string) {
	t.Helper()
	var deleted []k8sclient.DeleteResult
	require.NoError(t, w.command.RunJSON(t.Context(), &deleted, "delete", fqn))
	require.Len(t, deleted, 1)
	require.Len(t, deleted[0].Killed, 1)
	assert.Equal(t, runID, deleted[0].Killed[0].RunID)
	run := w.await(t, fqn, runID, omapi.PipelineState.Terminal)
	// Before it works, its containers say that it waits or has begun, in any order.
	begun := slices.IndexFunc(run.Writes, harness.OfWorkflow)
	require.GreaterOrEqual(t, begun, 0, "%+v", run.Writes)
	assert.False(t, slices.ContainsFunc(run.Writes[:begun], func(write admin.Write) bool { return omapi.PipelineState(write.State).Terminal() }), "%+v", run.Writes)
	run.Writes = run.Writes[begun:]
	assertWrites(t, run, omapi.StateRunning, omapi.StateStopped)
	assert.Empty(t, w.objects(t, w.namespace), "nothing is left")
	pods, err := w.Kube.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: identity.LabelPipeline, FieldSelector: "status.phase=Running"})
	require.NoError(t, err)
	assert.Empty(t, pods.Items, "it returns when they have ended")
}

// TestRunsOutliveTheirSchedule: a run goes on when its pipeline is deployed without its schedule, and can be killed.
func TestRunsOutliveTheirSchedule(t *testing.T) {
	t.Parallel() // It waits for the next minute most of the time.
	w := newWorld(t)
	options := map[string]string{"duration": "600", "rows": "6"}
	file, fqn := w.pipeline(t, "outlived", options, everyMinute)
	runID := w.awaitTick(t, file, fqn, "")
	w.awaitWork(t, fqn, runID)
	file, _ = w.pipeline(t, "outlived", options, "")
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(w.objects(t, w.namespace), func(name string) bool { return strings.HasPrefix(name, "cronjobs/") })
	}, hang, pollInterval)
	assert.Equal(t, "running", w.await(t, fqn, runID, func(omapi.PipelineState) bool { return true }).State)
	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))
	require.Len(t, killed, 1)
	assert.Equal(t, k8sclient.KillResult{FQN: fqn, RunID: runID, JobName: killed[0].JobName, State: omapi.StateStopped}, killed[0])
}

// awaitTick deploys a pipeline of every minute, and gives its first run after the one that is named. No other comes.
func (w *world) awaitTick(t *testing.T, file, fqn, after string) string {
	t.Helper()
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	return w.nextTick(t, fqn, metav1.ListOptions{LabelSelector: identity.LabelPipeline}, after)
}

// nextTick puts a schedule into force until it has made a run other than the one that is named, and gives that.
func (w *world) nextTick(t *testing.T, fqn string, jobsOf metav1.ListOptions, after string) string {
	t.Helper()
	_, err := w.command.Run(t.Context(), "enable", fqn)
	require.NoError(t, err)
	var runID string
	err = eventually(t.Context(), func(ctx context.Context) (bool, error) {
		jobs, err := w.Kube.BatchV1().Jobs(w.namespace).List(ctx, jobsOf)
		if err != nil {
			return false, err
		}
		for i := range jobs.Items {
			if id := report.RunIDOf(&jobs.Items[i]); id != after {
				runID = id
			}
		}
		return runID != "", nil
	})
	require.NoError(t, err)
	_, err = w.command.Run(t.Context(), "disable", fqn)
	require.NoError(t, err)
	return runID
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
