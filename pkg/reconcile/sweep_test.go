package reconcile

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// deployed is what a pipeline is found by.
func deployed(fqn string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: "om-config-" + fqn, Namespace: namespace, Labels: map[string]string{identity.LabelPipeline: "nightly"}, Annotations: map[string]string{identity.AnnotationFQN: fqn},
	}}
}

// put writes the record of another run.
func (w *world) put(t *testing.T, state omapi.PipelineState, timestamp int64) string {
	t.Helper()
	id := identity.NewRunID(here)
	require.NoError(t, w.client.PutStatus(t.Context(), w.fqn, &omapi.PipelineStatus{RunID: id, State: state, Timestamp: timestamp, StartDate: timestamp}))
	return id
}

func (w *world) state(t *testing.T, id string) string {
	t.Helper()
	return w.Run(t, w.fqn, id).State
}

func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deployed("svc.nightly"))
	running, queued, done := w.put(t, omapi.StateRunning, started+1), w.put(t, omapi.StateQueued, started+2), w.put(t, omapi.StateSuccess, started+3)
	young := w.put(t, omapi.StateQueued, time.Now().UnixMilli())
	w.write(t, omapi.StateRunning)
	require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
	w.run(t)
	require.Eventually(t, func() bool { return w.state(t, running) == "failed" && w.state(t, queued) == "failed" }, hang, 10*time.Millisecond, "runs without a Job are over")
	assert.Never(t, func() bool { return w.state(t, young) != "queued" || w.state(t, w.runID) != "running" }, quiet, quiet/10)
	assert.Equal(t, "success", w.state(t, done))
	assert.Equal(t, "queued", w.state(t, young), "its Job is about to be made")
	assert.Equal(t, "running", w.state(t, w.runID), "it has a Job")
	assert.Contains(t, w.Run(t, w.fqn, running).Cause.Error, "no Job of this run is left in namespace pipelines")
}

// TestSweepDoesNotFlip: a run ends and its Job goes after the records were looked at, and before the Jobs are.
func TestSweepDoesNotFlip(t *testing.T) {
	t.Parallel()
	for _, final := range []omapi.PipelineState{omapi.StateSuccess, omapi.StatePartialSuccess, omapi.StateStopped} {
		t.Run(string(final), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, deployed("svc.nightly"))
			w.write(t, omapi.StateRunning)
			r, _ := w.reconciler(t)
			objects := metadataOf(w.kube)
			objects.PrependReactor("list", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
				w.write(t, final)
				return false, nil, nil
			})
			r.Metadata = objects
			r.sweep(t.Context())
			assert.Equal(t, string(final), w.state(t, w.runID))
			assert.Equal(t, 2, w.puts(t), "nothing is missing")
		})
	}
}

// TestSweepLeavesRunsToOthers: a Job that was deleted is gone before its pods are, which have their grace period.
func TestSweepLeavesRunsToOthers(t *testing.T) {
	t.Parallel()
	soon, past := metav1.NewTime(time.Now().Add(time.Minute)), metav1.NewTime(time.Now().Add(-time.Minute))
	cases := map[string]struct {
		reason string
		edit   func(w *world, pod *corev1.Pod)
		want   string
	}{
		"Ending": {reason: "it reports its end itself", edit: func(_ *world, pod *corev1.Pod) { pod.DeletionTimestamp = &soon }, want: "running"},
		"Scheduled": {
			reason: "the run's id is the Job's UID",
			edit: func(w *world, pod *corev1.Pod) {
				delete(pod.Labels, identity.LabelRunID)
				pod.Labels[batchv1.ControllerUidLabel] = w.runID
			},
			want: "running",
		},
		"Ended":    {reason: "it has had its time", edit: func(_ *world, pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }, want: "failed"},
		"NodeLost": {reason: "no kubelet says that it ended", edit: func(_ *world, pod *corev1.Pod) { pod.DeletionTimestamp = &past }, want: "failed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, deployed("svc.nightly"))
			w.write(t, omapi.StateRunning)
			left := pod("p", corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
			left.Labels[identity.LabelRunID] = w.runID
			tc.edit(w, left)
			require.NoError(t, w.kube.Tracker().Add(left))
			r, _ := w.reconciler(t)
			r.sweep(t.Context())
			assert.Equal(t, tc.want, w.state(t, w.runID), tc.reason)
		})
	}
}

// TestSweepLeavesRunsToTheirReport: of a Job that was just deleted more is known than that it is lost.
func TestSweepLeavesRunsToTheirReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deployed("svc.nightly"))
	w.write(t, omapi.StateRunning)
	r, _ := w.reconciler(t)
	r.change("job-uid", func(run *run) { run.job, run.jobGone = w.job(nil), true })
	r.sweep(t.Context())
	assert.Equal(t, "running", w.state(t, w.runID))
}

// TestLateWrites: what is written after the end was reported does not stand, as long as the Job can tell.
func TestLateWrites(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		job    batchv1.JobConditionType
		code   int32
		late   omapi.PipelineState
		want   string
	}{
		"Running":   {reason: "a node was cut off, and comes back", job: batchv1.JobFailed, code: 137, late: omapi.StateRunning, want: "failed"},
		"Success":   {reason: "a slow workflow flips the state", job: batchv1.JobFailed, code: 3, late: omapi.StateSuccess, want: "failed"},
		"Completed": {reason: "its last write was overtaken by the one before", job: batchv1.JobComplete, late: omapi.StateRunning, want: "success"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, deployed("svc.nightly"))
			require.NoError(t, w.client.PutStatus(t.Context(), w.fqn, &omapi.PipelineStatus{
				RunID: w.runID, State: omapi.PipelineState(tc.want), Timestamp: started, StartDate: started, EndDate: started + 6000,
				Steps: []omapi.Step{omapi.NewStep(omapi.StepSummary{Name: diagnostics.StepName, Failures: []omapi.StackTraceError{{Name: "X", Error: "x"}}})},
			}))
			require.NoError(t, w.kube.Tracker().Add(w.job(condition(tc.job))))
			require.NoError(t, w.kube.Tracker().Add(pod("p", corev1.PodFailed, exited(tc.code))))
			r, _ := w.reconciler(t)
			start(t, r)
			require.Eventually(t, func() bool { return r.isVerified("job-uid") }, hang, 10*time.Millisecond)
			w.write(t, tc.late)
			w.await(t, tc.want)
			assert.Len(t, w.Run(t, w.fqn, w.runID).Rows, 1)
		})
	}
}

// TestRecheck: a run is reported again where that changes its record, which each sweep would do anew otherwise.
func TestRecheck(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason    string
		state     omapi.PipelineState
		diagnosis diagnostics.Category
		again     bool
	}{
		"Running":   {reason: "a node that was cut off has written late", state: omapi.StateRunning, again: true},
		"NoCause":   {reason: "a late write without the diagnosis replaced the record", state: omapi.StateFailed, again: true},
		"Unknown":   {reason: "what was not found then is not found now", state: omapi.StateFailed, diagnosis: diagnostics.CategoryUnknown},
		"Diagnosed": {reason: "it is as it was left", state: omapi.StateFailed, diagnosis: diagnostics.CategoryOOMKilled},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r, _ := w.reconciler(t)
			r.change("job-uid", func(run *run) { run.job, run.verified = w.job(condition(batchv1.JobFailed)), true })
			record := &omapi.PipelineStatus{RunID: w.runID, State: tc.state, Timestamp: started, StartDate: started}
			if tc.state.Terminal() {
				record.EndDate = started + 6000
			}
			if tc.diagnosis != "" {
				record.Steps = []omapi.Step{omapi.NewStep(omapi.StepSummary{Name: diagnostics.StepName, Failures: []omapi.StackTraceError{{Name: string(tc.diagnosis), Error: "x"}}})}
			}
			ended, ok := r.endedRuns()[w.runID]
			require.True(t, ok)
			r.recheck(&ended, record)
			assert.Equal(t, tc.again, !r.isVerified("job-uid"), tc.reason)
		})
	}
}

func (r *Reconciler) isVerified(uid types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[uid] != nil && r.runs[uid].verified
}

// TestSweepGoesOn: a sweep that hangs ends, and is made again.
func TestSweepGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deployed("svc.nightly"))
	w.write(t, omapi.StateRunning)
	w.Fault(t, admin.Fault{Kind: admin.FaultHang, Method: http.MethodGet, Path: "pipelineStatus$", Count: 2})
	r, log := w.reconciler(t)
	r.sweepTimeout = 3 * time.Second
	start(t, r)
	w.await(t, "failed")
	assert.GreaterOrEqual(t, log.lines("not all runs could be looked at"), 2, "one that is slow says so too")
}

// TestSweepEndsWhatItFound: a server that hangs takes the time to look, not the time to end what was found before.
func TestSweepEndsWhatItFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	runs := map[string]string{}
	for _, name := range []string{"p1", "p2"} {
		w.fqn = w.Pipeline(t, "svc", name)
		runs[w.fqn] = w.put(t, omapi.StateRunning, started)
		require.NoError(t, w.kube.Tracker().Add(deployed(w.fqn)))
	}
	w.Fault(t, admin.Fault{Kind: admin.FaultHang, Method: http.MethodGet, Path: "pipelineStatus$", Skip: 1})
	r, log := w.reconciler(t)
	r.sweepTimeout = 6 * time.Second
	r.sweep(t.Context())
	assert.Equal(t, 1, log.lines("not all runs could be looked at"))
	require.Len(t, r.swept, 1)
	for fqn, id := range runs {
		want := "running"
		if r.swept[fqn] {
			want = "failed"
		}
		assert.Equal(t, want, w.Run(t, fqn, id).State)
	}
}

// TestSweepLooksBackOnce: only of a pipeline whose records could not be read many are asked for again.
func TestSweepLooksBackOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"p1", "p2"} {
		require.NoError(t, w.kube.Tracker().Add(deployed(w.Pipeline(t, "svc", name))))
	}
	w.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusInternalServerError, Method: http.MethodGet, Path: "svc.p1.*pipelineStatus$", Count: 1})
	r, _ := w.reconciler(t)
	for range 3 {
		r.sweep(t.Context())
	}
	for path, want := range map[string][]string{
		"svc.p1": {"limit=100", "limit=100", "limit=10"},
		"svc.p2": {"limit=100", "limit=10", "limit=10"},
	} {
		requests, err := w.Requests(admin.RequestFilter{Method: http.MethodGet, Path: path + ".*pipelineStatus$"})
		require.NoError(t, err)
		got := make([]string, len(requests))
		for i := range requests {
			got[i] = requests[i].Query
		}
		assert.Equal(t, want, got, path)
	}
}

func TestSweepOfAServerThatRefuses(t *testing.T) {
	t.Parallel()
	const pipelines = 5
	cases := map[string]struct {
		reason string
		status int
		// path is a regular expression of what is refused.
		path string
		want int
		// swept is how many pipelines need not be looked at as far back again.
		swept int
	}{
		"Unauthorized": {reason: "the token is the same for all", status: http.StatusUnauthorized, want: 1},
		"Forbidden":    {reason: "so are its rights", status: http.StatusForbidden, want: 1},
		"Broken":       {reason: "a server that fails for some in a row fails for all", status: http.StatusInternalServerError, want: givesUp},
		"OneIsBroken":  {reason: "one pipeline does not keep the others from being looked at", status: http.StatusInternalServerError, path: "svc.p3", want: pipelines, swept: pipelines - 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, name := range []string{"p1", "p2", "p3", "p4", "p5"} {
				require.NoError(t, w.kube.Tracker().Add(deployed(w.Pipeline(t, "svc", name))))
			}
			w.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: tc.status, Method: http.MethodGet, Path: tc.path + ".*pipelineStatus$"})
			r, log := w.reconciler(t)
			r.sweep(t.Context())
			requests, err := w.Requests(admin.RequestFilter{Method: http.MethodGet, Path: "pipelineStatus$"})
			require.NoError(t, err)
			assert.Len(t, requests, tc.want, tc.reason)
			assert.Equal(t, 1, log.lines("not all runs could be looked at"))
			assert.Len(t, r.swept, tc.swept, tc.reason)
		})
	}
}
