package k8sclient

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

func (w *world) reader(t *testing.T) diagnostics.Reader {
	t.Helper()
	reader, err := diagnostics.NewReader(&rest.Config{Host: w.kube.url}, namespace)
	require.NoError(t, err)
	return reader
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	older, _ := w.start(t)
	w.end(older.JobName, batchv1.JobComplete)
	run, job := w.start(t)
	w.kube.change("jobs", older.JobName, func(o object) { o.SetCreationTimestamp(metav1.Unix(1, 0)) })
	status := corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
		Name: identity.ContainerName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", StartedAt: metav1.Now(), FinishedAt: metav1.Now()}},
	}}}
	w.addPod(t, "attempt", job, 1, status)
	w.kube.setLog("attempt", "connect with bot-token\n")

	for _, name := range []string{run.RunID, run.JobName, testFQN} {
		diagnosis, err := w.client.Diagnose(t.Context(), w.reader(t), name)
		require.NoError(t, err, name)
		assert.Equal(t, run.RunID, diagnosis.RunID, "by its id, its Job, or as the newest of its pipeline")
		assert.Equal(t, testFQN, diagnosis.FQN)
		assert.Equal(t, diagnostics.CategoryOOMKilled, diagnosis.Verdict.Category)
		assert.Equal(t, report.Undecided, diagnosis.Outcome)
	}
	diagnosis, err := w.client.Diagnose(t.Context(), w.reader(t), run.RunID)
	require.NoError(t, err)
	result, err := w.client.Report(t.Context(), diagnosis, "a test")
	require.NoError(t, err)
	assert.Equal(t, report.Result{}, result, "whether it was the last attempt the Job has yet to say")
	assert.Equal(t, "queued", w.om.Run(t, testFQN, run.RunID).State)

	w.end(run.JobName, batchv1.JobFailed)
	diagnosis, err = w.client.Diagnose(t.Context(), w.reader(t), run.RunID)
	require.NoError(t, err)
	result, err = w.client.Report(t.Context(), diagnosis, "a test")
	require.NoError(t, err)
	assert.Equal(t, report.Result{State: omapi.StateFailed, Written: true}, result)
	assert.Equal(t, "OOMKilled", w.om.Run(t, testFQN, run.RunID).Cause.Name)

	for _, name := range []string{"0190b0a0-1111-7222-8333-444455556666", "no-such-job"} {
		_, err = w.client.Diagnose(t.Context(), w.reader(t), name)
		require.ErrorIs(t, err, ErrNoJob, name)
	}
	_, err = w.client.Diagnose(t.Context(), w.reader(t), "no.such")
	require.ErrorIs(t, err, ErrNotDeployed)
}

// TestDiagnoseWithoutAJob: of a run that was killed, the record is all that is left.
func TestDiagnoseWithoutAJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	older, _ := w.start(t)
	w.end(older.JobName, batchv1.JobComplete)
	run, _ := w.start(t)
	_, err := w.client.Kill(t.Context(), testFQN, run.RunID)
	require.NoError(t, err)
	diagnosis, err := w.client.Diagnose(t.Context(), w.reader(t), testFQN)
	require.NoError(t, err)
	assert.Equal(t, run.RunID, diagnosis.RunID, "the newest run, not the newest Job")
	assert.Equal(t, diagnostics.CategoryKilled, diagnosis.Verdict.Category)
	require.NotNil(t, diagnosis.Record)
	assert.Equal(t, omapi.StateStopped, diagnosis.Record.State)
	_, err = w.client.Report(t.Context(), diagnosis, "a test")
	require.ErrorIs(t, err, ErrNoJob)
	_, err = w.client.Diagnose(t.Context(), w.reader(t), run.RunID)
	require.ErrorIs(t, err, ErrNoJob, "a run's id does not say which pipeline's it is")

	older, _ = w.start(t)
	diagnosis, err = w.client.Diagnose(t.Context(), w.reader(t), testFQN)
	require.NoError(t, err)
	assert.Equal(t, older.RunID, diagnosis.RunID)
	require.NotNil(t, diagnosis.Record)
	assert.Equal(t, omapi.StateQueued, diagnosis.Record.State, "what OpenMetadata shows is told too")
}

func TestHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, job := w.start(t)
	states := func() map[string]string {
		diagnosis, err := w.client.Diagnose(t.Context(), w.reader(t), run.RunID)
		require.NoError(t, err)
		out := map[string]string{}
		for _, check := range w.client.Hooks(t.Context(), diagnosis.Run) {
			out[check.Name] = check.State
		}
		return out
	}
	assert.Equal(t, map[string]string{
		"pod": CheckFailed, "preStop hook": CheckOK, "sidecar": CheckOK, "environment": CheckOK, "what is read from here": CheckOK, "permissions of pods": CheckOK,
	}, states(), "there is none yet, but the Job says what it will be")
	now := metav1.Now()
	w.addPod(t, "attempt", job, 1, corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: identity.ContainerName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143, StartedAt: now, FinishedAt: now}},
	}}})
	w.kube.setLog("attempt", "x\n")
	w.kube.change("pods", "attempt", func(o object) {
		if pod, ok := o.(*corev1.Pod); ok {
			pod.Spec = *job.Spec.Template.Spec.DeepCopy()
		}
	})
	assert.Equal(t, map[string]string{
		"preStop hook": CheckOK, "sidecar": CheckOK, "environment": CheckOK, "hook's end": CheckOK, "termination": CheckOK, "what is read from here": CheckOK, "permissions of pods": CheckOK,
	}, states())
	w.kube.change("pods", "attempt", func(o object) {
		if pod, ok := o.(*corev1.Pod); ok {
			pod.Spec.Containers[0].Lifecycle, pod.Spec.InitContainers = nil, nil
			pod.Spec.Containers[0].Env = pod.Spec.Containers[0].Env[:1]
		}
	})
	w.kube.add(t, "kubelet", &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "failed-hook"}, Reason: "FailedPreStopHook", Message: "PreStopHook failed",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "attempt"},
	})
	got := states()
	assert.Equal(t, CheckFailed, got["preStop hook"])
	assert.Equal(t, CheckWarning, got["sidecar"])
	assert.Equal(t, CheckFailed, got["environment"])
	assert.Equal(t, CheckFailed, got["hook's end"])
}

// TestHooksPermissions are those of the pod, not of who asks.
func TestHooksPermissions(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		denied []string
		refuse bool
		state  string
		detail string
	}{
		"Allowed": {reason: "the Role of deploy/ is bound", state: CheckOK, detail: "service account openmetadata-ingestion"},
		"Denied":  {reason: "without them the sidecar sees nothing", denied: []string{"watch pods", "list events"}, state: CheckFailed, detail: "may not: watch pods, list events"},
		"Unknown": {reason: "to ask takes a permission too", refuse: true, state: CheckWarning, detail: "those of service account openmetadata-ingestion cannot be asked"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, job := w.start(t)
			for _, permission := range tc.denied {
				w.kube.lacking = append(w.kube.lacking, "system:serviceaccount:"+namespace+":openmetadata-ingestion "+permission)
			}
			w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
				if resource := "localsubjectaccessreviews"; tc.refuse && strings.HasSuffix(req.URL.Path, resource) {
					return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no role"))
				}
				return nil
			})
			checks := w.client.Hooks(t.Context(), &diagnostics.Run{Job: job})
			at := slices.IndexFunc(checks, func(check Check) bool { return check.Name == "permissions of pods" })
			require.GreaterOrEqual(t, at, 0)
			assert.Equal(t, tc.state, checks[at].State, tc.reason)
			assert.Contains(t, checks[at].Detail, tc.detail)
		})
	}
}

// TestDiagnoseAsksForLittle: a namespace may hold thousands of Jobs.
func TestDiagnoseAsksForLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, _ := w.start(t)
	scheduled, _ := w.start(t)
	w.kube.change("jobs", scheduled.JobName, func(o object) {
		labels := o.GetLabels()
		delete(labels, identity.LabelRunID)
		o.SetLabels(labels)
		o.SetUID(types.UID(scheduled.RunID))
	})
	var mu sync.Mutex
	var selectors []string
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(req.URL.Path, "/jobs") {
			selectors = append(selectors, req.URL.Query().Get("labelSelector"))
		}
		return nil
	})
	for _, id := range []string{run.RunID, strings.ToUpper(run.RunID), scheduled.RunID} {
		job, err := w.client.jobOfRun(t.Context(), id)
		require.NoError(t, err, id)
		assert.Equal(t, strings.ToLower(id), report.RunIDOf(job))
	}
	require.Len(t, selectors, 4, "only a schedule's run takes a second look")
	assert.Contains(t, selectors[0], run.RunID)
	assert.Contains(t, selectors[3], "!"+identity.LabelRunID)
}

// TestUnknownPipelineCanBeKilledAndDeleted: OpenMetadata deletes its pipeline first, and ignores what becomes of this.
func TestUnknownPipelineCanBeKilledAndDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, _ := w.start(t)
	w.om.Delete(t, testFQN)
	result, err := w.client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.NoError(t, err)
	assert.Equal(t, []KillResult{{FQN: testFQN, RunID: run.RunID, JobName: run.JobName}}, result.Killed)
	assert.Empty(t, w.kube.names(), "nothing is left")
}

func TestDisabledScheduleStaysDisabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	suspendedNow := func() bool {
		cronJob, ok := w.kube.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
		require.True(t, ok)
		return suspended(cronJob)
	}
	_, err := w.client.SetEnabled(t.Context(), testFQN, false)
	require.NoError(t, err)
	_, err = deploy(t, w.client, newPipeline(edited(2)))
	require.NoError(t, err)
	assert.True(t, suspendedNow(), "a deploy of a pipeline that does not say leaves it")
	_, err = w.client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
	require.NoError(t, err)
	assert.True(t, suspendedNow(), "so does a rollback")
	_, err = deploy(t, w.client, newPipeline(edited(3), func(p *omapi.IngestionPipeline) { p.Enabled = new(true) }))
	require.NoError(t, err)
	assert.False(t, suspendedNow(), "the pipeline says that it is enabled")
}
