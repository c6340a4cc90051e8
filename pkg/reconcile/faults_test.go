package reconcile

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// TestServerFaults: runs end while OpenMetadata is out of order, and the reconciler may be started anew meanwhile.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	status := func(code int) admin.Fault { return admin.Fault{Kind: admin.FaultStatus, Status: code} }
	lateStatus := status(http.StatusInternalServerError)
	lateStatus.AfterHandling, lateStatus.Method = true, http.MethodPut
	cases := map[string]struct {
		reason string
		fault  admin.Fault
	}{
		"Down":         {reason: "no connection", fault: admin.Fault{Kind: admin.FaultReset}},
		"Hang":         {reason: "no answer", fault: admin.Fault{Kind: admin.FaultHang}},
		"Unauthorized": {reason: "the token has expired, and is replaced on the server's side", fault: status(http.StatusUnauthorized)},
		"Forbidden":    {reason: "the right is given later", fault: status(http.StatusForbidden)},
		"NotFound":     {reason: "the default backend of an ingress, while the server restarts", fault: status(http.StatusNotFound)},
		"Broken":       {reason: "its database is down", fault: status(http.StatusInternalServerError)},
		"LostAnswer":   {reason: "the write took effect, and its answer was lost", fault: lateStatus},
		"Garbage":      {reason: "a login page", fault: admin.Fault{Kind: admin.FaultGarbage}},
	}
	for name, tc := range cases {
		for _, restart := range []bool{false, true} {
			t.Run(name+"/restart="+strconv.FormatBool(restart), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, deployed("svc.nightly"))
				w.write(t, omapi.StateRunning)
				require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
				fault := tc.fault
				fault.Path = w.runID + "|pipelineStatus$"
				w.Fault(t, fault)
				stop := w.runWatching(t)
				job := w.job(condition(batchv1.JobFailed))
				_, err := w.kube.BatchV1().Jobs(namespace).Update(t.Context(), job, metav1.UpdateOptions{})
				require.NoError(t, err)
				require.Eventually(t, func() bool { return w.Faults()[0].Hits > 0 }, hang, 10*time.Millisecond, "it is met by the fault")
				if restart {
					stop()
					w.run(t)
				}
				w.ClearFaults()
				run := w.await(t, "failed")
				require.NotNil(t, run.Cause)
				assert.Equal(t, string(diagnostics.CategoryBackoffLimitExceeded), run.Cause.Name)
				w.onlyTerminalWrite(t, "%s: %+v", tc.reason, run.Writes)
				assert.Len(t, w.Run(t, w.fqn, w.runID).Rows, 1)
			})
		}
	}
}

// terminalWrites are those of a final state that the server took.
func (w *world) terminalWrites(t *testing.T) int {
	t.Helper()
	n := 0
	for _, write := range w.Run(t, w.fqn, w.runID).Writes {
		if write.Status < 300 && omapi.PipelineState(write.State).Terminal() {
			n++
		}
	}
	return n
}

// onlyTerminalWrite: there is one such write, and no other comes. A write is known a little after its record.
func (w *world) onlyTerminalWrite(t *testing.T, msgAndArgs ...any) {
	t.Helper()
	require.Eventually(t, func() bool { return w.terminalWrites(t) > 0 }, hang, 10*time.Millisecond, msgAndArgs...)
	assert.Never(t, func() bool { return w.terminalWrites(t) != 1 }, quiet, quiet/10, msgAndArgs...)
}

func TestPipelineThatOpenMetadataDoesNotKnow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const fqn = "svc.later"
	for _, name := range []string{"a", "b"} {
		require.NoError(t, w.kube.Tracker().Add(w.job(func(job *batchv1.Job) {
			condition(batchv1.JobFailed)(job)
			job.Name, job.UID, job.Labels[identity.LabelRunID] = name, types.UID(name), uuid.NewString()
			job.Annotations[identity.AnnotationFQN] = fqn
			if name == "b" {
				job.Annotations[identity.AnnotationTimestamp] = strconv.FormatInt(started+1, 10)
			}
		})))
	}
	r, log := w.reconciler(t)
	start(t, r)
	w.watching(t, r, 2)
	asked := func() int {
		requests, err := w.Requests(admin.RequestFilter{Path: fqn + "/pipelineStatus"})
		require.NoError(t, err)
		return len(requests)
	}
	require.Eventually(t, func() bool { return asked() > 4 }, hang, 10*time.Millisecond, "it is asked again")
	assert.Equal(t, 1, log.lines("does not know the pipeline"), "once for all of its runs")
	require.NoError(t, w.kube.BatchV1().Jobs(namespace).Delete(t.Context(), "b", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return r.known() == 1 }, hang, 10*time.Millisecond, "without its Job there is nothing to wait with")
	w.fqn = w.Pipeline(t, "svc", "later")
	require.Eventually(t, func() bool {
		pipelines, err := w.Pipelines()
		require.NoError(t, err)
		for _, pipeline := range pipelines {
			if pipeline.FQN == fqn {
				return len(pipeline.Runs) == 1 && pipeline.Runs[0].State == "failed"
			}
		}
		return false
	}, hang, 10*time.Millisecond, "it became known")
}

// known is how many runs are remembered.
func (r *Reconciler) known() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.runs)
}

// TestNothingIsKept: background deletion takes the Job first, its pods after.
func TestNothingIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, _ := w.reconciler(t)
	start(t, r)
	w.watching(t, r, 0)
	for i := range 20 {
		id := "uid-" + strconv.Itoa(i)
		job := w.job(condition(batchv1.JobComplete))
		job.Name, job.UID, job.Labels[identity.LabelRunID] = id, types.UID(id), w.put(t, omapi.StateSuccess, started+int64(i))
		if i%5 == 0 {
			delete(job.Annotations, identity.AnnotationFQN) // An automation's.
		}
		attempt := pod(id, corev1.PodSucceeded, exited(0))
		attempt.OwnerReferences[0].UID = job.UID
		jobs, pods := w.kube.BatchV1().Jobs(namespace), w.kube.CoreV1().Pods(namespace)
		_, err := jobs.Create(t.Context(), job, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = pods.Create(t.Context(), attempt, metav1.CreateOptions{})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return r.isVerified(job.UID) }, hang, time.Millisecond)
		require.NoError(t, jobs.Delete(t.Context(), id, metav1.DeleteOptions{}))
		require.Eventually(t, func() bool { return !r.isVerified(job.UID) }, hang, time.Millisecond)
		attempt.Labels["changed"] = "late"
		_, err = pods.Update(t.Context(), attempt, metav1.UpdateOptions{})
		require.NoError(t, err)
		require.NoError(t, pods.Delete(t.Context(), id, metav1.DeleteOptions{}))
	}
	assert.Eventually(t, func() bool { return r.known() == 0 }, hang, 10*time.Millisecond)
}

func refusal(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no role"))
}

// TestKubernetesThatRefuses: who started the process is told what is missing, and what can be done is done meanwhile.
func TestKubernetesThatRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		resource string
		err      error
		want     string
		never    string
	}{
		"Pods": {reason: "a Role of the client is not the one of serve", resource: "pods", err: refusal("pods"), want: "cannot watch Pods in namespace pipelines", never: "Jobs"},
		"Jobs": {reason: "as for pods", resource: "jobs", err: refusal("jobs"), want: "give the service account the Role in deploy/"},
		"Down": {reason: "a Role would not help", resource: "jobs", err: apierrors.NewInternalError(errors.New("etcd is down")), want: "etcd is down", never: "Role"},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*hang)
	defer cancel()
	worlds, errs := map[string]*world{}, map[string]chan error{}
	for name, tc := range cases {
		w := newWorld(t, deployed("svc.nightly"))
		w.write(t, omapi.StateRunning)
		r, _ := w.reconciler(t)
		r.Metadata = metadataOf(w.kube) // Of objects as they are: the refusal is for the watches only.
		w.kube.PrependReactor("list", tc.resource, func(action clienttesting.Action) (bool, kruntime.Object, error) {
			listed, ok := action.(clienttesting.ListAction)
			return ok && !listed.GetListRestrictions().Labels.Empty(), nil, tc.err
		})
		// By then the other kind is seen and the sweep is made. It is waited for to its end, for all cases together.
		r.syncTimeout = hang / 2
		ended := make(chan error, 1)
		worlds[name], errs[name] = w, ended
		go func() { ended <- r.Run(ctx) }()
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w, err := worlds[name], <-errs[name]
			require.ErrorContains(t, err, tc.want, tc.reason)
			if tc.never != "" {
				assert.NotContains(t, err.Error(), tc.never, tc.reason)
			}
			assert.Equal(t, apierrors.IsForbidden(tc.err), apierrors.IsForbidden(err), "the exit code tells")
			assert.Equal(t, "failed", w.state(t, w.runID), "runs without a Job are found all the same")
		})
	}
}

// TestWatchThatBreaks: what happened meanwhile is found by the next list.
func TestWatchThatBreaks(t *testing.T) {
	t.Parallel()
	expired := apierrors.NewResourceExpired("too old resource version").Status()
	cases := map[string]struct {
		reason string
		// answer is what the first watches get.
		answer func() (watch.Interface, error)
		logged bool
	}{
		"Refused": {reason: "the Role lost a verb", answer: func() (watch.Interface, error) { return nil, refusal("jobs") }, logged: true},
		"Closed": {reason: "the API server restarts", answer: func() (watch.Interface, error) {
			broken := watch.NewFake()
			go broken.Stop()
			return broken, nil
		}},
		"Expired": {reason: "410: history was compacted", answer: func() (watch.Interface, error) {
			broken := watch.NewFakeWithChanSize(1, false)
			broken.Error(&expired)
			return broken, nil
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write(t, omapi.StateRunning)
			require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
			var broken atomic.Int32
			w.kube.PrependWatchReactor("jobs", func(clienttesting.Action) (bool, watch.Interface, error) {
				if broken.Add(1) > 2 {
					return false, nil, nil
				}
				// Nobody watches now.
				err := w.kube.Tracker().Delete(batchv1.SchemeGroupVersion.WithResource("jobs"), namespace, jobName)
				if broken.Load() == 1 {
					require.NoError(t, err)
				}
				watched, err := tc.answer()
				return true, watched, err
			})
			r, log := w.reconciler(t)
			stop := start(t, r)
			run := w.await(t, "failed")
			assert.Equal(t, string(diagnostics.CategoryDeleted), run.Cause.Name, tc.reason)
			stop()
			w.run(t)
			w.onlyTerminalWrite(t, tc.reason)
			assert.Equal(t, tc.logged, log.lines("a watch broke off") > 0, "what is usual is no news")
		})
	}
}

// goroutines are the stacks of those that client-go has started: informers, queues, watches.
func goroutines() string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var out []string
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "k8s.io/client-go/") {
			out = append(out, stack)
		}
	}
	return strings.Join(out, "\n\n")
}

// TestNoGoroutineIsLeft is not parallel: it looks at those of the whole process.
func TestNoGoroutineIsLeft(t *testing.T) {
	cases := map[string]struct {
		reason string
		err    error
	}{
		"Stopped": {reason: "its context ended"},
		"Failed":  {reason: "it cannot watch", err: refusal("pods")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			require.NoError(t, w.kube.Tracker().Add(w.job(nil)))
			require.Empty(t, goroutines())
			r, _ := w.reconciler(t)
			if tc.err != nil {
				r.syncTimeout = quiet
				w.kube.PrependReactor("list", "pods", func(clienttesting.Action) (bool, kruntime.Object, error) { return true, nil, tc.err })
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			if tc.err == nil {
				w.await(t, "queued")
				cancel()
			}
			err := <-ended
			cancel()
			assert.Equal(t, tc.err != nil, err != nil, tc.reason)
			assert.Eventually(t, func() bool { return goroutines() == "" }, hang, 10*time.Millisecond, "%s", tc.reason)
		})
	}
}
