package reconcile

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// heldName is the name of a heldPod.
const heldName = "attempt"

// heldPod is one whose run has ended, and which a container that somebody injected keeps running.
func heldPod(code int32) *corev1.Pod {
	held := pod(heldName, corev1.PodRunning, exited(code))
	held.Finalizers = []string{batchv1.JobTrackingFinalizer}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.UnixMilli(started))}}
	held.Status.ContainerStatuses = append([]corev1.ContainerStatus{{Name: "istio-proxy", State: runs}}, held.Status.ContainerStatuses...)
	return held
}

// count does what the Job's controller does when it has seen that a pod has ended.
func (w *world) count(t *testing.T) {
	t.Helper()
	pod, err := w.kube.CoreV1().Pods(namespace).Get(t.Context(), heldName, metav1.GetOptions{})
	require.NoError(t, err)
	pod.Finalizers = nil
	_, err = w.kube.CoreV1().Pods(namespace).Update(t.Context(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)
}

func (w *world) awaitHeldPod(t *testing.T, reached func(*corev1.Pod) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		pod, err := w.kube.CoreV1().Pods(namespace).Get(t.Context(), heldName, metav1.GetOptions{})
		return err == nil && reached(pod)
	}, hang, 10*time.Millisecond, "pod %s", heldName)
}

func ordered(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds == 1
}

func TestHeldSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
	require.NoError(t, w.kube.Tracker().Add(heldPod(0)))
	w.write(t, omapi.StateRunning)
	w.runWatching(t)

	w.await(t, "success")
	w.awaitHeldPod(t, func(pod *corev1.Pod) bool {
		assert.False(t, ordered(pod), "a pod that ends before its Job has counted it is a failure")
		return pod.Status.Phase == corev1.PodSucceeded
	})
	w.count(t)
	w.awaitHeldPod(t, ordered)
	assert.Empty(t, w.deletions(), "its log stays")
}

// TestHeldSuccessWhilePhaseIsPutBack: the kubelet corrects the phase, which is set again until the Job has seen it.
func TestHeldSuccessWhilePhaseIsPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
	require.NoError(t, w.kube.Tracker().Add(heldPod(0)))
	w.runWatching(t)
	for range 2 {
		w.awaitHeldPod(t, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
		pod, err := w.kube.CoreV1().Pods(namespace).Get(t.Context(), heldName, metav1.GetOptions{})
		require.NoError(t, err)
		pod.Status.Phase = corev1.PodRunning
		_, err = w.kube.CoreV1().Pods(namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	w.awaitHeldPod(t, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded && !ordered(pod) })
}

func TestHeldFailure(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		retries int32
		want    string
		step    string
	}{
		"Last":  {reason: "the run has failed before its Job knows", want: "failed", step: diagnostics.StepName},
		"Retry": {reason: "the pod has to end for the next attempt", retries: 1, want: "running", step: diagnostics.StepName + ": attempt"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			require.NoError(t, w.kube.Tracker().Add(w.job(func(job *batchv1.Job) { job.Spec.BackoffLimit = &tc.retries })))
			require.NoError(t, w.kube.Tracker().Add(heldPod(3)))
			w.runWatching(t)

			run := w.await(t, tc.want)
			assert.Contains(t, string(run.Rows[0]), `"name":"`+tc.step+`"`, tc.reason)
			assert.Contains(t, string(run.Rows[0]), "istio-proxy", "the container in the way is named")
			w.awaitHeldPod(t, ordered)
			w.awaitHeldPod(t, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
			assert.Empty(t, w.deletions(), tc.reason)
		})
	}
}

// TestHeldAfterDeadline: what the Job decides afterwards changes nothing.
func TestHeldAfterDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job := w.job(condition(batchv1.JobFailed))
	job.Status.Conditions[0].Reason, job.Status.Conditions[0].LastTransitionTime = batchv1.JobReasonDeadlineExceeded, metav1.NewTime(time.UnixMilli(started+60_000))
	require.NoError(t, w.kube.Tracker().Add(job))
	held := heldPod(0)
	held.Status.Phase = corev1.PodFailed
	held.Status.ContainerStatuses[0].State = exited(137)
	require.NoError(t, w.kube.Tracker().Add(held))
	w.write(t, omapi.StateSuccess)
	before := w.puts(t)
	r, _ := w.reconciler(t)
	start(t, r)
	require.Eventually(t, func() bool { return r.isVerified("job-uid") }, hang, 10*time.Millisecond)
	assert.Equal(t, "success", w.Run(t, w.fqn, w.runID).State)
	assert.Equal(t, before, w.puts(t), "nothing is missing")
}

// TestHeldAndDenied: without the right to end a pod the record is right all the same, and it is said once what is missing.
func TestHeldAndDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
	require.NoError(t, w.kube.Tracker().Add(heldPod(0)))
	w.kube.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), heldName, errors.New("no"))
	})
	r, log := w.reconciler(t)
	start(t, r)
	w.await(t, "success")
	require.Eventually(t, func() bool { return r.isVerified("job-uid") }, hang, 10*time.Millisecond)
	assert.Contains(t, log.String(), "istio-proxy")
	assert.Equal(t, 1, log.lines("give the service account the Role in deploy/"))
}

// TestNotRunningAfterItsEnd: between the end of a run's container and its Job's decision nobody writes that it runs.
func TestNotRunningAfterItsEnd(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		// seen is the pod as it is watched, now as it is.
		seen, now *corev1.Pod
	}{
		"Seen":  {reason: "its end is seen", seen: pod("attempt", corev1.PodSucceeded, exited(0)), now: pod("attempt", corev1.PodSucceeded, exited(0))},
		"Stale": {reason: "its end has come meanwhile", seen: pod("attempt", corev1.PodRunning, running()), now: pod("attempt", corev1.PodSucceeded, exited(0))},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write(t, omapi.StateQueued)
			r, _ := w.reconciler(t)
			seen := newRun()
			seen.job, seen.pods["attempt"] = w.job(nil), tc.seen
			require.NoError(t, w.kube.Tracker().Add(tc.now))
			_, err := r.progress(t.Context(), seen, seen)
			require.NoError(t, err)
			assert.Equal(t, "queued", w.Run(t, w.fqn, w.runID).State, tc.reason)
			requests, err := w.Requests(admin.RequestFilter{Method: http.MethodPut, Path: "pipelineStatus$"})
			require.NoError(t, err)
			assert.Len(t, requests, 1, "the test's own")
		})
	}
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.UnixMilli(started))}}
}

func (w *world) deletions() []clienttesting.Action {
	return slices.DeleteFunc(w.kube.Actions(), func(action clienttesting.Action) bool { return action.GetVerb() != "delete" })
}
