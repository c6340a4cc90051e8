package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// TestFaultsOfOpenMetadata: each ends inside the deadline, in the one right state or in a clear error.
func TestFaultsOfOpenMetadata(t *testing.T) {
	// A server that answers must have done so in time on a slow machine too; one that does not takes all that it is given.
	const budget, hung = 3 * time.Second, 600 * time.Millisecond
	status := func(code int) admin.Fault { return admin.Fault{Kind: admin.FaultStatus, Status: code} }
	cases := map[string]struct {
		reason string
		fault  admin.Fault
		// passing says that the fault goes away, and the report is made after all.
		passing bool
		want    string
	}{
		"Reset":       {reason: "a server that dies", fault: admin.Fault{Kind: admin.FaultReset}, passing: true, want: "no answer from OpenMetadata"},
		"Hang":        {reason: "a server that does not answer", fault: admin.Fault{Kind: admin.FaultHang}, want: "no answer from OpenMetadata"},
		"Slow":        {reason: "a server under load", fault: admin.Fault{Kind: admin.FaultDelay, Delay: admin.Duration(100 * time.Millisecond)}, passing: true},
		"401":         {reason: "a token that ended", fault: status(401), want: "answered 401"},
		"403":         {reason: "a bot without the right", fault: status(403), want: "answered 403"},
		"404":         {reason: "a pipeline that was deleted", fault: status(404), want: "answered 404"},
		"409":         {reason: "other writers", fault: admin.Fault{Kind: admin.FaultStatus, Status: 409, Method: http.MethodPut}, passing: true, want: "answered 409"},
		"429":         {reason: "a server that limits", fault: admin.Fault{Kind: admin.FaultStatus, Status: 429, Headers: map[string]string{"Retry-After": "1"}}, want: "answered 429"},
		"500":         {reason: "a database that is away", fault: status(500), passing: true, want: "answered 500"},
		"503":         {reason: "a restart", fault: status(503), passing: true, want: "answered 503"},
		"504":         {reason: "a proxy that waits no longer", fault: status(504), passing: true, want: "answered 504"},
		"Truncated":   {reason: "a proxy that dies", fault: admin.Fault{Kind: admin.FaultTruncate, Method: http.MethodGet}, passing: true, want: "not the JSON"},
		"NotJSON":     {reason: "a login page", fault: admin.Fault{Kind: admin.FaultGarbage}, passing: true, want: "not the JSON"},
		"AnswersLost": {reason: "the write is done, its answer is not", fault: admin.Fault{Kind: admin.FaultStatus, Status: 502, Method: http.MethodPut, AfterHandling: true}, passing: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inCluster(t, kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))))
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			before := &omapi.PipelineStatus{RunID: testRunID, State: omapi.StateRunning, Timestamp: testTimestamp, StartDate: testTimestamp}
			require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", before))
			tc.fault.Path = "pipelineStatus"
			if tc.passing {
				passing := tc.fault
				passing.Count = 2
				server.Fault(t, passing)
				begun := time.Now()
				result, _, err := reported(t, variablesOf(server, server.Token), patience)
				require.NoError(t, err, tc.reason)
				assert.Equal(t, omapi.StateFailed, result.State, tc.reason)
				assert.Less(t, time.Since(begun), patience)
				run := server.Run(t, "svc.nightly", testRunID)
				assert.Equal(t, "failed", run.State)
				assert.Len(t, run.Rows, 1)
			}
			if tc.want == "" {
				return
			}
			require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", before))
			server.ClearFaults()
			server.Fault(t, tc.fault)
			limit := budget
			if tc.fault.Kind == admin.FaultHang {
				limit = hung
			}
			begun := time.Now()
			_, log, err := reported(t, variablesOf(server, server.Token), limit)
			require.ErrorContains(t, err, tc.want, tc.reason)
			assert.NotContains(t, err.Error()+log, server.Token)
			assert.Less(t, time.Since(begun), patience, "nothing blocks the pod")
		})
	}
}

func TestOpenMetadataRefusesConnections(t *testing.T) {
	inCluster(t, kubernetes(newJob(condition(batchv1.JobFailed, ""))))
	server := omtest.Start(t, openmetadata.Options{})
	server.URL = refusing + "/api"
	_, _, err := reported(t, variablesOf(server, server.Token), 3*time.Second)
	require.ErrorContains(t, err, "connection refused")
}

// TestExpiredCertificate: the authority is the right one, the time is not.
func TestExpiredCertificate(t *testing.T) {
	inCluster(t, kubernetes(newJob(condition(batchv1.JobFailed, ""))))
	certificates, err := openmetadata.NewCertificates([]string{"127.0.0.1"})
	require.NoError(t, err)
	certificates.SetExpired(true)
	// Not httptest's TLS, which has a certificate of its own for addresses without a name.
	listener, err := tls.Listen("tcp", "127.0.0.1:0", certificates.TLS())
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }() // It ends with the test.
	t.Cleanup(func() { _ = server.Close() })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte(certificates.CA()), 0o600))
	environ := []string{
		"config=workflowConfig: {openMetadataServerConfig: {hostPort: 'https://" + listener.Addr().String() + "/api', verifySSL: validate, sslConfig: {caCertificate: " + ca + "}}}",
		"pipelineRunId=" + testRunID, "ingestionPipelineFQN=svc.nightly", "jobName=" + testJob, "namespace=pipelines", "podName=p",
	}
	_, _, err = reported(t, environ, 3*time.Second)
	require.ErrorContains(t, err, "certificate has expired")
}

const (
	everything = "."
	reset      = -1
	hang       = 0
)

// faulty answers some paths with a code, and others as the sound API does.
func faulty(path string, code int, sound http.Handler) http.Handler {
	pattern := regexp.MustCompile(path)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case !pattern.MatchString(req.URL.Path):
			sound.ServeHTTP(w, req)
		case code == hang:
			<-req.Context().Done()
		case code == reset:
			panic(http.ErrAbortHandler)
		default:
			reply(w, code, &metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code),
				Reason: map[int]metav1.StatusReason{401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 410: metav1.StatusReasonExpired, 429: metav1.StatusReasonTooManyRequests, 500: metav1.StatusReasonInternalError}[code],
			})
		}
	})
}

// TestFaultsOfKubernetes: what cannot be read is missing, and the report is made all the same: of the Job where it can be
// read, else of what whoever started the handler says, else of nothing, which changes no final state.
func TestFaultsOfKubernetes(t *testing.T) {
	cases := map[string]struct {
		reason string
		path   string
		code   int
		// noJob: the Job cannot be read.
		noJob bool
		log   string
	}{
		"401":        {reason: "the account's token ended", path: everything, code: 401, noJob: true, log: "cannot read Job"},
		"403":        {reason: "no Role", path: everything, code: 403, noJob: true, log: "needs the Role in deploy/"},
		"403Job":     {reason: "a Role without Jobs", path: "/jobs/", code: 403, noJob: true, log: "cannot read Job"},
		"403Pods":    {reason: "a Role without pods", path: "/pods$", code: 403, log: "cannot read the pods"},
		"403Logs":    {reason: "a Role without logs", path: "/log$", code: 403, log: "cannot read the log"},
		"403Events":  {reason: "a Role without events", path: "/events$", code: 403, log: "cannot read the events"},
		"404":        {reason: "everything is deleted", path: everything, code: 404, noJob: true, log: "cannot read Job"},
		"410":        {reason: "a list that is too old", path: "/pods$", code: 410, log: "cannot read the pods"},
		"429":        {reason: "an API that limits", path: "/events$", code: 429, log: "cannot read the events"},
		"500":        {reason: "etcd is away", path: everything, code: 500, noJob: true, log: "cannot read Job"},
		"500Logs":    {reason: "a node that is away", path: "/log$", code: 500, log: "cannot read the log"},
		"Reset":      {reason: "an API server that dies", path: everything, code: reset, noJob: true, log: "cannot read Job"},
		"HangAll":    {reason: "a control plane that does not answer", path: everything, noJob: true, log: "cannot read Job"},
		"HangLogs":   {reason: "a node that does not answer", path: "/log$", log: "cannot read the log"},
		"HangJob":    {reason: "half of a control plane", path: "/jobs/", noJob: true, log: "cannot read Job"},
		"HangEvents": {reason: "events are in a store of their own", path: "/events$", log: "cannot read the events"},
		"HangPods":   {reason: "a list that is too large", path: "/pods$", log: "cannot read the pods"},
	}
	const (
		running, success = omapi.StateRunning, omapi.StateSuccess
		partial, failed  = omapi.StatePartialSuccess, omapi.StateFailed
		stopped          = omapi.StateStopped
	)
	// starts are what the record says before; known is what becomes of it by the Job, which failed.
	starts := []struct{ before, known, hinted, unhinted omapi.PipelineState }{
		{before: running, known: failed, hinted: failed, unhinted: running},
		{before: success, known: failed, hinted: failed, unhinted: success},
		{before: partial, known: failed, hinted: failed, unhinted: partial},
		{before: failed, known: failed, hinted: failed, unhinted: failed},
		{before: stopped, known: stopped, hinted: stopped, unhinted: stopped},
	}
	type try struct {
		runID, hint  string
		before, want omapi.PipelineState

		result report.Result
		log    string
		err    error
	}
	timestamp := testTimestamp // No two runs of a pipeline have the same.
	sound := kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)))
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "svc", "nightly")
	client := server.Client(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inCluster(t, faulty(tc.path, tc.code, sound))
			limit := patience
			if tc.code == hang || tc.code == reset {
				limit = hangLimit // client-go tries again and again what is reset.
			}
			var tries []*try
			for _, start := range starts {
				wants := map[string]omapi.PipelineState{"": start.known}
				if tc.noJob {
					wants = map[string]omapi.PipelineState{"": start.unhinted, "Failed": start.hinted}
				}
				for hint, want := range wants {
					tries = append(tries, &try{runID: uuid.NewString(), before: start.before, hint: hint, want: want})
				}
			}
			var wg sync.WaitGroup // Together, as a hang takes its time.
			for _, try := range tries {
				timestamp++
				require.NoError(t, client.PutStatus(t.Context(), "svc.nightly", &omapi.PipelineStatus{
					RunID: try.runID, State: try.before, Timestamp: timestamp, StartDate: timestamp, EndDate: timestamp + 1,
				}))
				wg.Go(func() {
					environ := variablesOf(server, server.Token, "pipelineRunId="+try.runID, "pipelineStatus="+try.hint)
					try.result, try.log, try.err = reported(t, environ, limit)
				})
			}
			wg.Wait()
			for _, try := range tries {
				require.NoError(t, try.err, tc.reason)
				assert.Equal(t, try.want, try.result.State, "%s; from %s with hint %q", tc.reason, try.before, try.hint)
				assert.Contains(t, try.log, tc.log, tc.reason)
				run := server.Run(t, "svc.nightly", try.runID)
				assert.Equal(t, string(try.want), run.State, tc.reason)
				if try.want == failed && try.result.Written {
					assert.Contains(t, string(run.Rows[0]), "What could not be read", tc.reason)
				}
			}
		})
	}
}

// TestFaultsOfKubernetesForTheSidecar: the end is reported when the API is back, or left to others; the pod is not held.
//
//nolint:gocognit // One story: a fault, the end of the main container, and what becomes of both.
func TestFaultsOfKubernetesForTheSidecar(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		path   string
		code   int
		// watchEvent is what a watch gives in place of the pod.
		watchEvent string
		// lasting says that the fault does not go away.
		lasting bool
		log     string
	}{
		"401":         {reason: "the account's token ended", path: everything, code: 401, lasting: true, log: "the pod was never seen: the API refuses it as Unauthorized"},
		"403":         {reason: "no Role", path: everything, code: 403, lasting: true, log: "the pod was never seen: the API refuses it as Forbidden"},
		"401Passing":  {reason: "a token that is renewed", path: everything, code: 401, log: "the pod is not seen"},
		"429":         {reason: "an API that limits", path: everything, code: 429, log: "the pod is not seen"},
		"500":         {reason: "etcd is away", path: everything, code: 500, log: "the pod is not seen"},
		"Reset":       {reason: "an API server that dies", path: everything, code: reset}, // client-go tries again by itself.
		"410":         {reason: "a watch that is too old", path: "/pods$", watchEvent: `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}}`, log: "too old resource version"},
		"HangLasting": {reason: "a control plane that does not answer", path: everything, code: hang, lasting: true, log: "the pod was never seen: no answer from Kubernetes"},
		"500Logs":     {reason: "a node that is away", path: "/log$", code: 500, log: "cannot read the log"},
		"500Events":   {reason: "events are in a store of their own", path: "/events$", code: 500, log: "cannot read the events"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", &omapi.PipelineStatus{RunID: testRunID, State: omapi.StateRunning, Timestamp: testTimestamp, StartDate: testTimestamp}))
			api := newPodAPI(newJob(noRetries))
			var gone atomic.Bool
			pattern, broken := regexp.MustCompile(tc.path), faulty(tc.path, tc.code, api.mux)
			seen := make(chan struct{}, 1)
			handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if gone.Load() || !pattern.MatchString(req.URL.Path) {
					api.mux.ServeHTTP(w, req)
					return
				}
				if !strings.Contains(req.URL.Path, "/jobs/") {
					select {
					case seen <- struct{}{}:
					default:
					}
				}
				if tc.watchEvent != "" {
					fmt.Fprintln(w, tc.watchEvent)
					return
				}
				broken.ServeHTTP(w, req)
			})
			cmd, out := command(t, append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, handler)), "watch")
			require.NoError(t, cmd.Start())
			reads := tc.path == everything || tc.watchEvent != ""
			if reads {
				<-seen
			}
			api.set(ended(1), nil)
			if !reads {
				<-seen
			} else if !tc.lasting {
				gone.Store(true)
			}
			if !tc.lasting {
				require.Eventually(t, func() bool { return server.Run(t, "svc.nightly", testRunID).State == "failed" }, patience, 10*time.Millisecond, tc.reason)
			}
			begun := time.Now()
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			_ = cmd.Wait() // The code says it.
			assert.Less(t, time.Since(begun), patience/2, "nothing holds the pod")
			assert.Contains(t, out.String(), tc.log, tc.reason)
			assert.NotContains(t, out.String(), server.Token)
			want, code := "failed", exitOK
			if tc.lasting {
				want, code = "running", exitError
			}
			assert.Equal(t, code, cmd.ProcessState.ExitCode(), out)
			assert.Equal(t, want, server.Run(t, "svc.nightly", testRunID).State, tc.reason)
		})
	}
}

// TestExitCodeOfFaults: a hook's exit code says whether OpenMetadata was told.
func TestExitCodeOfFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		fault  admin.Fault
		code   int
	}{
		"401":       {reason: "a token that ended", fault: admin.Fault{Kind: admin.FaultStatus, Status: 401}, code: exitError},
		"403":       {reason: "a bot without the right", fault: admin.Fault{Kind: admin.FaultStatus, Status: 403, Method: http.MethodPut}, code: exitError},
		"404":       {reason: "a pipeline that was deleted", fault: admin.Fault{Kind: admin.FaultStatus, Status: 404}, code: exitError},
		"409":       {reason: "writers that do not end", fault: admin.Fault{Kind: admin.FaultStatus, Status: 409, Method: http.MethodPut}, code: exitError},
		"409Once":   {reason: "another writer came first", fault: admin.Fault{Kind: admin.FaultStatus, Status: 409, Method: http.MethodPut, Count: 1}, code: exitOK},
		"429":       {reason: "a server that limits", fault: admin.Fault{Kind: admin.FaultStatus, Status: 429}, code: exitError},
		"500":       {reason: "a database that is away", fault: admin.Fault{Kind: admin.FaultStatus, Status: 500}, code: exitError},
		"503Once":   {reason: "a restart", fault: admin.Fault{Kind: admin.FaultStatus, Status: 503, Count: 1}, code: exitOK},
		"Reset":     {reason: "a server that dies", fault: admin.Fault{Kind: admin.FaultReset}, code: exitError},
		"Hang":      {reason: "a server that does not answer", fault: admin.Fault{Kind: admin.FaultHang}, code: exitError},
		"Truncated": {reason: "a proxy that dies", fault: admin.Fault{Kind: admin.FaultTruncate, Method: http.MethodGet}, code: exitError},
		"NotJSON":   {reason: "a login page", fault: admin.Fault{Kind: admin.FaultGarbage}, code: exitError},
		"Lost":      {reason: "the write is done, and its answer lost", fault: admin.Fault{Kind: admin.FaultStatus, Status: 502, Method: http.MethodPut, AfterHandling: true}, code: exitOK},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", &omapi.PipelineStatus{RunID: testRunID, State: omapi.StateRunning, Timestamp: testTimestamp, StartDate: testTimestamp}))
			tc.fault.Path = "pipelineStatus"
			server.Fault(t, tc.fault)
			cluster := kubeconfig(t, kubernetes(newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))))
			environ := append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+cluster)
			if tc.code == exitError {
				environ = append(environ, "terminationGracePeriodSeconds=7") // A fault that lasts takes all of it.
			}
			cmd, out := command(t, environ)
			begun := time.Now()
			_ = cmd.Run() // The code says it.
			assert.Less(t, time.Since(begun), patience/2, "nothing blocks the pod")
			assert.Equal(t, tc.code, cmd.ProcessState.ExitCode(), "%s: %s", tc.reason, out)
			assert.NotContains(t, out.String(), server.Token)
			assert.Equal(t, tc.code == exitOK, server.Run(t, "svc.nightly", testRunID).State == "failed", tc.reason)
		})
	}
}

func TestKubernetesRefusesConnections(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, kubeconfigText, refusing), 0o600))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", path)
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "svc", "nightly")
	result, log, err := reported(t, variablesOf(server, server.Token, "pipelineStatus=Failed"), patience)
	require.NoError(t, err)
	assert.Equal(t, omapi.StateFailed, result.State, "the hint is all there is")
	assert.Contains(t, log, "connection refused")
}
