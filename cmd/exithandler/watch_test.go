package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// podAPI serves one Job and its pod, which changes while it is watched.
type podAPI struct {
	mux     *http.ServeMux
	mu      sync.Mutex
	pod     corev1.Pod
	changed chan struct{}
	// watches counts the watches that were opened; drop ends each at once.
	watches int
	drop    bool
	// earlier are attempts before the pod.
	earlier []corev1.Pod
}

func newPodAPI(job *batchv1.Job) *podAPI {
	a := &podAPI{mux: http.NewServeMux(), changed: make(chan struct{})}
	a.pod = corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "p", UID: "p", ResourceVersion: "1", Labels: map[string]string{batchv1.JobNameLabel: testJob},
			Finalizers: []string{batchv1.JobTrackingFinalizer},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: identity.ContainerName}}},
	}
	a.set(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}, nil)
	const namespaced = "/api/v1/namespaces/pipelines/"
	a.mux.HandleFunc("GET /apis/batch/v1/namespaces/pipelines/jobs/"+testJob, func(w http.ResponseWriter, _ *http.Request) {
		if job == nil {
			http.NotFound(w, nil)
			return
		}
		reply(w, http.StatusOK, job)
	})
	a.mux.HandleFunc("GET "+namespaced+"pods/p", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		reply(w, http.StatusOK, a.pod)
	})
	a.mux.HandleFunc("GET "+namespaced+"pods", a.list)
	a.mux.HandleFunc("GET "+namespaced+"events", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, corev1.EventList{}) })
	a.mux.HandleFunc("GET "+namespaced+"pods/p/log", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Traceback\nValueError: no\n")) })
	return a
}

// inject puts a container beside the pod's that goes on, as a service mesh does.
func (a *podAPI) inject() {
	a.mu.Lock()
	defer a.mu.Unlock()
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	a.pod.Status.ContainerStatuses = append(a.pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: "istio-proxy", State: runs})
}

// set changes the state of the main container.
func (a *podAPI) set(state corev1.ContainerState, deleted *metav1.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pod.Status.ContainerStatuses[0].State, a.pod.DeletionTimestamp = state, deleted
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *podAPI) list(w http.ResponseWriter, req *http.Request) {
	if req.URL.Query().Get("watch") == "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		reply(w, http.StatusOK, corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: append([]corev1.Pod{a.pod}, a.earlier...)})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for {
		a.mu.Lock()
		a.watches++
		data, err := json.Marshal(map[string]any{"type": "MODIFIED", "object": a.pod})
		changed, drop := a.changed, a.drop
		a.mu.Unlock()
		if err != nil || drop {
			return
		}
		_, _ = w.Write(append(data, '\n'))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		}
	}
}

func noRetries(job *batchv1.Job) { job.Spec.BackoffLimit = new(int32) }

func ended(code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", StartedAt: metav1.Now(), FinishedAt: metav1.Now()}}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	retries := func(job *batchv1.Job) { job.Spec.BackoffLimit = new(int32(1)) }
	cases := map[string]struct {
		reason string
		job    *batchv1.Job
		before omapi.PipelineState
		drop   bool
		end    corev1.ContainerState
		// released says that the pod is deleted, and does not count.
		released bool
		// injected is beside it, and goes on.
		injected bool
		want     string
		cause    diagnostics.Category
		step     string
	}{
		"Silent":     {reason: "the process died and said nothing", job: newJob(noRetries), before: omapi.StateRunning, end: ended(139), want: "failed", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName},
		"Unwritten":  {reason: "every write of the workflow was refused", job: newJob(noRetries), before: omapi.StateRunning, end: ended(0), want: "success"},
		"Reported":   {reason: "nothing is missing", job: newJob(noRetries), before: omapi.StateSuccess, end: ended(0), want: "success"},
		"Lied":       {reason: "a success before the end was none", job: newJob(noRetries), before: omapi.StateSuccess, end: ended(3), want: "failed", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName},
		"Retry":      {reason: "another attempt will come", job: newJob(retries), before: omapi.StateFailed, end: ended(1), want: "running", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName + ": p"},
		"Last":       {reason: "an attempt has failed before", job: newJob(func(job *batchv1.Job) { retries(job); job.Status.Failed = 1 }), before: omapi.StateRunning, end: ended(1), want: "failed", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName},
		"Scheduled":  {reason: "nobody has written a record yet", job: newJob(noRetries), end: ended(1), want: "failed", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName},
		"Dropped":    {reason: "a watch that breaks off is begun again", job: newJob(noRetries), before: omapi.StateRunning, drop: true, end: ended(1), want: "failed", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName},
		"Suspended":  {reason: "the Job was suspended, and resumed by now", job: newJob(noRetries), before: omapi.StateFailed, end: ended(143), released: true, want: "running", cause: diagnostics.CategoryDeleted, step: diagnostics.StepName + ": p"},
		"Preempted":  {reason: "even what the workflow calls a success is done again", job: newJob(noRetries), before: omapi.StateRunning, end: ended(0), released: true, want: "running", cause: diagnostics.CategoryDeleted, step: diagnostics.StepName + ": p"},
		"Injected":   {reason: "what was injected keeps the pod, not the run", job: newJob(noRetries), before: omapi.StateRunning, end: ended(0), injected: true, want: "success"},
		"Crash":      {reason: "a crash is told at once", job: newJob(noRetries), before: omapi.StateRunning, end: ended(139), injected: true, want: "failed", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName},
		"CrashRetry": {reason: "another attempt comes when the pod has ended", job: newJob(retries), before: omapi.StateRunning, end: ended(139), injected: true, want: "running", cause: diagnostics.CategoryApplicationError, step: diagnostics.StepName + ": p"},
		"JobGone":    {reason: "the Job was deleted and takes its pods along", before: omapi.StateRunning, end: ended(143), want: "failed", cause: diagnostics.CategoryDeleted, step: diagnostics.StepName},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			if tc.before != "" {
				record := &omapi.PipelineStatus{RunID: testRunID, State: tc.before, Timestamp: testTimestamp, StartDate: testTimestamp}
				if tc.before.Terminal() {
					record.EndDate = testTimestamp + 1
				}
				if tc.before == omapi.StateSuccess {
					record.EndDate = time.Now().Add(time.Minute).UnixMilli() // Of this attempt.
				}
				require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", record))
			}
			api := newPodAPI(tc.job)
			api.drop = tc.drop
			environ := append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, api.mux))
			cmd, out := command(t, environ, "watch")
			require.NoError(t, cmd.Start())
			if tc.before == "" {
				require.Eventually(t, func() bool {
					run := server.Run(t, "svc.nightly", testRunID)
					return run != nil && run.State == "queued" && run.Timestamp == testTimestamp
				}, patience, 10*time.Millisecond, "the record is there before the process starts, with the Job's timestamp")
			}
			require.Eventually(t, func() bool { api.mu.Lock(); defer api.mu.Unlock(); return api.watches > 0 }, patience, 10*time.Millisecond)
			if tc.injected {
				api.inject()
			}
			var deleted *metav1.Time
			if tc.released {
				deleted = new(metav1.NewTime(time.Now().Add(time.Minute)))
				api.mu.Lock()
				api.pod.Finalizers = nil
				api.mu.Unlock()
			}
			api.set(tc.end, deleted)
			require.Eventually(t, func() bool {
				run := server.Run(t, "svc.nightly", testRunID)
				return run != nil && run.State == tc.want
			}, patience, 10*time.Millisecond, tc.reason)
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM), "it waits for the kubelet's word")
			_ = cmd.Wait() // The code says it.
			assert.Equal(t, exitOK, cmd.ProcessState.ExitCode(), out)
			run := server.Run(t, "svc.nightly", testRunID)
			assert.Equal(t, testTimestamp, run.Timestamp)
			assert.Len(t, run.Rows, 1)
			if tc.cause == "" {
				assert.Nil(t, run.Cause)
				return
			}
			require.NotNil(t, run.Cause)
			assert.Equal(t, string(tc.cause), run.Cause.Name, tc.reason)
			assert.Equal(t, tc.step, run.Cause.Step, tc.reason)
			assert.Contains(t, string(run.Rows[0]), "Reported by: sidecar of pod p")
			assert.NotContains(t, out.String()+string(run.Rows[0]), server.Token)
		})
	}
}

// TestWatchThatCannotSee: without Kubernetes the sidecar leaves the run to others, and does not hold the pod.
func TestWatchThatCannotSee(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		kube   http.Handler
		// blind is what it says when it has found out that it cannot see; it takes signals by then.
		blind string
		log   string
	}{
		"Forbidden": {reason: "the service account has no Role", kube: forbidding(), blind: "the pod is not seen", log: "the pod was never seen: things"},
		"None":      {reason: "there is no cluster", blind: "the run is not watched", log: "the run is not watched"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			cmd, out := command(t, append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, tc.kube)), "watch")
			require.NoError(t, cmd.Start())
			exited := make(chan int, 1)
			go func() {
				_ = cmd.Wait() // The code says it.
				exited <- cmd.ProcessState.ExitCode()
			}()
			require.Eventually(t, func() bool { return strings.Contains(out.String(), tc.blind) }, patience, 10*time.Millisecond, tc.reason)
			assert.Never(t, func() bool { return len(exited) > 0 }, 300*time.Millisecond, 50*time.Millisecond, "it goes on until it is told")
			begun := time.Now()
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			assert.Equal(t, exitError, <-exited, tc.reason)
			assert.Less(t, time.Since(begun), patience)
			assert.Contains(t, out.String(), tc.log, tc.reason)
			assert.Nil(t, server.Run(t, "svc.nightly", testRunID))
		})
	}
}

// TestWatchThatCannotQueue: a server that does not answer before the run starts takes none of the time of its end.
func TestWatchThatCannotQueue(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "svc", "nightly")
	server.Fault(t, admin.Fault{Kind: admin.FaultHang, Path: "pipelineStatus", Count: 1})
	api := newPodAPI(newJob(noRetries))
	cmd, out := command(t, append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, api.mux)), "watch")
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return server.Faults()[0].Hits == 1 }, patience, 10*time.Millisecond)
	api.set(ended(0), nil)
	require.Eventually(t, func() bool { return server.Run(t, "svc.nightly", testRunID) != nil }, queueTimeout/2, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait() // The code says it.
	assert.Equal(t, exitOK, cmd.ProcessState.ExitCode(), out)
	assert.Equal(t, "success", server.Run(t, "svc.nightly", testRunID).State)
}

// TestAnnounce: the record is running before the process starts.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	stopped := newJob(func(job *batchv1.Job) { job.Annotations[identity.AnnotationStopRequested] = "2026-01-02T03:04:05Z" })
	cases := map[string]struct {
		reason string
		job    *batchv1.Job
		before omapi.PipelineState
		fault  *admin.Fault
		want   string
	}{
		"Queued":    {reason: "the client has written the record", job: newJob(func(*batchv1.Job) {}), before: omapi.StateQueued, want: "running"},
		"Scheduled": {reason: "nobody has", job: newJob(func(*batchv1.Job) {}), want: "running"},
		"Retry":     {reason: "an earlier attempt failed", job: newJob(func(*batchv1.Job) {}), before: omapi.StateFailed, want: "running"},
		"Stopped":   {reason: "a run that was stopped meanwhile is left alone", job: stopped, before: omapi.StateQueued, want: "queued"},
		"Down":      {reason: "a run starts also where OpenMetadata does not answer", job: newJob(func(*batchv1.Job) {}), fault: &admin.Fault{Kind: admin.FaultHang}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			if tc.before != "" {
				record := &omapi.PipelineStatus{RunID: testRunID, State: tc.before, Timestamp: testTimestamp, StartDate: testTimestamp}
				if tc.before.Terminal() {
					record.EndDate = testTimestamp + 1
				}
				require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", record))
			}
			if tc.fault != nil {
				server.Fault(t, *tc.fault)
			}
			cmd, out := command(t, append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, newPodAPI(tc.job).mux)), "run", "--", "sh", "-c", "exit 7")
			_ = cmd.Run() // The code says it.
			assert.Equal(t, 7, cmd.ProcessState.ExitCode(), "%s: %s", tc.reason, out)
			run := server.Run(t, "svc.nightly", testRunID)
			if tc.want == "" {
				assert.Nil(t, run)
				return
			}
			require.NotNil(t, run, "%s: %s", tc.reason, out)
			assert.Equal(t, tc.want, run.State, tc.reason)
			assert.Equal(t, testTimestamp, run.Timestamp)
		})
	}
}

// watching is a Kubernetes API of which each watch of the pod goes as a test says.
type watching struct {
	diagnostics.Reader

	watch func(ctx context.Context, call int, changed func(*corev1.Pod) bool) error
	calls atomic.Int32
}

func (w *watching) WatchPod(ctx context.Context, _ string, changed func(*corev1.Pod) bool) error {
	return w.watch(ctx, int(w.calls.Add(1)), changed)
}

// TestReportBy: how much time the report of a pod's end gets.
func TestReportBy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	after := func(left time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(left))) }
	cases := map[string]struct {
		reason  string
		grace   time.Duration
		deleted *metav1.Time
		want    time.Duration
	}{
		"Usual":        {reason: "the container's own end needs a part of the grace period", grace: time.Minute, want: time.Minute - reserve},
		"Brief":        {reason: "a grace period that is shorter than that part", grace: time.Second, want: time.Second},
		"NothingLeft":  {reason: "a grace period that is just that part", grace: reserve, want: time.Second},
		"Deleted":      {reason: "who deletes a pod may give it less time than its manifest does", grace: time.Minute, deleted: after(20 * time.Second), want: 19 * time.Second},
		"DeletedLater": {reason: "who gives it more does not give it to this container", grace: time.Minute, deleted: after(time.Hour), want: time.Minute - reserve},
		"DeletedNow":   {reason: "no time is left, and a second is tried all the same", grace: time.Minute, deleted: after(0), want: time.Second},
		"Overdue":      {reason: "a node may have been away when its time was over", grace: time.Minute, deleted: after(-time.Hour), want: time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, reportBy(now, tc.grace, tc.deleted).Sub(now), tc.reason)
		})
	}
}

// TestAwaitEnd: what ends the wait for the main container, and how long a pause between two watches is.
func TestAwaitEnd(t *testing.T) {
	t.Parallel()
	errBroken := errors.New("the watch broke off")
	// Without any reason to hurry the fifth pause of the backoff ends after three seconds.
	const calls, hurry = 6, 2500 * time.Millisecond
	inTime := func(left time.Duration) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.NewTime(time.Now().Add(left)))}}
	}
	cases := map[string]struct {
		reason string
		watch  func(term func()) func(ctx context.Context, call int, changed func(*corev1.Pod) bool) error
	}{
		"Delivered": {
			reason: "a watch that told something is begun again soon",
			watch: func(func()) func(context.Context, int, func(*corev1.Pod) bool) error {
				return func(_ context.Context, call int, changed func(*corev1.Pod) bool) error {
					changed(&corev1.Pod{})
					if changed(&corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: ended(0)}}}}) && call == calls {
						return nil
					}
					return errBroken
				}
			},
		},
		"Term": {
			reason: "the main container has ended: there is no time for a pause",
			watch: func(term func()) func(context.Context, int, func(*corev1.Pod) bool) error {
				return func(_ context.Context, call int, changed func(*corev1.Pod) bool) error {
					switch call {
					case calls - 1:
						time.AfterFunc(10*time.Millisecond, term) // In the longest pause.
					case calls:
						changed(&corev1.Pod{})
						return nil
					}
					return errBroken
				}
			},
		},
		"DeletedSooner": {
			reason: "who deletes a pod again gives it less time",
			watch: func(func()) func(context.Context, int, func(*corev1.Pod) bool) error {
				return func(ctx context.Context, _ int, changed func(*corev1.Pod) bool) error {
					changed(inTime(time.Hour))
					changed(inTime(100 * time.Millisecond))
					<-ctx.Done()
					return ctx.Err()
				}
			},
		},
		"Gone": {
			reason: "a pod that was seen and is gone has ended",
			watch: func(func()) func(context.Context, int, func(*corev1.Pod) bool) error {
				return func(_ context.Context, _ int, changed func(*corev1.Pod) bool) error {
					changed(&corev1.Pod{})
					return apierrors.NewNotFound(corev1.Resource("pods"), "p")
				}
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				term, stop := context.WithCancel(t.Context())
				defer stop()
				h := &handler{environment: &environment{podName: "p"}, log: slog.New(slog.DiscardHandler), kube: &watching{watch: tc.watch(stop)}}
				begun := time.Now()
				pod, _ := h.awaitEnd(ctx, term)
				assert.NotNil(t, pod, tc.reason)
				assert.Less(t, time.Since(begun), hurry, tc.reason)
				require.NoError(t, ctx.Err())
			})
		})
	}
}

// TestFindEndReadsThePodAnew: a pod that is deleted is reported when its time is nearly over, and may have ended since.
func TestFindEndReadsThePodAnew(t *testing.T) {
	inCluster(t, nil)
	api := newPodAPI(newJob(noRetries))
	api.set(ended(0), new(metav1.Now()))
	t.Setenv("KUBECONFIG", kubeconfig(t, api.mux))
	reader, err := newReader("pipelines")
	require.NoError(t, err)
	h := &handler{environment: &environment{podName: "p", jobName: testJob, namespace: "pipelines"}, log: slog.New(slog.DiscardHandler), kube: reader}
	stale := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", DeletionTimestamp: new(metav1.Now())}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	assert.Equal(t, report.Complete, h.findEnd(ctx, stale).Outcome, "it did its work")
}
