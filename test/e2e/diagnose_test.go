package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// TestReportedByHand: a run that died without a word is reported afterwards, by a person.
func TestReportedByHand(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		reason  string
		service string
		report  func(t *testing.T, w *world, fqn string, run k8sclient.RunResult)
		by      string
	}{
		"Outside": {reason: "from the person's own machine", service: "outside", report: reportOutside, by: "pipelinectl diagnose"},
		"Pod":     {reason: "in a debug pod, without root and without a file system to write to", service: "inside", report: reportInPod, by: "of pod debug"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file, fqn := w.pipeline(t, tc.service, map[string]string{"fault": "signal:SIGSEGV"}, "")
			parameters := []string{"--set", "sidecar=never", "--set", "backoffLimit=0"}
			_, err := w.command.Run(t.Context(), append([]string{"deploy", "-f", file}, parameters...)...)
			require.NoError(t, err)
			var started k8sclient.RunResult
			require.NoError(t, w.command.RunJSON(t.Context(), &started, append([]string{"run", fqn}, parameters...)...))
			w.awaitJob(t, started.JobName)
			run, err := w.standIn.Admin.Run(t.Context(), fqn, started.RunID)
			require.NoError(t, err)
			require.Equal(t, string(omapi.StateRunning), run.State, "nobody was there to tell")

			tc.report(t, w, fqn, started)
			run = w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal)
			assert.Equal(t, string(omapi.StateFailed), run.State, tc.reason)
			require.NotNil(t, run.Cause)
			assert.Equal(t, string(diagnostics.CategoryApplicationError), run.Cause.Name)
			assert.Contains(t, run.Cause.Error, "SIGSEGV")
			assert.Contains(t, string(run.Rows[0]), tc.by)
		})
	}
}

// awaitJob waits until the Job has decided.
func (w *world) awaitJob(t *testing.T, name string) {
	t.Helper()
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		job, err := w.Kube.BatchV1().Jobs(w.namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && report.OutcomeOf(job).Final(), err
	})
	require.NoError(t, err)
}

func reportOutside(t *testing.T, w *world, fqn string, run k8sclient.RunResult) {
	t.Helper()
	text, err := w.command.Run(t.Context(), "diagnose", fqn)
	require.NoError(t, err)
	assert.Contains(t, text, "Run: "+run.RunID+"\nCategory: ApplicationError\n", "the newest run of the pipeline")
	_, err = w.command.Run(t.Context(), "diagnose", run.JobName, "--hooks")
	require.NoError(t, err, "the hook is in place, it only was not called")
	for _, want := range []string{"In OpenMetadata: failed, written now", "In OpenMetadata: failed, nothing was missing"} {
		text, err = w.command.Run(t.Context(), "diagnose", run.RunID, "--report")
		require.NoError(t, err)
		assert.Contains(t, text, want)
	}
}

func reportInPod(t *testing.T, w *world, fqn string, run k8sclient.RunResult) {
	t.Helper()
	no, yes := false, true
	from := func(name, configMap, secret string) corev1.EnvVar {
		source := &corev1.EnvVarSource{}
		if configMap != "" {
			source.ConfigMapKeyRef = &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}, Key: "config"}
		} else {
			source.SecretKeyRef = &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "config"}
		}
		return corev1.EnvVar{Name: name, ValueFrom: source}
	}
	pods := w.Kube.CoreV1().Pods(w.namespace)
	_, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "debug"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "openmetadata-ingestion", RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "exithandler", Image: "pipelinectl.local/exithandler:dev", ImagePullPolicy: corev1.PullNever,
				Env: []corev1.EnvVar{
					from("config", "om-config-inside-metadata", ""), from("configSecret", "", "om-secret-inside-metadata"),
					{Name: "pipelineRunId", Value: run.RunID}, {Name: "ingestionPipelineFQN", Value: fqn},
					{Name: "jobName", Value: run.JobName}, {Name: "namespace", Value: w.namespace},
				},
				SecurityContext: &corev1.SecurityContext{
					RunAsNonRoot: &yes, ReadOnlyRootFilesystem: &yes, AllowPrivilegeEscalation: &no,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	var phase corev1.PodPhase
	err = eventually(t.Context(), func(ctx context.Context) (bool, error) {
		pod, err := pods.Get(ctx, "debug", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		phase = pod.Status.Phase
		return phase == corev1.PodSucceeded || phase == corev1.PodFailed, nil
	})
	require.NoError(t, err)
	log, err := pods.GetLogs("debug", &corev1.PodLogOptions{}).DoRaw(t.Context())
	require.NoError(t, err)
	assert.Equal(t, corev1.PodSucceeded, phase, string(log))
	assert.Contains(t, string(log), "the run's state is reported")
}
