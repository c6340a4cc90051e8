package k8sclient

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// hold gives a run a pod that has ended with the code, and that an injected container keeps running.
func (w *world) hold(t *testing.T, name string, job *batchv1.Job, code int32) {
	t.Helper()
	at := metav1.Unix(1_700_000_000, 0)
	w.addPod(t, name, job, 1, corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "istio-proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}},
		{Name: identity.ContainerName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, StartedAt: at, FinishedAt: at}}},
	}})
	w.kube.change("pods", name, func(o object) {
		o.SetFinalizers([]string{batchv1.JobTrackingFinalizer})
		labels := maps.Clone(job.Spec.Template.Labels)
		maps.Copy(labels, o.GetLabels())
		o.SetLabels(labels)
	})
}

// counting is a Job's controller, which takes its finalizer from a pod that has ended.
func (w *world) counting(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if pod, ok := w.kube.get("pods", name).(*corev1.Pod); ok && pod.Status.Phase == corev1.PodSucceeded && len(pod.Finalizers) > 0 {
				w.kube.change("pods", name, func(o object) { o.SetFinalizers(nil) })
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
}

func (w *world) podDeadline(name string) *int64 {
	if pod, ok := w.kube.get("pods", name).(*corev1.Pod); ok {
		return pod.Spec.ActiveDeadlineSeconds
	}
	return nil
}

// TestHeldRun: a run whose pod an injected container keeps running has ended for everybody who asks.
func TestHeldRun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		code   int32
		record omapi.PipelineState
		// counted is what has to be done for the Job before the pod ends.
		counted bool
	}{
		"Success": {reason: "its Job counts it before its pod ends", record: omapi.StateSuccess, counted: true},
		"Failure": {reason: "its Job counts how its pod ends", code: 3, record: omapi.StateFailed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.client.config.BackoffLimit = 0
			run, job := w.start(t)
			w.hold(t, "held", job, tc.code)
			require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, &omapi.PipelineStatus{
				RunID: run.RunID, State: tc.record, Timestamp: w.om.Run(t, testFQN, run.RunID).Timestamp, EndDate: 1_700_000_001_000,
			}))

			status, err := w.client.Status(t.Context(), testFQN)
			require.NoError(t, err)
			require.Len(t, status.Runs, 1)
			assert.Equal(t, tc.record, status.Runs[0].State)
			assert.Equal(t, "istio-proxy keeps pod held running", status.Runs[0].InTheWay)
			var health []string
			for _, check := range w.client.Health(t.Context()).Checks {
				if check.State == CheckWarning && strings.Contains(check.Detail, "istio-proxy keeps pod held running") {
					health = append(health, check.Name)
				}
			}
			assert.Equal(t, []string{"injected containers"}, health)

			w.kube.logs["held"] = "2023-11-14T22:13:20Z the work\n"
			var out bytes.Buffer
			require.NoError(t, w.client.Logs(t.Context(), testFQN, LogOptions{Follow: true}, &out))
			assert.Contains(t, out.String(), "the work", "and does not wait for more")

			w.counting(t, "held")
			record, err := w.client.Wait(t.Context(), testFQN, run.RunID, nil)
			require.NoError(t, err)
			assert.Equal(t, tc.record, record.State)
			assert.Equal(t, new(int64(1)), w.podDeadline("held"), tc.reason)
			pod, ok := w.kube.get("pods", "held").(*corev1.Pod)
			require.True(t, ok, "the pod and its log stay")
			assert.Equal(t, tc.counted, pod.Status.Phase == corev1.PodSucceeded, tc.reason)
		})
	}
}

// TestHeldRunThatMayNotBeEnded: without the right to end pods, Wait returns all the same.
func TestHeldRunThatMayNotBeEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, job := w.start(t)
	w.hold(t, "held", job, 0)
	require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, &omapi.PipelineStatus{
		RunID: run.RunID, State: omapi.StateSuccess, Timestamp: w.om.Run(t, testFQN, run.RunID).Timestamp, EndDate: 1_700_000_001_000,
	}))
	w.kube.before = func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPatch && strings.Contains(req.URL.Path, "/pods/") {
			return apierrors.NewForbidden(corev1.Resource("pods"), "held", nil)
		}
		return nil
	}
	record, err := w.client.Wait(t.Context(), testFQN, run.RunID, nil)
	require.NoError(t, err)
	assert.Equal(t, omapi.StateSuccess, record.State)
}

// TestKillBesideAnInjectedContainer: a kill does not wait for what is not the run's.
func TestKillBesideAnInjectedContainer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.heldPatience, w.client.killReserve = time.Millisecond, time.Hour
	_, job := w.start(t)
	w.hold(t, "held", job, 143)
	killed, err := w.client.Kill(t.Context(), testFQN, "")
	require.NoError(t, err)
	require.Len(t, killed, 1)
	assert.Equal(t, omapi.StateStopped, killed[0].State)
	assert.Nil(t, w.kube.get("jobs", job.Name), "its Job goes, and takes the pod along")
}

// TestServiceMesh: Istio and Linkerd are told by what each of them takes, and what the user says of pods wins.
func TestServiceMesh(t *testing.T) {
	t.Parallel()
	native := map[string]string{
		"sidecar.istio.io/nativeSidecar": "true", "config.linkerd.io/proxy-enable-native-sidecar": "true",
		"config.beta.linkerd.io/proxy-enable-native-sidecar": "true", "config.alpha.linkerd.io/proxy-enable-native-sidecar": "true",
	}
	cases := map[string]struct {
		reason              string
		mesh                ServiceMesh
		podAnnotations      map[string]string
		labels, annotations map[string]string
	}{
		"Unset":  {reason: "a mesh does what it does"},
		"None":   {reason: "Istio goes by the label, and by the annotation in its old versions", mesh: ServiceMeshNone, labels: map[string]string{"sidecar.istio.io/inject": "false"}, annotations: map[string]string{"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}},
		"Native": {reason: "under each of the names that Linkerd has had for it", mesh: ServiceMeshNative, annotations: native},
		"Own":    {reason: "the user knows better", mesh: ServiceMeshNone, podAnnotations: map[string]string{"linkerd.io/inject": "enabled"}, labels: map[string]string{"sidecar.istio.io/inject": "false"}, annotations: map[string]string{"sidecar.istio.io/inject": "false", "linkerd.io/inject": "enabled"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			before := NewJob(&config, newPipeline(), testRunID, testTimestamp).Spec.Template
			config.ServiceMesh, config.PodAnnotations = tc.mesh, tc.podAnnotations
			pod := NewJob(&config, newPipeline(), testRunID, testTimestamp).Spec.Template
			for key := range before.Labels {
				delete(pod.Labels, key)
			}
			for key := range before.Annotations {
				delete(pod.Annotations, key)
			}
			if len(tc.labels) == 0 {
				assert.Empty(t, pod.Labels, tc.reason)
			} else {
				assert.Equal(t, tc.labels, pod.Labels, tc.reason)
			}
			if len(tc.annotations) == 0 {
				assert.Empty(t, pod.Annotations, tc.reason)
			} else {
				assert.Equal(t, tc.annotations, pod.Annotations, tc.reason)
			}
		})
	}
}
