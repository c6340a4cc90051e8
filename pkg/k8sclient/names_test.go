package k8sclient

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// twin is a pipeline of the same name in another service.
func twin(edits ...func(*omapi.IngestionPipeline)) *omapi.IngestionPipeline {
	pipeline := newPipeline(edits...)
	pipeline.FullyQualifiedName = "other.nightly"
	return pipeline
}

// TestSameNameInTwoServices: the first has the plain names, the second names with a hash, and neither sees the other.
func TestSameNameInTwoServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const twinFQN = "other.nightly"
	require.Equal(t, twinFQN, w.om.Pipeline(t, "other", "nightly"))
	_, _, err := w.client.deployed(t.Context(), twinFQN)
	require.ErrorIs(t, err, ErrNotDeployed, "the other's objects are not its own")
	result, err := deploy(t, w.client, twin())
	require.NoError(t, err)
	hashed := identity.HashedNamesOf("nightly", twinFQN)
	require.Len(t, result.Objects, 3)
	assert.Equal(t, hashed.ConfigMap, result.Objects[0].Name)
	again, err := deploy(t, w.client, twin())
	require.NoError(t, err)
	for i, object := range again.Objects {
		assert.Equal(t, ActionUnchanged, object.Action)
		assert.Equal(t, result.Objects[i].Name, object.Name, "it keeps its names")
	}
	_, err = deploy(t, w.client, twin(edited(2)))
	require.NoError(t, err)
	history, err := w.client.History(t.Context(), twinFQN)
	require.NoError(t, err)
	assert.Len(t, history, 2)
	history, err = w.client.History(t.Context(), testFQN)
	require.NoError(t, err)
	assert.Len(t, history, 1, "a revision is its own pipeline's")

	run, err := w.client.Run(t.Context(), twinFQN, RunOptions{})
	require.NoError(t, err)
	job, ok := w.kube.get("jobs", run.JobName).(*batchv1.Job)
	require.True(t, ok)
	pod := job.Spec.Template.Spec
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, variable := range container.Env {
			switch variable.Name {
			case identity.EnvConfig:
				assert.Equal(t, hashed.ConfigMap, variable.ValueFrom.ConfigMapKeyRef.Name, "%s reads its own configuration", container.Name)
			case identity.EnvConfigSecret:
				assert.Equal(t, hashed.Secret, variable.ValueFrom.SecretKeyRef.Name, "and its own secrets")
			}
		}
	}
	assert.Equal(t, hashed.Label, job.Spec.Template.Labels[identity.LabelPipeline])
	cronJob, ok := w.kube.get("cronjobs", hashed.CronJob).(*batchv1.CronJob)
	require.True(t, ok)
	assert.Equal(t, hashed.Label, cronJob.Spec.JobTemplate.Labels[identity.LabelPipeline], "so are the runs of its schedule found")

	status, err := w.client.Status(t.Context(), testFQN)
	require.NoError(t, err)
	assert.Empty(t, status.Runs, "the run is the other's")
	toggled, err := w.client.SetEnabled(t.Context(), twinFQN, false)
	require.NoError(t, err)
	assert.True(t, toggled.Changed)
	_, err = w.client.Kill(t.Context(), testFQN, "")
	require.ErrorIs(t, err, ErrNothingToKill)

	_, err = w.client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.NoError(t, err)
	_, _, err = w.client.deployed(t.Context(), twinFQN)
	require.NoError(t, err, "the second is still there, under its own names")
	_, err = deploy(t, w.client, twin())
	require.NoError(t, err)
	assert.NotNil(t, w.kube.get("configmaps", hashed.ConfigMap), "and keeps them")
	_, err = w.client.Delete(t.Context(), twinFQN, DeleteOptions{})
	require.NoError(t, err)
	assert.Empty(t, w.kube.names(), "nothing is left")
}

func TestSameNamesInOneBatch(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server)
	services := []string{"first", "second", "third", "fourth", "fifth"}
	items := make([]DeployItem, len(services))
	for i, service := range services {
		pipeline := newPipeline()
		pipeline.FullyQualifiedName = service + ".nightly"
		items[i] = DeployItem{Service: mysql(), Pipeline: pipeline}
	}
	for range 2 {
		results, err := client.DeployAll(t.Context(), items, DeployOptions{}, nil)
		require.NoError(t, err)
		owner := map[string]string{}
		for _, result := range results {
			for _, object := range result.Objects {
				assert.Empty(t, owner[object.Kind+"/"+object.Name], "%s is of two pipelines", object.Name)
				owner[object.Kind+"/"+object.Name] = result.FQN
			}
		}
		assert.Len(t, owner, 3*len(items))
	}
	plain := 0
	for _, name := range server.names() {
		if strings.HasSuffix(name, "-nightly") {
			plain++
		}
	}
	assert.Equal(t, 3, plain, "one of them has the plain names")
}
