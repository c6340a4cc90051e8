package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/harness"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// serveIn runs pipelinectl serve of a command's namespace until it is stopped, with sweeps one after another.
func serveIn(t *testing.T, command *harness.Command) (stop func()) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "serve-*.log")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	serve, err := command.Start(ctx, log, "serve", "--sweep-interval", "1s", "--sweep-age", "5s")
	require.NoError(t, err)
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		_ = serve.Wait() // Interrupted.
		data, _ := os.ReadFile(filepath.Clean(log.Name()))
		t.Logf("pipelinectl serve:\n%s", data)
		assert.NoError(t, log.Close())
	}
	t.Cleanup(stop)
	return stop
}

// TestTwoPlaces is row 33 of the table: a run that goes on in one namespace is not touched by the serve of another, restarts
// included, and a run whose Job was deleted by force while its serve was down is ended by that after its restart.
func TestTwoPlaces(t *testing.T) {
	w := newWorld(t)
	other, err := w.NewCommand(w.standIn, t.TempDir(), w.emptyNamespace(t, "b"), harness.Parameters{IngestionImage: lightImage})
	require.NoError(t, err)
	file, fqn := w.pipeline(t, "places", map[string]string{"duration": "600"}, "")
	var here, there k8sclient.RunResult
	for command, run := range map[*harness.Command]*k8sclient.RunResult{w.command: &here, other: &there} {
		_, err := command.Run(t.Context(), "deploy", "-f", file)
		require.NoError(t, err)
		stop := serveIn(t, command)
		require.NoError(t, command.RunJSON(t.Context(), run, "run", fqn))
		w.awaitWork(t, fqn, run.RunID)
		stop()
	}

	// The Job and its pod go while their serve is down, and nobody in the pod can tell.
	_, err = w.standIn.Admin.AddFault(t.Context(), admin.Fault{Kind: admin.FaultStatus, Status: http.StatusServiceUnavailable, UserAgent: "^" + reporters})
	require.NoError(t, err)
	none, orphan := int64(0), metav1.DeletePropagationOrphan
	ofRun := metav1.ListOptions{LabelSelector: identity.LabelRunID + "=" + here.RunID}
	require.NoError(t, w.Kube.BatchV1().Jobs(w.namespace).Delete(t.Context(), here.JobName, metav1.DeleteOptions{PropagationPolicy: &orphan}))
	require.NoError(t, eventually(t.Context(), func(ctx context.Context) (bool, error) {
		if err := w.Kube.CoreV1().Pods(w.namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &none}, ofRun); err != nil {
			return false, err
		}
		pods, err := w.Kube.CoreV1().Pods(w.namespace).List(ctx, ofRun)
		jobs, jobsErr := w.Kube.BatchV1().Jobs(w.namespace).List(ctx, ofRun)
		return err == nil && jobsErr == nil && len(pods.Items)+len(jobs.Items) == 0, err
	}))
	serveIn(t, other)
	serveIn(t, w.command)

	run := w.await(t, fqn, here.RunID, omapi.PipelineState.Terminal)
	assert.Equal(t, string(omapi.StateFailed), run.State)
	require.NotNil(t, run.Cause)
	assert.Contains(t, run.Cause.Error, "no Job of this run is left in namespace "+w.namespace)
	assert.Contains(t, run.Writes[len(run.Writes)-1].UserAgent, "pipelinectl/")
	beside, err := w.standIn.Admin.Run(t.Context(), fqn, there.RunID)
	require.NoError(t, err)
	assert.Equal(t, string(omapi.StateRunning), beside.State, "it goes on: %+v", beside.Writes)
}

// inlineConfig is a workflow configuration as OpenMetadata's own client gives it to a pod: whole, in one variable.
func (w *world) inlineConfig(t *testing.T, service, fqn string) string {
	t.Helper()
	config, err := yaml.Marshal(map[string]any{
		"source": map[string]any{
			"type": "customdatabase", "serviceName": service, "sourceConfig": map[string]any{"config": map[string]any{"type": "DatabaseMetadata"}},
		},
		"sink": map[string]any{"type": "metadata-rest", "config": map[string]any{}},
		"workflowConfig": map[string]any{"openMetadataServerConfig": map[string]any{
			"hostPort": w.standIn.PodURL, "authProvider": "openmetadata", "securityConfig": map[string]any{"jwtToken": w.standIn.Token},
		}},
		"ingestionPipelineFQN": fqn,
	})
	require.NoError(t, err)
	return string(config)
}

// podOfOthers is a pod as OpenMetadata's operator, or a manifest of one's own, has it.
func (w *world) podOfOthers(t *testing.T, name string, labels, variables map[string]string, edit func(*corev1.Container)) {
	t.Helper()
	container := corev1.Container{
		Name: "main", Image: lightImage, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"python", "main.py"},
		SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(1000))},
	}
	for variable, value := range variables {
		container.Env = append(container.Env, corev1.EnvVar{Name: variable, Value: value})
	}
	edit(&container)
	_, err := w.Kube.CoreV1().Pods(w.namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: k8sclient.DefaultConfig().ServiceAccountName, Containers: []corev1.Container{container},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// TestInPlaceOfExitHandler: `python exit_handler.py` is exithandler in the ingestion image, as OpenMetadata's operator calls it
// in a pod of its own, and as a preStop hook of a manifest.
func TestInPlaceOfExitHandler(t *testing.T) {
	w := newWorld(t)
	script := []string{"python", "exit_handler.py"}
	begin := func(service string, options map[string]string, job string) (fqn, runID string, labels, variables map[string]string) {
		_, fqn = w.pipeline(t, service, options, "")
		runID = uuid.NewString()
		return fqn, runID, map[string]string{identity.LabelOMJob: job, identity.LabelPodType: "main", identity.LabelRunID: runID}, map[string]string{
			identity.EnvPipelineType: "metadata", identity.EnvRunID: runID, identity.EnvPipelineFQN: fqn, identity.EnvConfig: w.inlineConfig(t, service, fqn),
			identity.EnvJobName: job, identity.EnvNamespace: w.namespace,
		}
	}

	fqn, runID, labels, variables := begin("operated", map[string]string{"fault": "raise:the source is broken", "faultAt": "constructor"}, "om-job-operated")
	w.podOfOthers(t, "om-job-operated-main", labels, variables, func(*corev1.Container) {})
	require.NoError(t, eventually(t.Context(), func(ctx context.Context) (bool, error) {
		pod, err := w.Kube.CoreV1().Pods(w.namespace).Get(ctx, "om-job-operated-main", metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodFailed, err
	}))
	labels[identity.LabelPodType], variables[identity.EnvPipelineStatus] = "exit-handler", "failed"
	w.podOfOthers(t, "om-job-operated-exit", labels, variables, func(container *corev1.Container) { container.Command = script })
	run := w.await(t, fqn, runID, omapi.PipelineState.Terminal)
	assert.Equal(t, string(omapi.StateFailed), run.State)
	require.NotNil(t, run.Cause)
	assert.Equal(t, string(diagnostics.CategoryApplicationError), run.Cause.Name)
	assert.Contains(t, run.Cause.Error, "container main of pod om-job-operated-main")
	assert.Contains(t, run.Cause.Error, "the source is broken")
	assert.Contains(t, run.Writes[len(run.Writes)-1].UserAgent, reporters)

	fqn, runID, labels, variables = begin("hooked", map[string]string{"duration": "600"}, "om-job-hooked")
	variables[identity.EnvPipelineStatus] = "Failed"
	w.podOfOthers(t, "om-job-hooked-main", labels, variables, func(container *corev1.Container) {
		container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: script}}}
	})
	w.awaitWork(t, fqn, runID)
	require.NoError(t, w.Kube.CoreV1().Pods(w.namespace).Delete(t.Context(), "om-job-hooked-main", metav1.DeleteOptions{}))
	run = w.await(t, fqn, runID, omapi.PipelineState.Terminal)
	assert.Equal(t, string(omapi.StateFailed), run.State)
	require.NotNil(t, run.Cause)
	assert.Equal(t, string(diagnostics.CategoryDeleted), run.Cause.Name)
}
