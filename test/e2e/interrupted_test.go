package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// job gives the first of a pipeline's Jobs that is as wanted, when there is one.
func (w *world) job(t *testing.T, wanted func(*batchv1.Job) bool) *batchv1.Job {
	t.Helper()
	var found *batchv1.Job
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		jobs, err := w.Kube.BatchV1().Jobs(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: identity.LabelPipeline})
		if err != nil {
			return false, err
		}
		for i := range jobs.Items {
			if wanted(&jobs.Items[i]) {
				found = &jobs.Items[i]
			}
		}
		return found != nil, nil
	})
	require.NoError(t, err, "no Job is as wanted")
	return found
}

// killed starts a command and kills it, without any chance to tidy up, when a Job is as wanted. The server does not take
// what the command tells it.
func (w *world) killed(t *testing.T, fqn string, when func(*batchv1.Job) bool, args ...string) *batchv1.Job {
	t.Helper()
	fault, err := w.standIn.Admin.AddFault(t.Context(), admin.Fault{Kind: admin.FaultHang, Method: http.MethodPut, Path: fqn + ".*" + writePath, UserAgent: "^pipelinectl/"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	var log bytes.Buffer
	command, err := w.command.Start(ctx, &log, args...)
	require.NoError(t, err)
	job := w.job(t, when)
	require.NoError(t, command.Process.Signal(syscall.SIGKILL), log.String())
	_ = command.Wait() // It was killed.
	require.NoError(t, w.standIn.Admin.RemoveFault(t.Context(), fault.ID))
	return job
}

// TestKillThatIsInterruptedFreesTheSchedule: a kill that dies when its Job is marked leaves a Job that fails by itself, and
// the next tick has its run. Nothing else is there to help.
func TestKillThatIsInterruptedFreesTheSchedule(t *testing.T) {
	t.Parallel() // It waits for the next minute most of the time.
	w := newWorld(t)
	file, fqn := w.pipeline(t, "cut", map[string]string{"duration": "600", "rows": "6"}, everyMinute)
	first := w.awaitTick(t, file, fqn, "")
	w.awaitWork(t, fqn, first)
	w.killed(t, fqn, report.StopRequested, "kill", fqn)
	assert.Equal(t, string(omapi.StateStopped), w.await(t, fqn, first, omapi.PipelineState.Terminal).State, "the pod's own reporter tells it")
	second := w.nextTick(t, fqn, metav1.ListOptions{LabelSelector: identity.LabelPipeline}, first)
	w.awaitWork(t, fqn, second)
	var deleted []k8sclient.DeleteResult
	require.NoError(t, w.command.RunJSON(t.Context(), &deleted, "delete", fqn))
	require.Len(t, deleted, 1)
	assert.Len(t, deleted[0].Killed, 2, "the one that goes on, and the one whose kill was interrupted")
	assert.Equal(t, string(omapi.StateStopped), w.await(t, fqn, second, omapi.PipelineState.Terminal).State)
	assert.Empty(t, w.objects(t, w.namespace), "nothing is left")
}

// TestKillWithoutOpenMetadata: the run ends and its schedule goes on, the command names who did not answer, and another
// kill writes the record.
func TestKillWithoutOpenMetadata(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := newWorld(t)
	file, fqn := w.pipeline(t, "away", map[string]string{"duration": "600", "rows": "6"}, "")
	started := w.start(t, file, fqn)
	w.awaitWork(t, fqn, started.RunID)
	fault, err := w.standIn.Admin.AddFault(t.Context(), admin.Fault{Kind: admin.FaultStatus, Status: 503, Path: fqn + ".*pipelineStatus"})
	require.NoError(t, err)
	_, err = w.command.Run(t.Context(), "kill", fqn, "--timeout", "85s") // The sidecar tries for as long as the pod's grace period.
	require.ErrorContains(t, err, "has ended, but OpenMetadata could not be told")
	assert.NotContains(t, err.Error(), "cluster")
	w.job(t, func(job *batchv1.Job) bool {
		for _, condition := range job.Status.Conditions {
			if condition.Type == batchv1.JobFailed {
				return true
			}
		}
		return false
	})
	require.NoError(t, w.standIn.Admin.RemoveFault(t.Context(), fault.ID))
	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))
	require.Len(t, killed, 1)
	assert.Equal(t, omapi.StateStopped, killed[0].State)
	assert.Equal(t, string(omapi.StateStopped), w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal).State)
	assert.NotContains(t, w.objects(t, w.namespace), "jobs/"+started.JobName)
}

// TestRunThatIsInterrupted: a run whose command dies between its Job and its record never starts, is seen, and is ended by the
// next command or by serve.
func TestRunThatIsInterrupted(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := newWorld(t)
	file, fqn := w.pipeline(t, "halfway", map[string]string{"rows": "6"}, "")
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)

	job := w.killed(t, fqn, report.StartPending, "run", fqn)
	status, err := w.command.Run(t.Context(), "status", fqn)
	require.NoError(t, err)
	assert.Contains(t, status, "Starting", "it is seen")
	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))
	require.Len(t, killed, 1)
	assert.Equal(t, report.RunIDOf(job), killed[0].RunID)
	assert.Equal(t, omapi.StateStopped, killed[0].State)

	job = w.killed(t, fqn, report.StartPending, "run", fqn)
	w.serve(t)
	run := w.await(t, fqn, report.RunIDOf(job), omapi.PipelineState.Terminal)
	assert.Equal(t, string(omapi.StateFailed), run.State)
	require.NotNil(t, run.Cause)
	assert.Equal(t, string(diagnostics.CategoryNotStarted), run.Cause.Name)
	pods, err := w.Kube.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: identity.LabelPipeline})
	require.NoError(t, err)
	assert.Empty(t, pods.Items, "neither of the two runs had a pod")
}

// TestRunThatTheServerWorksOnLate: a Job that is made when its command has long given up never runs.
func TestRunThatTheServerWorksOnLate(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := newWorld(t)
	file, fqn := w.pipeline(t, "late", map[string]string{"rows": "6"}, "")
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	const delay = 12 * time.Second
	kubeconfig := w.lateServer(t, delay)
	_, err = w.command.Run(t.Context(), "run", fqn, "--timeout", "3s", "--kubeconfig", kubeconfig)
	require.Error(t, err)
	job := w.job(t, func(*batchv1.Job) bool { return true })
	assert.Equal(t, identity.StartPending, job.Labels[identity.LabelStart])
	assert.True(t, report.Suspended(job))
	if run, err := w.standIn.Admin.Run(t.Context(), fqn, report.RunIDOf(job)); assert.NoError(t, err) && run != nil {
		assert.Equal(t, string(omapi.StateFailed), run.State, "nobody calls it queued")
	}
	var killed []k8sclient.KillResult
	require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))
	assert.NotContains(t, w.objects(t, w.namespace), "jobs/"+job.Name)
	pods, err := w.Kube.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: identity.LabelPipeline})
	require.NoError(t, err)
	assert.Empty(t, pods.Items)
}

// lateServer gives a kubeconfig of the cluster behind a proxy that hands Jobs to it late, whether their client waits or not.
func (w *world) lateServer(t *testing.T, delay time.Duration) string {
	t.Helper()
	transport, err := rest.TransportFor(w.Config)
	require.NoError(t, err)
	target, err := url.Parse(w.Config.Host)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/jobs") {
			proxy.ServeHTTP(rw, req)
			return
		}
		content, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		timer := time.NewTimer(delay)
		defer timer.Stop()
		<-timer.C
		req = req.Clone(context.WithoutCancel(req.Context()))
		req.Body = io.NopCloser(bytes.NewReader(content))
		proxy.ServeHTTP(httptest.NewRecorder(), req) // Nobody waits for the answer.
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: late, cluster: {server: '"+server.URL+"'}}]\n"+
		"contexts: [{name: late, context: {cluster: late}}]\ncurrent-context: late\n"), 0o600))
	return path
}

// killUnheard is pipelinectl kill while OpenMetadata does not take what it says.
func killUnheard(t *testing.T, e *ending) {
	t.Helper()
	e.running(t)
	e.at = time.Now()
	e.killed(t, e.fqn, func(job *batchv1.Job) bool { return report.RunIDOf(job) == e.runID && report.StopRequested(job) }, "kill", e.fqn, "--run", e.runID)
}

// suspendAndResume does what Kueue does: it admits the Job, takes it back while it runs, and admits it again while the pod
// ends.
func suspendAndResume(t *testing.T, e *ending) {
	t.Helper()
	e.await(t, e.fqn, e.runID, func(state omapi.PipelineState) bool { return state == omapi.StateQueued })
	queued, err := e.command.Run(t.Context(), "status", e.fqn)
	require.NoError(t, err)
	assert.Contains(t, queued, "suspended: waiting for admission by queue ingestion")
	e.suspend(t, false)
	e.running(t)
	e.awaitWork(t, e.fqn, e.runID)
	e.suspend(t, true)
	e.suspend(t, false)
}

func (e *ending) suspend(t *testing.T, suspended bool) {
	t.Helper()
	job := e.job(t, func(job *batchv1.Job) bool {
		return report.RunIDOf(job) == e.runID && report.Suspended(job) != suspended
	})
	job.Spec.Suspend = &suspended
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		jobs := e.Kube.BatchV1().Jobs(e.namespace)
		latest, err := jobs.Get(ctx, job.Name, metav1.GetOptions{})
		if err == nil {
			latest.Spec.Suspend = &suspended
			_, err = jobs.Update(ctx, latest, metav1.UpdateOptions{})
		}
		return err == nil, err
	})
	require.NoError(t, err)
	if !suspended {
		return
	}
	// Kueue waits too until it sees that.
	e.job(t, func(job *batchv1.Job) bool {
		return report.RunIDOf(job) == e.runID && len(job.Status.Conditions) > 0 && job.Status.Conditions[0].Status == "True"
	})
}
