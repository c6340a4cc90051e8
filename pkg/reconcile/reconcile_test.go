package reconcile

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// here is the origin of the runs of the tests' namespace.
const here = identity.Origin("0123456789ab")

const (
	namespace = "pipelines"
	jobName   = "om-job-nightly-0190b0a0"
	started   = int64(1_700_000_000_000)
	// hang is a bound for what takes milliseconds.
	hang = 20 * time.Second
	// quiet is how long nothing may happen.
	quiet = 300 * time.Millisecond
)

// cluster reads the same objects that the informers see; it has no logs and no events.
type cluster struct{ kube kubernetes.Interface }

func (c cluster) Job(ctx context.Context, name string) (*batchv1.Job, error) {
	return c.kube.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (c cluster) Pod(ctx context.Context, name string) (*corev1.Pod, error) {
	return c.kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (cluster) WatchPod(context.Context, string, func(*corev1.Pod) bool) error { return io.EOF }

func (c cluster) Pods(ctx context.Context, selector string) ([]corev1.Pod, error) {
	list, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (cluster) Log(context.Context, string, *corev1.PodLogOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("the last words\n")), nil
}

func (cluster) Events(context.Context, string, string) ([]corev1.Event, error) { return nil, nil }

type world struct {
	*omtest.Server

	kube   *fake.Clientset
	client *omapi.Client
	fqn    string
	runID  string
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	server := omtest.Start(t, openmetadata.Options{})
	w := &world{Server: server, kube: fake.NewClientset(objects...), client: server.Client(t), runID: identity.NewRunID(here)}
	w.fqn = server.Pipeline(t, "svc", "nightly")
	return w
}

// reconciler is one in a hurry, which keeps its log.
func (w *world) reconciler(t *testing.T) (*Reconciler, *logged) {
	t.Helper()
	var log logged
	r := New(Options{
		Kube: w.kube, Metadata: punctual{metadataOf(w.kube)}, Reader: cluster{w.kube}, Server: w.client, Namespace: namespace, Workers: 2,
		Origin:  func(context.Context) (identity.Origin, error) { return here, nil },
		Secrets: func(context.Context, string) ([]string, error) { return nil, nil },
		Log:     slog.New(slog.NewTextHandler(&log, nil)), SweepInterval: 50 * time.Millisecond, SweepAge: time.Minute,
	})
	r.unknownRetry, r.syncTimeout, r.verifyAfter, r.ledger.delay = 100*time.Millisecond, hang, 100*time.Millisecond, time.Millisecond
	t.Cleanup(r.queue.ShutDown) // One that never ran has not ended it itself.
	return r, &log
}

// run starts a reconciler that ends with the test, or earlier.
func (w *world) run(t *testing.T) (stop func()) {
	t.Helper()
	r, _ := w.reconciler(t)
	return start(t, r)
}

// runWatching is run for a world with one run, which it watches by then.
func (w *world) runWatching(t *testing.T) (stop func()) {
	t.Helper()
	r, _ := w.reconciler(t)
	stop = start(t, r)
	w.watching(t, r, 1)
	return stop
}

func start(t *testing.T, r *Reconciler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
			ended <- nil
		case <-time.After(hang):
			require.Fail(t, "the reconciler does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// watching waits until a reconciler knows as many runs, and sees what becomes of them: client-go's fake tells a watch
// nothing of what happened between the list before it and the watch.
func (w *world) watching(t *testing.T, r *Reconciler, runs int) {
	t.Helper()
	begun := func(resource string) bool {
		return slices.ContainsFunc(w.kube.Actions(), func(action clienttesting.Action) bool { return action.Matches("watch", resource) })
	}
	require.Eventually(t, func() bool { return r.known() == runs && begun("jobs") && begun("pods") }, hang, 10*time.Millisecond, "the reconciler does not watch")
}

func (w *world) write(t *testing.T, state omapi.PipelineState) {
	t.Helper()
	record := &omapi.PipelineStatus{RunID: w.runID, State: state, Timestamp: started, StartDate: started}
	if state.Terminal() {
		record.EndDate = started + 1
	}
	require.NoError(t, w.client.PutStatus(t.Context(), w.fqn, record))
}

func (w *world) job(edit func(*batchv1.Job)) *batchv1.Job {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: jobName, Namespace: namespace, UID: "job-uid", CreationTimestamp: metav1.NewTime(time.UnixMilli(started)),
			Labels:      map[string]string{identity.LabelPipeline: "nightly", identity.LabelRunID: w.runID},
			Annotations: map[string]string{identity.AnnotationFQN: w.fqn, identity.AnnotationTimestamp: "1700000000000"},
		},
		Spec: batchv1.JobSpec{BackoffLimit: new(int32)},
	}
	if edit != nil {
		edit(job)
	}
	return job
}

func condition(kind batchv1.JobConditionType) func(*batchv1.Job) {
	return func(job *batchv1.Job) {
		job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonBackoffLimitExceeded}}
	}
}

func pod(name string, phase corev1.PodPhase, state corev1.ContainerState) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, UID: types.UID(name),
			Labels:          map[string]string{identity.LabelPipeline: "nightly", batchv1.JobNameLabel: jobName, batchv1.ControllerUidLabel: "job-uid"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", UID: "job-uid", Controller: new(true)}},
		},
		Status: corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{Name: identity.ContainerName, State: state}}},
	}
}

func exited(code int32) corev1.ContainerState {
	long := metav1.NewTime(time.UnixMilli(started + 5000))
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, StartedAt: metav1.NewTime(time.UnixMilli(started)), FinishedAt: long}}
}

func (w *world) await(t *testing.T, state string) *admin.Run {
	t.Helper()
	var run *admin.Run
	require.Eventually(t, func() bool {
		run = w.Run(t, w.fqn, w.runID)
		return run != nil && run.State == state
	}, hang, 10*time.Millisecond, "the record does not become %s", state)
	return run
}

func (w *world) puts(t *testing.T) int {
	t.Helper()
	requests, err := w.Requests(admin.RequestFilter{Method: http.MethodPut, Path: "pipelineStatus$"})
	require.NoError(t, err)
	return len(requests)
}

func TestEnds(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		job    func(*batchv1.Job)
		pods   []*corev1.Pod
		before omapi.PipelineState
		want   string
		cause  diagnostics.Category
		puts   int
	}{
		"Crashed": {
			reason: "the process died in silence", job: condition(batchv1.JobFailed), pods: []*corev1.Pod{pod("p", corev1.PodFailed, exited(139))},
			before: omapi.StateRunning, want: "failed", cause: diagnostics.CategoryApplicationError, puts: 1,
		},
		"Unreported": {
			reason: "the workflow's writes were refused", job: condition(batchv1.JobComplete), pods: []*corev1.Pod{pod("p", corev1.PodSucceeded, exited(0))},
			before: omapi.StateRunning, want: "success", puts: 1,
		},
		"NoRecord": {reason: "nobody has written anything", job: condition(batchv1.JobFailed), want: "failed", cause: diagnostics.CategoryBackoffLimitExceeded, puts: 1},
		"Reported": {reason: "the workflow has said it all", job: condition(batchv1.JobComplete), before: omapi.StateSuccess, want: "success"},
		"Lied": {
			reason: "a success that was reported before a crash is none", job: condition(batchv1.JobFailed), pods: []*corev1.Pod{pod("p", corev1.PodFailed, exited(3))},
			before: omapi.StateSuccess, want: "failed", cause: diagnostics.CategoryApplicationError, puts: 1,
		},
		"Stopped": {
			reason: "a kill whose client died half way",
			job:    func(job *batchv1.Job) { job.Annotations[identity.AnnotationStopRequested] = "2026-01-02T03:04:05Z" },
			before: omapi.StateRunning, want: "stopped", cause: diagnostics.CategoryKilled, puts: 1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.before != "" {
				w.write(t, tc.before)
			}
			written := w.puts(t)
			require.NoError(t, w.kube.Tracker().Add(w.job(tc.job)))
			for _, pod := range tc.pods {
				require.NoError(t, w.kube.Tracker().Add(pod))
			}
			stop := w.run(t)
			run := w.await(t, tc.want)
			if tc.cause != "" {
				require.NotNil(t, run.Cause, tc.reason)
				assert.Equal(t, string(tc.cause), run.Cause.Name, tc.reason)
			}
			// A request is known when it has been answered, its record earlier.
			require.Eventually(t, func() bool { return w.puts(t) >= written+tc.puts }, hang, 10*time.Millisecond, tc.reason)
			stop()
			w.run(t) // A restart reports nothing again.
			assert.Never(t, func() bool { return w.puts(t) != written+tc.puts }, quiet, quiet/10, tc.reason)
			assert.Len(t, w.Run(t, w.fqn, w.runID).Rows, 1)
		})
	}
}

func TestScheduledRunIsQueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runID = uuid.NewString()
	job := w.job(func(job *batchv1.Job) {
		job.UID = types.UID(w.runID)
		delete(job.Labels, identity.LabelRunID)
		delete(job.Annotations, identity.AnnotationTimestamp)
	})
	require.NoError(t, w.kube.Tracker().Add(job))
	w.run(t)
	run := w.await(t, "queued")
	assert.Equal(t, report.TimestampOf(job), run.Timestamp, "all reporters choose the same one")
}

func TestDeletedJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, omapi.StateRunning)
	require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
	w.runWatching(t)
	assert.Never(t, func() bool { return w.Run(t, w.fqn, w.runID).State != "running" }, quiet, quiet/10, "a Job that is there decides")
	require.NoError(t, w.kube.BatchV1().Jobs(namespace).Delete(t.Context(), jobName, metav1.DeleteOptions{}))
	run := w.await(t, "failed")
	require.NotNil(t, run.Cause)
	assert.Equal(t, string(diagnostics.CategoryDeleted), run.Cause.Name)
}

// TestPodReportsFirst: what runs in the pod sees more, and is left to it while it may still report.
func TestPodReportsFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, omapi.StateRunning)
	require.NoError(t, w.kube.Tracker().Add(w.job(condition(batchv1.JobFailureTarget))))
	ending := pod("p", corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.UnixMilli(started))}})
	require.NoError(t, w.kube.Tracker().Add(ending))
	w.runWatching(t)
	assert.Never(t, func() bool { return w.Run(t, w.fqn, w.runID).State != "running" }, quiet, quiet/10)
	_, err := w.kube.CoreV1().Pods(namespace).Update(t.Context(), pod("p", corev1.PodFailed, exited(143)), metav1.UpdateOptions{})
	require.NoError(t, err)
	w.await(t, "failed")
}

func TestFailedAttemptIsAStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, omapi.StateFailed)
	require.NoError(t, w.kube.Tracker().Add(w.job(func(job *batchv1.Job) { job.Spec.BackoffLimit = new(int32(1)); job.Status.Failed = 1 })))
	require.NoError(t, w.kube.Tracker().Add(pod("first", corev1.PodFailed, exited(1))))
	w.run(t)
	run := w.await(t, "running")
	assert.Contains(t, string(run.Rows[0]), "Pod Diagnostics: first", "a retry will come: the attempt is no end of the run")
}

func TestReportsUntilItIsDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, omapi.StateRunning)
	w.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: 503, Path: "pipelineStatus", Count: 3})
	require.NoError(t, w.kube.Tracker().Add(w.job(condition(batchv1.JobFailed))))
	w.run(t)
	run := w.await(t, "failed")
	assert.Len(t, run.Rows, 1)
}

// TestStartErrorIsNoStart: of a process that could not start the runtime says that it started in 1970.
func TestStartErrorIsNoStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, omapi.StateQueued)
	never := exited(128)
	never.Terminated.Reason, never.Terminated.StartedAt = "StartError", metav1.Unix(0, 0)
	require.NoError(t, w.kube.Tracker().Add(w.job(func(job *batchv1.Job) { job.Spec.BackoffLimit = new(int32(1)) })))
	require.NoError(t, w.kube.Tracker().Add(pod("p", corev1.PodFailed, never)))
	w.run(t)
	assert.Never(t, func() bool { return w.Run(t, w.fqn, w.runID).State != "queued" }, quiet, quiet/10, "no container of the run has started")
}
