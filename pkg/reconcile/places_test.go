package reconcile

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// there is the origin of another namespace, or of the same one in another cluster.
const there = identity.Origin("ba9876543210")

// TestSweepLeavesRunsOfOtherPlaces: a pipeline may be run in several places of one server.
func TestSweepLeavesRunsOfOtherPlaces(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		id     string
		origin identity.Origin
		broken error
		want   string
		why    string
	}{
		"Own":       {reason: "its id tells that it was started here", id: identity.NewRunID(here), origin: here, want: "failed"},
		"Other":     {reason: "its id tells that it was started in another place", id: identity.NewRunID(there), origin: here, want: "running", why: "another namespace or cluster"},
		"Airflow":   {reason: "an id without an origin may be anybody's", id: uuid.NewString(), origin: here, want: "running", why: "no Job of it was seen here"},
		"NoOrigin":  {reason: "what is not known of the namespace is known of no run", id: identity.NewRunID(here), want: "running", why: "another namespace or cluster"},
		"CannotAsk": {reason: "no answer is no knowledge", id: identity.NewRunID(here), origin: here, broken: errors.New("etcd"), want: "running", why: "another namespace or cluster"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, deployed("svc.nightly"))
			w.runID = tc.id
			w.write(t, omapi.StateRunning)
			r, log := w.reconciler(t)
			r.Origin = func(context.Context) (identity.Origin, error) {
				if tc.broken != nil {
					return "", tc.broken
				}
				return tc.origin, nil
			}
			r.ledger.origin = r.Origin
			for range 3 {
				r.sweep(t.Context())
			}
			assert.Equal(t, tc.want, w.state(t, w.runID), tc.reason)
			if tc.why != "" {
				assert.Equal(t, 1, log.lines("is left as it is"), "it is said once: %s", log)
				assert.Equal(t, 1, log.lines(tc.why), tc.reason)
			}
		})
	}
}

// scheduled is the Job of a run whose id is the Job's UID.
func (w *world) scheduled(edit func(*batchv1.Job)) *batchv1.Job {
	w.runID = uuid.NewString()
	return w.job(func(job *batchv1.Job) {
		job.UID = types.UID(w.runID)
		delete(job.Labels, identity.LabelRunID)
		delete(job.Annotations, identity.AnnotationTimestamp)
		if edit != nil {
			edit(job)
		}
	})
}

// stored is what is remembered of runs in the cluster.
func (w *world) stored(t *testing.T) map[string]string {
	t.Helper()
	configMap, err := w.kube.CoreV1().ConfigMaps(namespace).Get(t.Context(), identity.LedgerName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(t, err)
	return configMap.Data
}

// beside is another namespace or cluster where the pipeline of the world is deployed too.
func (w *world) beside(t *testing.T) *world {
	t.Helper()
	return &world{Server: w.Server, kube: fake.NewClientset(deployed(w.fqn)), client: w.client, fqn: w.fqn, runID: identity.NewRunID(there)}
}

// reconcilerOf is one of another place.
func (w *world) reconcilerOf(t *testing.T, origin identity.Origin) *Reconciler {
	t.Helper()
	r, _ := w.reconciler(t)
	r.Origin = func(context.Context) (identity.Origin, error) { return origin, nil }
	r.ledger.origin = r.Origin
	return r
}

// TestTwoPlacesOfOneServer is row 33 of the table: whatever a place's serve does, restarts included, the run of another place
// is not touched; and a run whose Job was deleted while its serve was down is ended by it after its restart.
func TestTwoPlacesOfOneServer(t *testing.T) {
	t.Parallel()
	for _, scheduled := range []bool{false, true} {
		t.Run("scheduled="+strconv.FormatBool(scheduled), func(t *testing.T) {
			t.Parallel()
			a := newWorld(t, deployed("svc.nightly"))
			b := a.beside(t)
			jobOf := func(w *world, edit func(*batchv1.Job)) *batchv1.Job {
				if scheduled {
					return w.scheduled(edit)
				}
				return w.job(edit)
			}
			jobA := jobOf(a, nil)
			jobB := jobOf(b, func(job *batchv1.Job) { job.Annotations[identity.AnnotationTimestamp] = "1700000000001" })
			require.NotEqual(t, a.runID, b.runID)
			for w, job := range map[*world]*batchv1.Job{a: jobA, b: jobB} {
				require.NoError(t, w.kube.Tracker().Add(job))
				// As the workflow leaves it: nothing in it tells of Kubernetes.
				timestamp := started
				if w == b {
					timestamp++
				}
				require.NoError(t, w.client.PutStatus(t.Context(), w.fqn, &omapi.PipelineStatus{RunID: w.runID, State: omapi.StateRunning, Timestamp: timestamp, StartDate: timestamp}))
			}
			serveA, serveB := a.reconcilerOf(t, here), b.reconcilerOf(t, there)
			stopA, stopB := start(t, serveA), start(t, serveB)
			a.watching(t, serveA, 1)
			b.watching(t, serveB, 1)
			if scheduled {
				for _, w := range []*world{a, b} {
					require.Eventually(t, func() bool { return w.stored(t)[w.runID] == w.fqn }, hang, 10*time.Millisecond, "the run is remembered")
				}
			} else {
				assert.Empty(t, a.stored(t), "its id tells")
			}
			stopA()
			stopB()
			require.NoError(t, a.kube.BatchV1().Jobs(namespace).Delete(t.Context(), jobA.Name, metav1.DeleteOptions{}))
			// B's serve is back first: A's run is none of its business. Then A's.
			stopB = start(t, b.reconcilerOf(t, there))
			stopA = start(t, a.reconcilerOf(t, here))
			a.await(t, "failed")
			assert.Contains(t, a.Run(t, a.fqn, a.runID).Cause.Error, "no Job of this run is left in namespace "+namespace)
			require.Eventually(t, func() bool { return len(a.stored(t)) == 0 }, hang, 10*time.Millisecond, "it is over")
			stopA()
			stopB()
			// Only A is left, whose sweeps see B's run.
			stopA = start(t, a.reconcilerOf(t, here))
			assert.Never(t, func() bool { return a.state(t, b.runID) != "running" }, quiet, quiet/10)
			stopA()
		})
	}
}

// TestLedgerForgetsWhatHasEnded: what is remembered is as much as goes on.
func TestLedgerForgetsWhatHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deployed("svc.nightly"))
	job := w.scheduled(nil)
	require.NoError(t, w.kube.Tracker().Add(job))
	w.write(t, omapi.StateRunning)
	w.runWatching(t)
	require.Eventually(t, func() bool { return w.stored(t)[w.runID] == w.fqn }, hang, 10*time.Millisecond)
	ended := job.DeepCopy()
	condition(batchv1.JobFailed)(ended)
	_, err := w.kube.BatchV1().Jobs(namespace).UpdateStatus(t.Context(), ended, metav1.UpdateOptions{})
	require.NoError(t, err)
	w.await(t, "failed")
	require.Eventually(t, func() bool { return len(w.stored(t)) == 0 }, hang, 10*time.Millisecond)
}

// TestLedgerOfAnotherPlace: backups bring ConfigMaps into another namespace or cluster.
func TestLedgerOfAnotherPlace(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		origin identity.Origin
		want   string
	}{
		"Own":    {reason: "an earlier serve of this place has seen the run", origin: here, want: "failed"},
		"Copied": {reason: "it is told of another place's runs", origin: there, want: "running"},
		"None":   {reason: "nobody says of where it is", want: "running"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, deployed("svc.nightly"))
			w.runID = uuid.NewString()
			w.write(t, omapi.StateRunning)
			require.NoError(t, w.kube.Tracker().Add(&corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: identity.LedgerName, Namespace: namespace, Annotations: map[string]string{identity.AnnotationOrigin: string(tc.origin)}},
				Data:       map[string]string{w.runID: w.fqn},
			}))
			w.run(t)
			require.Eventually(t, func() bool { return len(w.stored(t)) == 0 }, hang, 10*time.Millisecond)
			assert.Equal(t, tc.want, w.state(t, w.runID), tc.reason)
		})
	}
}

// TestLedgerOfForgottenPipelines: a run that goes on is ended also if its pipeline is deployed no more.
func TestLedgerOfForgottenPipelines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runID = uuid.NewString()
	w.write(t, omapi.StateRunning)
	unknown := uuid.NewString()
	require.NoError(t, w.kube.Tracker().Add(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: identity.LedgerName, Namespace: namespace, Annotations: map[string]string{identity.AnnotationOrigin: string(here)}},
		Data:       map[string]string{w.runID: w.fqn, unknown: "svc.deleted"},
	}))
	w.run(t)
	w.await(t, "failed")
	require.Eventually(t, func() bool { return len(w.stored(t)) == 0 }, hang, 10*time.Millisecond, "also of a pipeline that nobody knows")
}

// TestLedgerThatCannotBeWritten: it is written when it can be, and said once that it cannot.
func TestLedgerThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deployed("svc.nightly"))
	require.NoError(t, w.kube.Tracker().Add(w.scheduled(nil)))
	w.write(t, omapi.StateRunning)
	refusals := make(chan struct{}, 2)
	for range cap(refusals) {
		refusals <- struct{}{}
	}
	w.kube.PrependReactor("patch", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case <-refusals:
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, identity.LedgerName, errors.New("no"))
		default:
			return false, nil, nil
		}
	})
	r, log := w.reconciler(t)
	start(t, r)
	require.Eventually(t, func() bool { return w.stored(t)[w.runID] == w.fqn }, hang, 10*time.Millisecond)
	assert.Equal(t, 1, log.lines("cannot be remembered"))
	assert.Equal(t, "running", w.state(t, w.runID), "the run goes on meanwhile")
}
