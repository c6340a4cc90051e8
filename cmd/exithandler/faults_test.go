package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// TestFaultsOfOpenMetadata: each ends inside the deadline, in the one right state or in a clear error.
func TestFaultsOfOpenMetadata(t *testing.T) {
	const budget = 600 * time.Millisecond
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
				result, _, err := reported(t, variablesOf(server, server.Token), 20*budget)
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
			begun := time.Now()
			_, log, err := reported(t, variablesOf(server, server.Token), budget)
			require.ErrorContains(t, err, tc.want, tc.reason)
			assert.NotContains(t, err.Error()+log, server.Token)
			assert.Less(t, time.Since(begun), patience, "nothing blocks the pod")
		})
	}
}

func TestOpenMetadataRefusesConnections(t *testing.T) {
	inCluster(t, kubernetes(newJob(condition(batchv1.JobFailed, ""))))
	server := omtest.Start(t, openmetadata.Options{})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	server.URL = closed.URL + "/api"
	_, _, err := reported(t, variablesOf(server, server.Token), time.Second)
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
	_, _, err = reported(t, environ, time.Second)
	require.ErrorContains(t, err, "certificate has expired")
}

// TestFaultsOfKubernetes: what cannot be read is missing, and the report is made all the same.
func TestFaultsOfKubernetes(t *testing.T) {
	failing := newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))
	const (
		everything = "."
		reset      = -1
	)
	cases := map[string]struct {
		reason string
		path   string
		code   int
		// want is the state; where the Job cannot be read the hint decides.
		want omapi.PipelineState
		log  string
	}{
		"401":         {reason: "the account's token ended", path: everything, code: 401, want: omapi.StateFailed, log: "cannot read Job"},
		"403":         {reason: "no Role", path: everything, code: 403, want: omapi.StateFailed, log: "needs the Role in deploy/"},
		"403Job":      {reason: "a Role without Jobs", path: "/jobs/", code: 403, want: omapi.StateFailed, log: "cannot read Job"},
		"403Pods":     {reason: "a Role without pods", path: "/pods$", code: 403, want: omapi.StateFailed, log: "cannot read the pods"},
		"403Logs":     {reason: "a Role without logs", path: "/log$", code: 403, want: omapi.StateFailed, log: "cannot read the log"},
		"403Events":   {reason: "a Role without events", path: "/events$", code: 403, want: omapi.StateFailed, log: "cannot read the events"},
		"404":         {reason: "everything is deleted", path: everything, code: 404, want: omapi.StateFailed, log: "cannot read Job"},
		"410":         {reason: "a list that is too old", path: "/pods$", code: 410, want: omapi.StateFailed, log: "cannot read the pods"},
		"429":         {reason: "an API that limits", path: "/events$", code: 429, want: omapi.StateFailed, log: "cannot read the events"},
		"500":         {reason: "etcd is away", path: everything, code: 500, want: omapi.StateFailed, log: "cannot read Job"},
		"Reset":       {reason: "an API server that dies", path: everything, code: reset, want: omapi.StateFailed, log: "cannot read Job"},
		"HangAll":     {reason: "a control plane that does not answer", path: everything, want: omapi.StateFailed, log: "cannot read Job"},
		"HangLogs":    {reason: "a node that does not answer", path: "/log$", want: omapi.StateFailed, log: "cannot read the log"},
		"HangJob":     {reason: "half of a control plane", path: "/jobs/", want: omapi.StateFailed, log: "cannot read Job"},
		"HangEvents":  {reason: "events are in a store of their own", path: "/events$", want: omapi.StateFailed, log: "cannot read the events"},
		"HangPodList": {reason: "a list that is too large", path: "/pods$", want: omapi.StateFailed, log: "cannot read the pods"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pattern, sound := regexp.MustCompile(tc.path), kubernetes(failing)
			inCluster(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				switch {
				case !pattern.MatchString(req.URL.Path):
					sound.ServeHTTP(w, req)
				case tc.code == 0:
					<-req.Context().Done()
				case tc.code == reset:
					panic(http.ErrAbortHandler)
				default:
					reply(w, tc.code, &metav1.Status{
						TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(tc.code),
						Reason: map[int]metav1.StatusReason{401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 410: metav1.StatusReasonExpired, 429: metav1.StatusReasonTooManyRequests, 500: metav1.StatusReasonInternalError}[tc.code],
					})
				}
			}))
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", &omapi.PipelineStatus{RunID: testRunID, State: omapi.StateRunning, Timestamp: testTimestamp, StartDate: testTimestamp}))
			begun := time.Now()
			result, log, err := reported(t, variablesOf(server, server.Token, "pipelineStatus=Failed"), 3*time.Second)
			require.NoError(t, err, tc.reason)
			assert.Less(t, time.Since(begun), patience)
			assert.Equal(t, tc.want, result.State, tc.reason)
			assert.Contains(t, log, tc.log, tc.reason)
			run := server.Run(t, "svc.nightly", testRunID)
			assert.Contains(t, string(run.Rows[0]), "What could not be read", tc.reason)
		})
	}
}

func TestKubernetesRefusesConnections(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, kubeconfigText, closed.URL), 0o600))
	closed.Close()
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", path)
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "svc", "nightly")
	result, log, err := reported(t, variablesOf(server, server.Token, "pipelineStatus=Failed"), 3*time.Second)
	require.NoError(t, err)
	assert.Equal(t, omapi.StateFailed, result.State, "the hint is all there is")
	assert.Contains(t, log, "connection refused")
}
