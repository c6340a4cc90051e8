package reconcile

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

func pendingSince(since time.Time) func(*batchv1.Job) {
	return func(job *batchv1.Job) {
		job.CreationTimestamp = metav1.NewTime(since)
		job.Labels[identity.LabelStart] = identity.StartPending
		job.Spec.Suspend, job.Spec.ActiveDeadlineSeconds = new(true), new(int64)
	}
}

func (w *world) jobNow(t *testing.T) *batchv1.Job {
	t.Helper()
	job, err := w.kube.BatchV1().Jobs(namespace).Get(t.Context(), jobName, metav1.GetOptions{})
	require.NoError(t, err)
	return job
}

// TestStartThatWasInterrupted: a run that nobody starts any more fails, whether it has a record yet or not.
func TestStartThatWasInterrupted(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]omapi.PipelineState{"Queued": omapi.StateQueued, "Unrecorded": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			require.NoError(t, w.kube.Tracker().Add(w.job(pendingSince(time.Now().Add(-2*report.StartTimeout)))))
			if before != "" {
				w.write(t, before)
			}
			w.run(t)
			run := w.await(t, "failed")
			require.NotNil(t, run.Cause)
			assert.Equal(t, string(diagnostics.CategoryNotStarted), run.Cause.Name)
			job := w.jobNow(t)
			assert.Equal(t, identity.StartInterrupted, job.Labels[identity.LabelStart])
			assert.Equal(t, new(int64), job.Spec.ActiveDeadlineSeconds)
			assert.Equal(t, new(false), job.Spec.Suspend, "its controller fails it, and its time to live removes it")
		})
	}
}

// TestStartThatIsUnderWay: nobody writes the record of a run but the command that starts it, whose timestamp may change.
func TestStartThatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.kube.Tracker().Add(w.job(pendingSince(time.Now()))))
	r, _ := w.reconciler(t)
	start(t, r)
	w.watching(t, r, 1)
	assert.Never(t, func() bool { return w.Run(t, w.fqn, w.runID) != nil }, quiet, 10*time.Millisecond)
	assert.Equal(t, identity.StartPending, w.jobNow(t).Labels[identity.LabelStart])
}

// TestStartThatWinsTheRace: a run that is started while it is given up for lost has started.
func TestStartThatWinsTheRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.kube.Tracker().Add(w.job(pendingSince(time.Now().Add(-2*report.StartTimeout)))))
	w.kube.PrependReactor("patch", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		job := w.job(nil) // As the command has made it of the pending one.
		err := w.kube.Tracker().Update(batchv1.SchemeGroupVersion.WithResource("jobs"), job, namespace)
		if err == nil {
			err = apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "a test failed", 0, false)
		}
		return true, nil, err
	})
	w.run(t)
	w.await(t, "queued")
	assert.Empty(t, w.jobNow(t).Labels[identity.LabelStart])
}

// TestStopThatLeftTheJobSuspended: such a Job blocks the schedule.
func TestStopThatLeftTheJobSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.kube.Tracker().Add(w.job(func(job *batchv1.Job) {
		job.Annotations[identity.AnnotationStopRequested] = "2026-01-02T03:04:05Z"
		job.Spec.Suspend = new(true)
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}
	})))
	w.write(t, omapi.StateRunning)
	w.run(t)
	w.await(t, "stopped")
	job := w.jobNow(t)
	assert.Equal(t, new(false), job.Spec.Suspend)
	assert.Equal(t, new(int64), job.Spec.ActiveDeadlineSeconds)
}
