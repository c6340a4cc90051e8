package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// TestGateway: behind a proxy that wants the headers of openMetadataServerConnection.extraHeaders every reporter reports, and
// none without them.
func TestGateway(t *testing.T) {
	t.Parallel()
	const header = "X-Gateway-Key"
	decided := newJob(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))
	cases := map[string]struct {
		args   []string
		job    *batchv1.Job
		before omapi.PipelineState
		want   string
	}{
		"Init":    {args: []string{"run", "--", "true"}, job: newJob(noRetries), before: omapi.StateQueued, want: "running"},
		"Hook":    {job: decided, before: omapi.StateRunning, want: "failed"},
		"Sidecar": {args: []string{"watch"}, job: newJob(noRetries), before: omapi.StateRunning, want: "failed"},
	}
	for name, tc := range cases {
		for _, with := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "WithHeader", false: "Without"}[with], func(t *testing.T) {
				t.Parallel()
				server := omtest.Start(t, openmetadata.Options{})
				server.Pipeline(t, "svc", "nightly")
				require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", &omapi.PipelineStatus{RunID: testRunID, State: tc.before, Timestamp: testTimestamp}))
				environ := variablesOf(server, server.Token)
				environ[0] = strings.ReplaceAll(environ[0], server.URL, server.Gateway(t, header, "key-of-the-gateway"))
				if with {
					environ[0] = strings.Replace(environ[0], "{hostPort:", "{extraHeaders: {"+header+": <from-secret>}, hostPort:", 1)
					environ[1] += "\n/workflowConfig/openMetadataServerConfig/extraHeaders/" + header + ": key-of-the-gateway"
				}
				api := newPodAPI(tc.job)
				cmd, out := command(t, append(environ, "terminationGracePeriodSeconds=7", "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, api.mux)), tc.args...)
				require.NoError(t, cmd.Start())
				if name == "Sidecar" {
					require.Eventually(t, func() bool { api.mu.Lock(); defer api.mu.Unlock(); return api.watches > 0 }, patience, 10*time.Millisecond)
					api.set(ended(1), nil)
					if with {
						require.Eventually(t, func() bool { return server.Run(t, "svc.nightly", testRunID).State == tc.want }, patience, 10*time.Millisecond)
					}
					require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
				}
				_ = cmd.Wait() // The record says it.
				want := string(tc.before)
				if with {
					want = tc.want
				}
				assert.Equal(t, want, server.Run(t, "svc.nightly", testRunID).State, out)
				assert.NotContains(t, out.String(), "key-of-the-gateway")
			})
		}
	}
}
