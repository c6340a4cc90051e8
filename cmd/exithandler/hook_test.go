package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	testJob       = "om-job-nightly-0190b0a0"
	testTimestamp = int64(1_700_000_000_123)
	patience      = time.Minute
	// hangLimit is for a report while Kubernetes hangs, which takes its whole share of it: what answers must have
	// done so in that share on a slow machine too.
	hangLimit = 9 * time.Second
	// refusing is where nobody listens. The port of a server that was closed may be another's by now.
	refusing = "http://127.0.0.1:1"
)

// kubernetes answers what a hook asks of a Job with one pod that runs.
func kubernetes(job *batchv1.Job) http.Handler {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{batchv1.JobNameLabel: testJob}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: identity.ContainerName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}},
	}
	mux := http.NewServeMux()
	give := func(path string, object any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, object) })
	}
	give("/apis/batch/v1/namespaces/pipelines/jobs/"+testJob, job)
	give("/api/v1/namespaces/pipelines/pods", corev1.PodList{Items: []corev1.Pod{pod}})
	give("/api/v1/namespaces/pipelines/events", corev1.EventList{})
	mux.HandleFunc("GET /api/v1/namespaces/pipelines/pods/p/log", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "connect with hunter2 and bot-token\n")
	})
	return mux
}

func reply(w http.ResponseWriter, code int, object any) {
	data, err := json.Marshal(object)
	if err != nil {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data)
}

func forbidding() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status := apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "x", errors.New("no")).ErrStatus
		status.Kind, status.APIVersion = "Status", "v1"
		reply(w, int(status.Code), &status)
	})
}

func hanging() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
}

func newJob(edit func(*batchv1.Job)) *batchv1.Job {
	job := &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: testJob, Annotations: map[string]string{identity.AnnotationTimestamp: strconv.FormatInt(testTimestamp, 10)}},
	}
	edit(job)
	return job
}

func condition(kind batchv1.JobConditionType, reason string) func(*batchv1.Job) {
	return func(job *batchv1.Job) {
		job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: reason}}
	}
}

// kubeconfig is for a server that answers by a handler; none for no cluster at all.
const kubeconfigText = `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q}}]
contexts: [{name: test, context: {cluster: test}}]
current-context: test
`

func kubeconfig(t *testing.T, handler http.Handler) string {
	t.Helper()
	if handler == nil {
		return "/does/not/exist"
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, kubeconfigText, server.URL), 0o600))
	return path
}

// variablesOf is the environment of a run's pod.
func variablesOf(server *omtest.Server, token string, more ...string) []string {
	return append([]string{
		"config=workflowConfig: {openMetadataServerConfig: {hostPort: '" + server.URL + "', securityConfig: {jwtToken: <from-secret>}}}\nsource: {password: <from-secret>}",
		"configSecret=/workflowConfig/openMetadataServerConfig/securityConfig/jwtToken: '" + token + "'\n/source/password: hunter2",
		"pipelineRunId=" + testRunID, "ingestionPipelineFQN=svc.nightly", "jobName=" + testJob, "namespace=pipelines", "podName=p",
	}, more...)
}

// reported runs the hook's report and gives what it logged.
func reported(t *testing.T, environ []string, timeout time.Duration) (report.Result, string, error) {
	t.Helper()
	env := readEnvironment(environ, "preStop hook")
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var log bytes.Buffer
	result, err := reportRun(ctx, slog.New(slog.NewJSONHandler(&log, nil)), env)
	return result, log.String(), err
}

// The tests of the hook are not parallel: it finds its cluster by the process's environment.
func inCluster(t *testing.T, handler http.Handler) {
	t.Helper()
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", kubeconfig(t, handler))
}

func TestHookReports(t *testing.T) {
	cases := map[string]struct {
		reason string
		kube   http.Handler
		before omapi.PipelineState
		more   []string
		want   omapi.PipelineState
		// cause is the category of the diagnosis; none for none.
		cause     diagnostics.Category
		unwritten bool
		hangs     bool
		log       string
	}{
		"Deadline": {
			reason: "Kubernetes ends the run, and says why", kube: kubernetes(newJob(condition(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded))),
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryDeadlineExceeded,
		},
		"JobDeleted": {
			reason: "no retry will come", kube: kubernetes(newJob(func(job *batchv1.Job) { job.DeletionTimestamp = new(metav1.Now()) })),
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryDeleted,
		},
		"Retry": {
			reason: "only the pod ends; the environment's word is a hint, not the truth", kube: kubernetes(newJob(func(*batchv1.Job) {})), more: []string{"pipelineStatus=Failed"},
			before: omapi.StateRunning, want: omapi.StateRunning, cause: diagnostics.CategoryUnknown,
		},
		"Complete": {
			reason: "the Job is done, its pod is cleaned up", kube: kubernetes(newJob(condition(batchv1.JobComplete, ""))),
			before: omapi.StateRunning, want: omapi.StateSuccess,
		},
		"CompleteReported": {
			reason: "the workflow has said so already", kube: kubernetes(newJob(condition(batchv1.JobComplete, ""))),
			before: omapi.StateSuccess, want: omapi.StateSuccess, unwritten: true,
		},
		"NoRecord": {
			reason: "the workflow could not say anything", kube: kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))),
			want: omapi.StateFailed, cause: diagnostics.CategoryDeadlineExceeded,
		},
		"ForbiddenFailed": {
			reason: "without Kubernetes the hint is all there is", kube: forbidding(), more: []string{"pipelineStatus=Failed"},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryUnknown, log: "the pod's service account needs the Role in deploy/",
		},
		"ForbiddenSucceeded": {reason: "so it is of a success", kube: forbidding(), more: []string{"pipelineStatus=Succeeded"}, before: omapi.StateRunning, want: omapi.StateSuccess, log: "cannot read Job"},
		"ForbiddenUnknown":   {reason: "nobody knows: it goes on", kube: forbidding(), before: omapi.StateQueued, want: omapi.StateRunning, log: "cannot read Job"},
		"ForbiddenSuccess":   {reason: "who knows nothing changes nothing", kube: forbidding(), before: omapi.StateSuccess, want: omapi.StateSuccess, unwritten: true, log: "cannot read Job"},
		"ForbiddenPartial":   {reason: "nor a partial success", kube: forbidding(), before: omapi.StatePartialSuccess, want: omapi.StatePartialSuccess, unwritten: true, log: "cannot read Job"},
		"ForbiddenEnded":     {reason: "nor a failure", kube: forbidding(), before: omapi.StateFailed, want: omapi.StateFailed, unwritten: true, log: "cannot read Job"},
		"GoneSuccess":        {reason: "the Job is deleted, or its name mistyped", kube: http.NotFoundHandler(), before: omapi.StateSuccess, want: omapi.StateSuccess, unwritten: true, log: "cannot read Job"},
		"GonePartial":        {reason: "as above", kube: http.NotFoundHandler(), before: omapi.StatePartialSuccess, want: omapi.StatePartialSuccess, unwritten: true, log: "cannot read Job"},
		"GoneFailed":         {reason: "as above", kube: http.NotFoundHandler(), before: omapi.StateFailed, want: omapi.StateFailed, unwritten: true, log: "cannot read Job"},
		"ByHandSuccess":      {reason: "by hand in a debug pod while the Job is not decided", kube: kubernetes(newJob(func(*batchv1.Job) {})), more: []string{"podName=debug"}, before: omapi.StateSuccess, want: omapi.StateSuccess, unwritten: true},
		"ByHandPartial":      {reason: "as above", kube: kubernetes(newJob(func(*batchv1.Job) {})), more: []string{"podName=debug"}, before: omapi.StatePartialSuccess, want: omapi.StatePartialSuccess, unwritten: true},
		"ByHandFailed":       {reason: "as above", kube: kubernetes(newJob(func(*batchv1.Job) {})), more: []string{"podName=debug"}, before: omapi.StateFailed, want: omapi.StateFailed, unwritten: true},
		"ByHandRunning":      {reason: "and of a run that goes on it says no cause", kube: kubernetes(newJob(func(*batchv1.Job) {})), more: []string{"podName=debug"}, before: omapi.StateRunning, want: omapi.StateRunning, unwritten: true},
		"NoCluster":          {reason: "a report needs no cluster", more: []string{"pipelineStatus=Failed"}, before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryUnknown, log: "cannot reach Kubernetes"},
		"NoJobName":          {reason: "nor a Job", more: []string{"jobName=", "pipelineStatus=Failed"}, before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryUnknown, log: "the Job is not known: variable jobName is not set"},
		"Hanging":            {reason: "a control plane that does not answer does not hold the report", kube: hanging(), hangs: true, more: []string{"pipelineStatus=Failed"}, before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryUnknown, log: "cannot read Job"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inCluster(t, tc.kube)
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			if tc.before != "" {
				record := &omapi.PipelineStatus{RunID: testRunID, State: tc.before, Timestamp: testTimestamp, StartDate: testTimestamp}
				if tc.before.Terminal() {
					record.EndDate = testTimestamp + 1
				}
				require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", record))
			}
			limit := patience
			if tc.hangs {
				limit = hangLimit
			}
			result, log, err := reported(t, variablesOf(server, server.Token, tc.more...), limit)
			require.NoError(t, err, tc.reason)
			assert.Equal(t, report.Result{State: tc.want, Written: !tc.unwritten}, result, tc.reason)
			assert.Contains(t, log, tc.log, tc.reason)
			run := server.Run(t, "svc.nightly", testRunID)
			require.NotNil(t, run)
			assert.Equal(t, string(tc.want), run.State)
			assert.Equal(t, testTimestamp, run.Timestamp, "the timestamp is the Job's, or the record's")
			assert.Equal(t, tc.want.Terminal(), run.EndDate > 0)
			if tc.cause == "" {
				assert.Nil(t, run.Cause, tc.reason)
			} else if assert.NotNil(t, run.Cause, tc.reason) {
				assert.Contains(t, run.Cause.Step, diagnostics.StepName)
				assert.Equal(t, string(tc.cause), run.Cause.Name, tc.reason)
			}
			for _, secret := range []string{"hunter2", server.Token} {
				assert.NotContains(t, string(run.Rows[0]), secret, "no secret in the record")
				assert.NotContains(t, log, secret, "nor in the log")
			}
			if tc.cause != "" {
				assert.Contains(t, string(run.Rows[0]), "Reported by: preStop hook of pod p")
			}
		})
	}
}

// TestHookLeavesAnEndToWhoSeesIt: nobody writes a final state that the process itself may still contradict.
func TestHookLeavesAnEndToWhoSeesIt(t *testing.T) {
	stopped := newJob(func(job *batchv1.Job) { job.Annotations[identity.AnnotationStopRequested] = "2026-01-02T03:04:05Z" })
	failed := newJob(condition(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded))
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	cases := map[string]struct {
		reason  string
		job     *batchv1.Job
		sidecar bool
		state   corev1.ContainerState
		want    omapi.PipelineState
	}{
		"Stopped":          {reason: "the command waits for the process and reports", job: stopped, state: running, want: omapi.StateRunning},
		"StoppedSidecar":   {reason: "the sidecar sees the process end", job: stopped, sidecar: true, state: running, want: omapi.StateRunning},
		"StoppedAndEnded":  {reason: "nothing can come after it", job: stopped, sidecar: true, state: ended(143), want: omapi.StateStopped},
		"Deadline":         {reason: "there is nobody else in the pod", job: failed, state: running, want: omapi.StateFailed},
		"DeadlineSidecar":  {reason: "the sidecar sees the process end", job: failed, sidecar: true, state: running, want: omapi.StateRunning},
		"JobDeleted":       {reason: "as of a deadline", state: running, want: omapi.StateFailed},
		"JobDeletedBeside": {reason: "as of a deadline", sidecar: true, state: running, want: omapi.StateRunning},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			api := newPodAPI(tc.job)
			api.pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: testJob, Controller: new(true)}}
			if tc.sidecar {
				api.pod.Spec.InitContainers = []corev1.Container{{Name: identity.SidecarName, RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
			}
			api.set(tc.state, new(metav1.NewTime(time.Now().Add(time.Minute))))
			inCluster(t, api.mux)
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			record := &omapi.PipelineStatus{RunID: testRunID, State: omapi.StateRunning, Timestamp: testTimestamp, StartDate: testTimestamp}
			require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", record))
			_, log, err := reported(t, variablesOf(server, server.Token), patience)
			require.NoError(t, err, log)
			assert.Equal(t, string(tc.want), server.Run(t, "svc.nightly", testRunID).State, tc.reason)
		})
	}
}

// TestHookHidesWhatAWholeConfigurationHolds: OpenMetadata's own client gives no second part with the secrets.
func TestHookHidesWhatAWholeConfigurationHolds(t *testing.T) {
	inCluster(t, kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))))
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "svc", "nightly")
	environ := append(variablesOf(server, server.Token), "configSecret=",
		"config={workflowConfig: {openMetadataServerConfig: {hostPort: '"+server.URL+"', securityConfig: {jwtToken: '"+server.Token+"'}}}, source: {serviceConnection: {config: {password: hunter2}}}}")
	_, log, err := reported(t, environ, patience)
	require.NoError(t, err)
	record := string(server.Run(t, "svc.nightly", testRunID).Rows[0])
	assert.Contains(t, record, "connect with \\u003credacted\\u003e and bot-token", "the log is there")
	assert.NotContains(t, record+log, "hunter2")
}

// TestHookOfAPodWithLittleTime: whoever deletes a pod may give it less time than its manifest, which the variable has.
func TestHookOfAPodWithLittleTime(t *testing.T) {
	const given = patience
	cases := map[string]struct {
		reason string
		logs   bool
		server bool
		later  bool
		// left is short where no report is made, else as long as one may take on a slow machine in a part of it.
		left time.Duration
	}{
		"Server": {reason: "a server that does not answer is not waited for", server: true, left: 3 * time.Second},
		"Logs":   {reason: "nor is a node, and the report is made", logs: true, left: 10 * time.Second},
		"Later":  {reason: "a server that asks for more time than is left is asked again in time", later: true, left: 10 * time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			api := newPodAPI(newJob(noRetries))
			inCluster(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if tc.logs && strings.HasSuffix(req.URL.Path, "/log") {
					<-req.Context().Done()
					return
				}
				api.mux.ServeHTTP(w, req)
			}))
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			if tc.server {
				server.Fault(t, admin.Fault{Kind: admin.FaultHang, Path: "pipelineStatus"})
			}
			if tc.later {
				server.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusServiceUnavailable, Headers: map[string]string{"Retry-After": "10"}, Method: http.MethodPut, Count: 1})
			}
			begun := time.Now()
			api.set(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, new(metav1.NewTime(begun.Add(tc.left))))
			result, _, err := reported(t, variablesOf(server, server.Token), given)
			assert.Less(t, time.Since(begun), given/2, tc.reason)
			if tc.server {
				require.ErrorContains(t, err, "no answer from OpenMetadata", tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, report.Result{State: omapi.StateFailed, Written: true}, result, tc.reason)
		})
	}
}

func TestHookThatCannotReport(t *testing.T) {
	cases := map[string]struct {
		reason string
		token  admin.TokenKind
		fault  *admin.Fault
		is     error
		want   string
	}{
		"Expired": {reason: "a token ends", token: admin.TokenExpired, is: omapi.ErrUnauthorized, want: "Expired token!"},
		"NoRight": {reason: "a bot may lack the right", token: admin.TokenNoRight, is: omapi.ErrForbidden, want: "not allowed"},
		"Down":    {reason: "a server is away for longer than the hook may take", token: admin.TokenBot, fault: &admin.Fault{Kind: admin.FaultStatus, Status: 503}, want: "answered 503"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inCluster(t, kubernetes(newJob(condition(batchv1.JobFailed, ""))))
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			if tc.fault != nil {
				server.Fault(t, *tc.fault)
			}
			token := server.TokenOf(t, tc.token)
			begun := time.Now()
			_, log, err := reported(t, variablesOf(server, token), 3*time.Second)
			require.ErrorContains(t, err, tc.want, tc.reason)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is, tc.reason)
			}
			assert.Less(t, time.Since(begun), patience)
			assert.NotContains(t, err.Error()+log, token)
		})
	}
}

// TestHookProcess runs the command as a container's preStop hook does.
func TestHookProcess(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "svc", "nightly")
	cluster := []string{"KUBERNETES_SERVICE_HOST=", "KUBECONFIG=" + kubeconfig(t, kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))))}
	cases := []struct {
		reason  string
		environ []string
		code    int
		state   string
	}{
		{reason: "the run is not known", environ: []string{"config=", "pipelineRunId=", "ingestionPipelineFQN="}, code: exitError},
		{reason: "nobody can be told", environ: variablesOf(server, "no-token", "terminationGracePeriodSeconds=1"), code: exitError},
		{reason: "the report is made", environ: variablesOf(server, server.Token), code: exitOK, state: "failed"},
		{reason: "nothing is missing", environ: variablesOf(server, server.Token), code: exitOK, state: "failed"},
	}
	for _, tc := range cases {
		cmd, out := command(t, append(cluster, tc.environ...))
		err := cmd.Run()
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			require.NoError(t, err, out)
		}
		assert.Equal(t, tc.code, cmd.ProcessState.ExitCode(), "%s: %s", tc.reason, out)
		assert.NotContains(t, out.String(), server.Token)
		assert.NotContains(t, out.String(), "hunter2")
		run := server.Run(t, "svc.nightly", testRunID)
		if tc.state == "" {
			assert.Nil(t, run, tc.reason)
			continue
		}
		require.NotNil(t, run, tc.reason)
		assert.Equal(t, tc.state, run.State, tc.reason)
		assert.Len(t, run.Writes, 1, tc.reason)
	}
}

func TestOtherCommands(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args []string
		code int
		want string
	}{
		"Version": {[]string{"version"}, exitOK, "exithandler "},
		"Flag":    {[]string{"--version"}, exitOK, "exithandler "},
		"Help":    {[]string{"--help"}, exitOK, "Exit codes: 0 the report is made"},
		"Unknown": {[]string{"reprot"}, exitUsage, `unknown command "reprot"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, out := command(t, nil, tc.args...)
			_ = cmd.Run() // The code says it.
			assert.Equal(t, tc.code, cmd.ProcessState.ExitCode())
			assert.Contains(t, out.String(), tc.want)
		})
	}
}

// TestHinted: what is left where no Job is known.
func TestHinted(t *testing.T) {
	t.Parallel()
	pod := func(state corev1.ContainerState) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: state}}}}
	}
	cases := map[string]struct {
		reason string
		pod    *corev1.Pod
		hint   string
		want   report.Outcome
	}{
		"Succeeded":    {reason: "the operator's word", hint: "Succeeded", want: report.Complete},
		"success":      {reason: "OpenMetadata's word", hint: "success", want: report.Complete},
		"Failed":       {reason: "any other word is a failure, as in exit_handler.py", hint: "Failed", want: report.Failed},
		"None":         {reason: "no word is no end", want: report.Undecided},
		"Running":      {reason: "a pod that runs says nothing", pod: pod(corev1.ContainerState{}), hint: "Succeeded", want: report.Complete},
		"KnowsBetter":  {reason: "the pod saw how it ended", pod: pod(ended(0)), hint: "Failed", want: report.Complete},
		"KnowsWorse":   {reason: "so it did of a failure", pod: pod(ended(1)), hint: "Succeeded", want: report.Failed},
		"DoneUnhinted": {reason: "what is done is done", pod: pod(ended(0)), want: report.Complete},
		"RetryUnknown": {reason: "whether another attempt comes nobody says", pod: pod(ended(1)), want: report.Undecided},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &handler{environment: &environment{hint: tc.hint}}
			assert.Equal(t, tc.want, h.hinted(report.Sight{Pod: tc.pod}), tc.reason)
		})
	}
}

// TestLibrariesLog makes what is below log: it goes to the reporter's log, in its form.
func TestLibrariesLog(t *testing.T) {
	const certificate = "insecure-skip-tls-verify: true, "
	cases := map[string]struct {
		reason  string
		kube    http.Handler
		env     string
		library string
	}{
		"HTTP2Disabled": {reason: "the variable is for the workflow's own client", kube: kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))), env: "DISABLE_HTTP2=1", library: "HTTP2 has been explicitly disabled"},
		"HTTP2Ping":     {reason: "so it is wrongly", kube: kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))), env: "HTTP2_PING_TIMEOUT_SECONDS=x", library: "Illegal HTTP2_PING_TIMEOUT_SECONDS"},
		"Cut": {reason: "an answer breaks off", kube: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "{")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}), library: "Unexpected error when reading response body"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			om := omtest.Start(t, openmetadata.Options{})
			om.Pipeline(t, "svc", "nightly")
			kube := httptest.NewTLSServer(tc.kube)
			t.Cleanup(kube.Close)
			config := filepath.Join(t.TempDir(), "kubeconfig")
			text := strings.Replace(fmt.Sprintf(kubeconfigText, kube.URL), "{server:", "{"+certificate+"server:", 1)
			require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
			cmd, out := command(t, append(variablesOf(om, om.Token, "pipelineStatus=Failed"), "KUBECONFIG="+config, "KUBERNETES_SERVICE_HOST=", tc.env))
			require.NoError(t, cmd.Run(), out)
			libraries := 0
			for line := range strings.Lines(out.String()) {
				var entry struct {
					Msg    string `json:"msg"`
					Logger string `json:"logger"`
				}
				require.NoError(t, json.Unmarshal([]byte(line), &entry), "%s: %s", tc.reason, line)
				if strings.Contains(entry.Msg, tc.library) && entry.Logger == "libraries" {
					libraries++
				}
			}
			assert.Positive(t, libraries, "%s: %s", tc.reason, out)
			assert.NotContains(t, out.String(), "goroutine")
			run := om.Run(t, "svc.nightly", testRunID)
			require.NotNil(t, run, tc.reason)
			assert.Equal(t, "failed", run.State, tc.reason)
		})
	}
}
