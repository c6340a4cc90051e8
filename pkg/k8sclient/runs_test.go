package k8sclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// world is a deployed pipeline that OpenMetadata knows.
type world struct {
	kube   *apiServer
	om     *omtest.Server
	client *Client
}

func newWorld(t *testing.T, edits ...func(*omapi.IngestionPipeline)) *world {
	t.Helper()
	w := &world{kube: startAPIServer(t), om: omtest.Start(t, openmetadata.Options{})}
	require.Equal(t, testFQN, w.om.Pipeline(t, "mysql_prod", "nightly"))
	config := DefaultConfig()
	config.Namespace = namespace
	var err error
	w.client, err = New(w.kube.client(t), w.om.Client(t), config)
	require.NoError(t, err)
	hurry(w.client)
	_, err = deploy(t, w.client, newPipeline(edits...))
	require.NoError(t, err)
	return w
}

// start starts a run and gives it with its Job.
func (w *world) start(t *testing.T) (*RunResult, *batchv1.Job) {
	t.Helper()
	result, err := w.client.Run(t.Context(), testFQN, RunOptions{})
	require.NoError(t, err)
	job, ok := w.kube.get("jobs", result.JobName).(*batchv1.Job)
	require.True(t, ok, "there is a Job of this name")
	return result, job
}

// tick gives the Job of a run that the schedule has started.
func (w *world) tick(t *testing.T) *batchv1.Job {
	t.Helper()
	cronJob, ok := w.kube.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
	require.True(t, ok)
	template := cronJob.Spec.JobTemplate
	job := &batchv1.Job{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
	job.Name = "om-cronjob-nightly-29000000"
	job.UID = types.UID(uuid.NewString())
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cronJob, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
	w.kube.add(t, "cronjob-controller", job)
	return job
}

// end makes a Job one that has ended.
func (w *world) end(name string, condition batchv1.JobConditionType) {
	w.kube.change("jobs", name, func(o object) {
		if job, ok := o.(*batchv1.Job); ok {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: condition, Status: corev1.ConditionTrue})
		}
	})
}

func (w *world) jobs() []string {
	var out []string
	for _, name := range w.kube.names() {
		if strings.HasPrefix(name, "jobs/") {
			out = append(out, name)
		}
	}
	return out
}

func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	result, job := w.start(t)
	assert.Equal(t, testFQN, result.FQN)
	require.NoError(t, uuid.Validate(result.RunID))
	assert.Equal(t, "om-job-nightly-"+result.RunID[:8], result.JobName)
	assert.Equal(t, result.RunID, report.RunIDOf(job))
	run := w.om.Run(t, testFQN, result.RunID)
	require.NotNil(t, run, "the run is seen before its pod is")
	assert.Equal(t, "queued", run.State)
	assert.Equal(t, strconv.FormatInt(run.Timestamp, 10), job.Annotations[identity.AnnotationTimestamp], "every reporter writes with the one timestamp")
}

func TestRunThatCannotStart(t *testing.T) {
	t.Parallel()
	quota := apierrors.NewForbidden(schema.GroupResource{Group: "batch", Resource: "jobs"}, "x", errors.New("exceeded quota: jobs"))
	cases := map[string]struct {
		reason string
		// refused are the requests of Kubernetes that a quota refuses.
		refused string
		fault   *admin.Fault
		want    []string
		// record says that the run's record is failed, left that its Job stays, as one that never runs.
		record, left bool
	}{
		"Job":   {reason: "what stopped it is in the run's record", refused: http.MethodPost, want: []string{"cannot create Job om-job-nightly-", "exceeded quota: jobs"}, record: true},
		"Start": {reason: "so is what stopped it when its Job was there", refused: http.MethodPatch, want: []string{"cannot start Job om-job-nightly-", "exceeded quota: jobs"}, record: true, left: true},
		"Refused": {
			reason: "a run that nobody could see is not started",
			fault:  &admin.Fault{Kind: admin.FaultStatus, Status: http.StatusForbidden, Method: http.MethodPut}, want: []string{"answered 403"},
		},
		"Away": {
			reason: "the record may have been written: the Job stays, for whoever finds out",
			fault:  &admin.Fault{Kind: admin.FaultStatus, Status: http.StatusInternalServerError, Method: http.MethodPut}, want: []string{"answered 500", "did not start, but OpenMetadata could not be told"}, left: true,
		},
		"Both": {
			reason: "what could not be told there is told here", refused: http.MethodPost,
			fault: &admin.Fault{Kind: admin.FaultStatus, Status: http.StatusForbidden, Method: http.MethodPut},
			want:  []string{"exceeded quota: jobs", "could not be told", "cannot write the status failed"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
				if req.Method == tc.refused && tc.refused != "" {
					return quota
				}
				return nil
			})
			if tc.fault != nil {
				tc.fault.Path = "pipelineStatus$"
				w.om.Fault(t, *tc.fault)
			}
			_, err := w.client.Run(t.Context(), testFQN, RunOptions{})
			for _, want := range tc.want {
				require.ErrorContains(t, err, want, tc.reason)
			}
			if !tc.left {
				assert.Empty(t, w.jobs())
			}
			for _, name := range w.jobs() {
				job, _ := w.kube.get("jobs", strings.TrimPrefix(name, "jobs/")).(*batchv1.Job)
				assert.NotEmpty(t, job.Labels[identity.LabelStart], "it never runs")
			}
			if !tc.record {
				return
			}
			pipelines, err := w.om.Pipelines()
			require.NoError(t, err)
			require.Len(t, pipelines[0].Runs, 1)
			run := pipelines[0].Runs[0]
			assert.Equal(t, "failed", run.State, tc.reason)
			require.NotNil(t, run.Cause)
			assert.Equal(t, "JobNotCreated", run.Cause.Name)
			assert.Contains(t, run.Cause.Error, "exceeded quota: jobs")
		})
	}
}

// TestRunWhoseAnswerIsLost: a Job that exists is never recorded as not started.
func TestRunWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	broken := apierrors.NewInternalError(errors.New("etcdserver: request timed out"))
	cases := map[string]struct {
		reason string
		// made says whether the Job is made in spite of the answer, unread that nobody can look afterwards.
		made, unread bool
		state        string
		err          string
	}{
		"Made":   {reason: "it runs, and that is told", made: true, state: "queued"},
		"Unmade": {reason: "it does not run", state: "failed", err: "request timed out"},
		"Unread": {reason: "it does not run, whether it is there or not", made: true, unread: true, state: "failed", err: "does not start even if its Job is still created"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
				job := strings.Contains(req.URL.Path, "/jobs") && req.URL.RawQuery == "" || req.Method == http.MethodPost
				switch {
				case job && req.Method == http.MethodPost && tc.made:
					w.kube.createLike(t, req)
					return broken
				case job && (req.Method == http.MethodPost || tc.unread):
					return broken
				default:
					return nil
				}
			})
			result, err := w.client.Run(t.Context(), testFQN, RunOptions{})
			pipelines, listErr := w.om.Pipelines()
			require.NoError(t, listErr)
			require.Len(t, pipelines[0].Runs, 1)
			assert.Equal(t, tc.state, pipelines[0].Runs[0].State, tc.reason)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, []string{"jobs/" + result.JobName}, w.jobs())
		})
	}
}

// TestRunThatIsInterrupted: the caller goes while the API server lets the Job run.
func TestRunThatIsInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPatch && ctx.Err() == nil {
			w.kube.handle(httptest.NewRecorder(), req)
			cancel()
			<-req.Context().Done()
		}
		return nil
	})
	result, err := w.client.Run(ctx, testFQN, RunOptions{})
	require.NoError(t, err, "the run has started")
	assert.Equal(t, []string{"jobs/" + result.JobName}, w.jobs())
	assert.Equal(t, "queued", w.om.Run(t, testFQN, result.RunID).State)
}

// TestSecretOfARunThatCannotBeMade: neither a Job without its configuration is left, nor a Secret without its Job.
func TestSecretOfARunThatCannotBeMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.kube.names()
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/secrets") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "x", errors.New("exceeded quota"))
		}
		return nil
	})
	_, err := w.client.Run(t.Context(), testFQN, RunOptions{Token: "other"})
	require.ErrorContains(t, err, "cannot create Secret om-job-nightly-")
	pipelines, err := w.om.Pipelines()
	require.NoError(t, err)
	assert.Equal(t, "failed", pipelines[0].Runs[0].State)
	_, err = w.client.RunAutomation(t.Context(), json.RawMessage(`{"name":"test","password":"hunter2"}`))
	require.ErrorContains(t, err, "exceeded quota")
	assert.Equal(t, before, w.kube.names())
}

// TestRunWhoseJobIsThere: an answer was lost, the Job is there, and the client's second try finds it.
func TestRunWhoseJobIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job := NewJob(&w.client.config, newPipeline(), testRunID, testTimestamp)
	created, err := w.client.createJob(t.Context(), job)
	require.NoError(t, err)
	again, err := w.client.createJob(t.Context(), job)
	require.NoError(t, err, "it is this very Job")
	assert.Equal(t, created.UID, again.UID)
	other := NewJob(&w.client.config, newPipeline(), testRunID[:8]+"-ffff-7222-8333-444455556666", testTimestamp)
	require.Equal(t, job.Name, other.Name)
	_, err = w.client.createJob(t.Context(), other)
	require.True(t, apierrors.IsAlreadyExists(err), "another run's Job is not this one's")
}

func TestOfAPipelineThatIsNotDeployed(t *testing.T) {
	t.Parallel()
	calls := map[string]func(context.Context, *Client, string) error{
		"Run": func(ctx context.Context, client *Client, fqn string) error {
			_, err := client.Run(ctx, fqn, RunOptions{})
			return err
		},
		"Kill": func(ctx context.Context, client *Client, fqn string) error {
			_, err := client.Kill(ctx, fqn, "")
			return err
		},
		"Delete": func(ctx context.Context, client *Client, fqn string) error {
			_, err := client.Delete(ctx, fqn, DeleteOptions{})
			return err
		},
		"Status": func(ctx context.Context, client *Client, fqn string) error {
			_, err := client.Status(ctx, fqn)
			return err
		},
	}
	const noPipeline = `its key "pipeline" does not hold a pipeline; deploy the pipeline again`
	unreadable := map[string]string{"Run": noPipeline, "Status": noPipeline, "Kill": ErrNothingToKill.Error()}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startAPIServer(t)
			client := newTestClient(t, server)
			server.add(t, "somebody", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "om-config-taken"}})
			server.add(t, "somebody", &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: "om-config-broken", Annotations: map[string]string{identity.AnnotationFQN: "svc.broken"}}, Data: map[string]string{"pipeline": "[]"},
			})
			call := func(ctx context.Context, fqn string) error { return call(ctx, client, fqn) }
			err := call(t.Context(), "svc.nowhere")
			require.ErrorIs(t, err, ErrNotDeployed)
			require.ErrorContains(t, err, "svc.nowhere in namespace pipelines; deploy it first: pipelinectl deploy -f FILE")
			require.ErrorIs(t, call(t.Context(), "svc.taken"), ErrNotOurs, "an object of the name is somebody else's")
			err = call(t.Context(), "svc.broken")
			if want := unreadable[name]; want != "" {
				require.ErrorContains(t, err, want)
			} else {
				require.NoError(t, err, "what cannot be read can be deleted")
			}
		})
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.start(t)
	second, _ := w.start(t)
	ended, _ := w.start(t)
	w.end(ended.JobName, batchv1.JobComplete)
	var patched []string
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPatch {
			patched = append(patched, req.URL.Path)
		}
		return nil
	})

	results, err := w.client.Kill(t.Context(), testFQN, first.RunID)
	require.NoError(t, err)
	assert.Equal(t, []KillResult{{FQN: testFQN, RunID: first.RunID, JobName: first.JobName, State: omapi.StateStopped}}, results)
	assert.Equal(t, "stopped", w.om.Run(t, testFQN, first.RunID).State)
	assert.Equal(t, "queued", w.om.Run(t, testFQN, second.RunID).State, "the other run goes on")
	assert.Len(t, patched, 1)

	results, err = w.client.Kill(t.Context(), testFQN, "")
	require.NoError(t, err)
	require.Len(t, results, 1)
	assert.Equal(t, second.RunID, results[0].RunID, "all that have not ended")
	assert.Equal(t, []string{"jobs/" + ended.JobName}, w.jobs(), "a killed run's Job is gone, one that had ended stays")

	_, err = w.client.Kill(t.Context(), testFQN, "")
	require.ErrorIs(t, err, ErrNothingToKill)
	_, err = w.client.Kill(t.Context(), testFQN, ended.RunID)
	require.ErrorIs(t, err, ErrNothingToKill)
}

func TestKillMarksTheJobAndWaitsForItsPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, job := w.start(t)
	pod := func(name string, owner types.UID) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{batchv1.ControllerUidLabel: string(owner)}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		}
	}
	w.kube.add(t, "job-controller", pod("attempt", job.UID), pod("of-another-job", "other"))
	looks := 0
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if !strings.HasSuffix(req.URL.Path, "/pods") {
			return nil
		}
		if looks++; looks < 3 {
			assert.Equal(t, "queued", w.om.Run(t, testFQN, run.RunID).State, "nothing is final while a pod runs")
			marked, ok := w.kube.get("jobs", run.JobName).(*batchv1.Job)
			if !assert.True(t, ok) {
				return nil
			}
			assert.Equal(t, new(false), marked.Spec.Suspend, "a suspended Job would keep the schedule from going on")
			assert.Equal(t, new(int64), marked.Spec.ActiveDeadlineSeconds, "the controller ends the pods of a Job whose time is over")
			_, err := time.Parse(time.RFC3339, marked.Annotations[identity.AnnotationStopRequested])
			assert.NoError(t, err, "the hook reads why")
			return nil
		}
		w.kube.change("pods", "attempt", func(o object) {
			if pod, ok := o.(*corev1.Pod); ok {
				pod.Status.Phase = corev1.PodFailed
			}
		})
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	results, err := w.client.Kill(ctx, testFQN, "")
	require.NoError(t, err)
	require.Len(t, results, 1)
	assert.Equal(t, 3, looks)
	assert.Equal(t, "stopped", w.om.Run(t, testFQN, run.RunID).State)
}

func TestKillThatDoesNotGetThrough(t *testing.T) {
	t.Parallel()
	t.Run("Pods", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run, job := w.start(t)
		w.kube.add(t, "job-controller", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stuck", Labels: map[string]string{batchv1.ControllerUidLabel: string(job.UID)}}})
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		looks := 0
		w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
			if strings.HasSuffix(req.URL.Path, "/pods") {
				if looks++; looks == 2 { // The first look has seen the pod.
					cancel(errors.New("enough"))
				}
			}
			return nil
		})
		_, err := w.client.Kill(ctx, testFQN, "")
		w.kube.intercept(nil)
		require.ErrorContains(t, err, "pods [stuck]: it has been told to stop, but is not waited for any longer; kill it again to see it end: enough")
		assert.NotContains(t, err.Error(), "--force", "nobody has waited for the grace period")
		w.kube.change("jobs", run.JobName, func(o object) {
			if job, ok := o.(*batchv1.Job); ok {
				job.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(0))
			}
		})
		w.client.killReserve = 2 * time.Second // A slow machine has looked once by then.
		_, err = w.client.Kill(t.Context(), testFQN, "")
		require.ErrorContains(t, err, "pods [stuck]: they have not ended in time; if their node is gone: kubectl delete pod --force")
		w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
			if strings.HasSuffix(req.URL.Path, "/pods") {
				return apierrors.NewInternalError(errors.New("etcd is away"))
			}
			return nil
		})
		_, err = w.client.Kill(t.Context(), testFQN, "")
		require.ErrorContains(t, err, "etcd is away", "that its pods could not be looked at is told")
		assert.Equal(t, "queued", w.om.Run(t, testFQN, run.RunID).State, "a run whose pod may go on is not stopped")
		assert.Len(t, w.jobs(), 1)
	})
	t.Run("OpenMetadata", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run, _ := w.start(t)
		w.om.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusForbidden, Method: http.MethodPut, Path: "pipelineStatus$", Count: 1})
		_, err := w.client.Kill(t.Context(), testFQN, "")
		require.ErrorIs(t, err, omapi.ErrForbidden)
		require.ErrorContains(t, err, "run "+run.RunID+" has ended, but OpenMetadata could not be told")
		assert.Len(t, w.jobs(), 1, "the Job stays: without it nobody could tell that a person stopped the run")
		_, err = w.client.Kill(t.Context(), testFQN, "")
		require.NoError(t, err, "a kill can be repeated")
		assert.Equal(t, "stopped", w.om.Run(t, testFQN, run.RunID).State)
	})
	t.Run("Job", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.start(t)
		w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
			if req.Method == http.MethodPatch {
				return apierrors.NewForbidden(schema.GroupResource{Group: "batch", Resource: "jobs"}, "x", errors.New(`User "me" cannot patch resource "jobs" in API group "batch"`))
			}
			return nil
		})
		_, err := w.client.Kill(t.Context(), testFQN, "")
		require.ErrorContains(t, err, "cannot stop Job om-job-nightly-")
		require.ErrorContains(t, err, "ask for a Role that allows it")
	})
}

func TestDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := deploy(t, w.client, newPipeline(edited(2))) // Keeps a revision.
	require.NoError(t, err)
	running, _ := w.start(t)
	ended, _ := w.start(t)
	w.end(ended.JobName, batchv1.JobFailed)
	result, err := w.client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"CronJob/om-cronjob-nightly", "Job/" + ended.JobName, "Secret/om-revision-nightly-1", "Secret/om-secret-nightly", "ConfigMap/om-config-nightly",
	}, result.Objects, "the CronJob first, so that no run starts, the ConfigMap last")
	assert.Equal(t, []KillResult{{FQN: testFQN, RunID: running.RunID, JobName: running.JobName, State: omapi.StateStopped}}, result.Killed)
	assert.Empty(t, w.kube.names(), "nothing is left")
	_, err = w.client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.ErrorIs(t, err, ErrNotDeployed)
}

// TestDeleteEndsTheRunOfTheSchedule: a run that its CronJob took with it could not tell that it was stopped.
func TestDeleteEndsTheRunOfTheSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job := w.tick(t)
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if strings.HasSuffix(req.URL.Path, "/pods") {
			assert.Nil(t, w.kube.get("cronjobs", "om-cronjob-nightly"), "no other run starts meanwhile")
		}
		return nil
	})
	result, err := w.client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.NoError(t, err)
	assert.Equal(t, []KillResult{{FQN: testFQN, RunID: string(job.UID), JobName: job.Name, State: omapi.StateStopped}}, result.Killed)
	assert.Equal(t, "stopped", w.om.Run(t, testFQN, string(job.UID)).State)
	assert.Empty(t, w.kube.names())
}

// TestDeleteOfWhatIsLeft: a pipeline is known by its label and annotation, whatever somebody has removed by hand.
func TestDeleteOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, gone := range []string{"configmaps/om-config-nightly", "secrets/om-secret-nightly", "cronjobs/om-cronjob-nightly"} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run, _ := w.start(t)
			resource, name, _ := strings.Cut(gone, "/")
			w.kube.remove(resource, name)
			killed, err := w.client.Kill(t.Context(), testFQN, "")
			require.NoError(t, err)
			assert.Equal(t, run.RunID, killed[0].RunID)
			_, err = w.client.Delete(t.Context(), testFQN, DeleteOptions{})
			require.NoError(t, err)
			assert.Empty(t, w.kube.names())
			_, err = w.client.Delete(t.Context(), testFQN, DeleteOptions{})
			require.ErrorIs(t, err, ErrNotDeployed)
		})
	}
}

func TestDeleteByForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, _ := w.start(t)
	w.om.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusForbidden, Method: http.MethodPut, Path: "pipelineStatus$"})
	_, err := w.client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.ErrorIs(t, err, omapi.ErrForbidden)
	require.ErrorContains(t, err, "delete it again")
	result, err := w.client.Delete(t.Context(), testFQN, DeleteOptions{Force: true})
	require.NoError(t, err)
	require.Len(t, result.Killed, 1)
	assert.Contains(t, result.Killed[0].Problem, "run "+run.RunID+" has ended, but OpenMetadata could not be told")
	assert.Empty(t, w.kube.names())
}

// TestDeleteOfWhatWasReplaced: an object that was made anew since it was looked at is another one.
func TestDeleteOfWhatWasReplaced(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cronjobs/om-cronjob-nightly", "secrets/om-secret-nightly", "configmaps/om-config-nightly"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			resource, object, _ := strings.Cut(name, "/")
			w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
				if req.Method == http.MethodDelete && strings.HasSuffix(req.URL.Path, name) {
					w.kube.change(resource, object, renew)
				}
				return nil
			})
			_, err := w.client.Delete(t.Context(), testFQN, DeleteOptions{})
			require.True(t, apierrors.IsConflict(err), "%v", err)
			assert.NotNil(t, w.kube.get(resource, object))
		})
	}
}

func renew(o object) { o.SetUID(types.UID(uuid.NewString())) }

// TestDeleteCanBeRepeated: whichever request fails, the next delete finishes.
func TestDeleteCanBeRepeated(t *testing.T) {
	t.Parallel()
	failure := apierrors.NewInternalError(errors.New("etcd is away"))
	refused := true
	for n := 1; refused; n++ {
		w := newWorld(t)
		_, err := deploy(t, w.client, newPipeline(edited(2)))
		require.NoError(t, err)
		_, job := w.start(t)
		w.end(job.Name, batchv1.JobComplete)
		what := refuseNth(w.kube, n, 0, false, failure)
		_, err = w.client.Delete(t.Context(), testFQN, DeleteOptions{})
		refused = what() != ""
		if !refused {
			require.NoError(t, err)
			assert.Greater(t, n, 8, "several requests were refused in turn")
			continue
		}
		require.Error(t, err, "request %d was refused: %s", n, what())
		w.kube.intercept(nil)
		_, err = w.client.Delete(t.Context(), testFQN, DeleteOptions{})
		require.NoError(t, err, "request %d was refused: %s", n, what())
		assert.Empty(t, w.kube.names())
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	active, _ := w.start(t)
	failed, _ := w.start(t)
	w.end(failed.JobName, batchv1.JobFailed)
	complete, _ := w.start(t)
	w.end(complete.JobName, batchv1.JobComplete)
	gone := uuid.NewString()
	require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, &omapi.PipelineStatus{
		RunID: gone, State: omapi.StateFailed, Timestamp: testTimestamp, EndDate: testTimestamp + 5000,
		Steps: []omapi.Step{omapi.NewStep(omapi.StepSummary{Name: "Pod Diagnostics", Failures: []omapi.StackTraceError{{Name: "OOMKilled", Error: "too much"}}})},
	}))
	// A scheduled run that has no record yet, and a Job of another pipeline with the same label.
	scheduled := NewJob(&w.client.config, newPipeline(), testRunID, testTimestamp)
	scheduled.Name, scheduled.Labels[identity.LabelRunID], scheduled.UID = "om-cronjob-nightly-29", "", "0190b0a0-aaaa-7000-8000-000000000000"
	scheduled.CreationTimestamp = metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second))
	foreign := NewJob(&w.client.config, newPipeline(func(p *omapi.IngestionPipeline) { p.FullyQualifiedName = "other.nightly" }), uuid.NewString(), testTimestamp)
	foreign.Labels[identity.LabelPipeline] = "nightly"
	w.kube.add(t, "cronjob-controller", scheduled, foreign)

	status, err := w.client.Status(t.Context(), testFQN)
	require.NoError(t, err)
	assert.Equal(t, "0 0 * * *", status.Schedule)
	assert.False(t, status.Suspended)
	byID := map[string]RunStatus{}
	for _, run := range status.Runs {
		byID[run.RunID] = run
	}
	require.Len(t, byID, 5)
	assert.Equal(t, string(scheduled.UID), status.Runs[0].RunID, "newest first")
	assert.Equal(t, gone, status.Runs[4].RunID)
	assert.Equal(t, RunStatus{RunID: string(scheduled.UID), State: omapi.StateQueued, Started: scheduled.CreationTimestamp.Time, Cause: "its pod is not made yet", JobName: scheduled.Name, Job: "Active"}, localised(byID[string(scheduled.UID)], scheduled.CreationTimestamp.Time))
	assert.Equal(t, "Active", byID[active.RunID].Job)
	assert.Equal(t, "Failed", byID[failed.RunID].Job)
	assert.Equal(t, "Complete", byID[complete.RunID].Job)
	assert.Equal(t, omapi.StateQueued, byID[complete.RunID].State, "the record's state is shown, whatever the Job says")
	last := byID[gone]
	assert.Empty(t, last.JobName)
	assert.Equal(t, "OOMKilled: too much", last.Cause)
	assert.Equal(t, 5*time.Second, last.Ended.Sub(last.Started))
}

// localised has the same moment in the same zone.
func localised(run RunStatus, like time.Time) RunStatus {
	run.Started = run.Started.In(like.Location())
	return run
}

// TestStatusWithoutRecord: what Kubernetes says by the mission's table, Pending queued, Running running, Succeeded success,
// Failed failed.
func TestStatusWithoutRecord(t *testing.T) {
	t.Parallel()
	pod := func(state corev1.ContainerState) *corev1.PodStatus {
		return &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: identity.ContainerName, State: state}}}
	}
	ended := metav1.Unix(1_700_000_100, 0)
	over := func(kind batchv1.JobConditionType) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: ended, Reason: "BackoffLimitExceeded", Message: "too often"}}
		}
	}
	cases := map[string]struct {
		reason string
		edit   func(*batchv1.Job)
		pod    *corev1.PodStatus
		want   omapi.PipelineState
		cause  string
		ended  bool
	}{
		"NoPod":    {reason: "the controller has not got to it", want: omapi.StateQueued, cause: "its pod is not made yet"},
		"Pending":  {reason: "no container has started", pod: pod(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}), want: omapi.StateQueued, cause: "ErrImagePull"},
		"Running":  {reason: "a container has started", pod: pod(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ended}}), want: omapi.StateRunning},
		"Retrying": {reason: "an attempt has ended, and the Job goes on", pod: pod(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, StartedAt: ended}}), want: omapi.StateRunning},
		"Complete": {reason: "the Job decides", edit: over(batchv1.JobComplete), want: omapi.StateSuccess, ended: true},
		"Failed":   {reason: "with what the Job says", edit: over(batchv1.JobFailed), want: omapi.StateFailed, cause: "BackoffLimitExceeded: too often", ended: true},
		"Stopped":  {reason: "a person has ended it", edit: func(job *batchv1.Job) { job.Annotations[identity.AnnotationStopRequested] = "2026-01-02T03:04:05Z" }, want: omapi.StateStopped},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			job := NewJob(&w.client.config, newPipeline(), testRunID, testTimestamp)
			if tc.edit != nil {
				tc.edit(job)
			}
			w.kube.add(t, "cronjob-controller", job)
			if tc.pod != nil {
				w.addPod(t, "p", job, 1, *tc.pod)
			}
			status, err := w.client.Status(t.Context(), testFQN)
			require.NoError(t, err)
			require.Len(t, status.Runs, 1)
			run := status.Runs[0]
			assert.Equal(t, tc.want, run.State, tc.reason)
			assert.Equal(t, tc.cause, run.Cause, tc.reason)
			if tc.ended {
				assert.True(t, ended.Time.Equal(run.Ended), "%s: %s", tc.reason, run.Ended)
			} else {
				assert.Zero(t, run.Ended)
			}
		})
	}
}

func TestStatusOf(t *testing.T) {
	t.Parallel()
	t.Run("Disabled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(p *omapi.IngestionPipeline) { p.Enabled = new(false) })
		status, err := w.client.Status(t.Context(), testFQN)
		require.NoError(t, err)
		assert.True(t, status.Suspended)
		assert.Equal(t, "0 0 * * *", status.Schedule)
		assert.Empty(t, status.Runs)
	})
	t.Run("OnDemand", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, onDemand)
		status, err := w.client.Status(t.Context(), testFQN)
		require.NoError(t, err)
		assert.Empty(t, status.Schedule)
	})
	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.om.Clear()
		_, err := w.client.Status(t.Context(), testFQN)
		require.ErrorIs(t, err, omapi.ErrNotFound)
		require.ErrorContains(t, err, "is deployed, but OpenMetadata does not know it")
	})
	t.Run("Many", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		const many = recentRuns + 5
		for i := range int64(many) {
			job := NewJob(&w.client.config, newPipeline(), uuid.NewString(), testTimestamp+i)
			condition(job, batchv1.JobComplete)
			w.kube.add(t, "pipelinectl", job)
			require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, &omapi.PipelineStatus{RunID: report.RunIDOf(job), State: omapi.StatePartialSuccess, Timestamp: testTimestamp + i}))
		}
		status, err := w.client.Status(t.Context(), testFQN)
		require.NoError(t, err)
		require.Len(t, status.Runs, many)
		for _, run := range status.Runs {
			assert.Equal(t, omapi.StatePartialSuccess, run.State, "the record of every Job that is there is read")
		}
	})
	t.Run("OpenMetadataAway", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run, _ := w.start(t)
		w.end(run.JobName, batchv1.JobComplete)
		w.om.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusServiceUnavailable, Path: "pipelineStatus"})
		status, err := w.client.Status(t.Context(), testFQN)
		require.NoError(t, err, "what Kubernetes knows is told")
		assert.Contains(t, status.RecordProblem, "answered 503")
		require.Len(t, status.Runs, 1)
		assert.Equal(t, omapi.StateSuccess, status.Runs[0].State)
	})
	t.Run("NotAllowed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.om.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusForbidden, Path: "pipelineStatus"})
		_, err := w.client.Status(t.Context(), testFQN)
		require.ErrorIs(t, err, omapi.ErrForbidden, "asking later would not help")
	})
	t.Run("Suspended", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run, _ := w.start(t)
		w.kube.change("jobs", run.JobName, func(o object) {
			if job, ok := o.(*batchv1.Job); ok {
				job.Spec.Suspend = new(true)
			}
		})
		status, err := w.client.Status(t.Context(), testFQN)
		require.NoError(t, err)
		assert.Equal(t, "Suspended", status.Runs[0].Job)
	})
	t.Run("RunningWithEndDate", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, &omapi.PipelineStatus{
			RunID: testRunID, State: omapi.StateRunning, Timestamp: testTimestamp, EndDate: testTimestamp + 5000,
		}))
		status, err := w.client.Status(t.Context(), testFQN)
		require.NoError(t, err)
		assert.Zero(t, status.Runs[0].Ended, "an endDate of a run that goes on means nothing")
	})
}
