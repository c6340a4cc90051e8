package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// TestRunAfterACompletedAttempt: the Job tries again as an injected container failed, but the work is done.
func TestRunAfterACompletedAttempt(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		// code is how the ingestion container of the first attempt ended.
		code  int32
		works bool
		want  string
	}{
		"Completed": {reason: "nothing is done twice", want: "success"},
		"Failed":    {reason: "this is what another attempt is for", code: 1, works: true, want: "running"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			state := omapi.StateSuccess
			if tc.works {
				state = omapi.StateFailed
			}
			record := &omapi.PipelineStatus{RunID: testRunID, State: state, Timestamp: testTimestamp, StartDate: testTimestamp, EndDate: testTimestamp + 1}
			require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", record))
			api := newPodAPI(newJob(func(job *batchv1.Job) { job.Status.Failed = 1 }))
			first := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "first"}, Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{
				{Name: "istio-proxy", State: ended(1)}, {Name: "ingestion", State: ended(tc.code)},
			}}}
			api.earlier = append(api.earlier, first)
			cmd, out := command(t, append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, api.mux)), "run", "--", "echo", "at work")
			require.NoError(t, cmd.Run(), out)
			if tc.works {
				assert.Contains(t, out.String(), "at work", tc.reason)
			} else {
				assert.NotContains(t, out.String(), "at work\n", tc.reason)
				assert.Contains(t, out.String(), "an earlier attempt has completed the run")
			}
			assert.Equal(t, tc.want, server.Run(t, "svc.nightly", testRunID).State, tc.reason)
		})
	}
}
