package k8sclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

func TestToggle(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline())
	steps := []struct {
		reason  string
		call    func(context.Context, string) (*ToggleResult, error)
		enabled bool
		changed bool
	}{
		{reason: "on is on", call: func(ctx context.Context, fqn string) (*ToggleResult, error) { return client.SetEnabled(ctx, fqn, true) }, enabled: true},
		{reason: "on goes off", call: client.Toggle, changed: true},
		{reason: "off is off", call: func(ctx context.Context, fqn string) (*ToggleResult, error) {
			return client.SetEnabled(ctx, fqn, false)
		}},
		{reason: "off goes on", call: client.Toggle, enabled: true, changed: true},
	}
	for _, step := range steps {
		result, err := step.call(t.Context(), testFQN)
		require.NoError(t, err, step.reason)
		assert.NotEmpty(t, result.Warnings, "there is no OpenMetadata to be told")
		result.Warnings = nil
		assert.Equal(t, &ToggleResult{FQN: testFQN, Schedule: "0 0 * * *", Enabled: step.enabled, Changed: step.changed}, result, step.reason)
		cronJob, ok := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
		require.True(t, ok)
		assert.Equal(t, !step.enabled, *cronJob.Spec.Suspend, step.reason)
	}
}

func TestToggleOf(t *testing.T) {
	t.Parallel()
	t.Run("OnDemand", func(t *testing.T) {
		t.Parallel()
		_, client := prepared(t, newPipeline(onDemand))
		result, err := client.Toggle(t.Context(), testFQN)
		require.NoError(t, err)
		assert.Equal(t, &ToggleResult{FQN: testFQN}, result, "there is nothing in force")
		result, err = client.SetEnabled(t.Context(), testFQN, false)
		require.NoError(t, err)
		assert.Equal(t, &ToggleResult{FQN: testFQN}, result)
	})
	t.Run("RemovedByHand", func(t *testing.T) {
		t.Parallel()
		_, client := prepared(t, newPipeline())
		require.NoError(t, client.cronJobs().delete(t.Context(), "om-cronjob-nightly", metav1.DeletePropagationBackground, nil))
		_, err := client.SetEnabled(t.Context(), testFQN, false)
		require.ErrorIs(t, err, ErrNoCronJob)
		require.ErrorContains(t, err, "om-cronjob-nightly of pipeline mysql_prod.nightly, schedule @daily; deploy it again")
	})
	t.Run("Twice", func(t *testing.T) {
		t.Parallel()
		server, client := prepared(t, newPipeline())
		var patches atomic.Int32
		server.intercept(func(req *http.Request) *apierrors.StatusError {
			if req.Method == http.MethodPatch && patches.Add(1) == 1 {
				server.change("cronjobs", "om-cronjob-nightly", func(o object) {
					if cronJob, ok := o.(*batchv1.CronJob); ok {
						cronJob.Spec.Suspend = new(true)
					}
				})
			}
			return nil
		})
		result, err := client.Toggle(t.Context(), testFQN)
		require.NoError(t, err)
		assert.True(t, result.Enabled, "another has turned it off in between, so it goes on")
	})
	t.Run("NotOurs", func(t *testing.T) {
		t.Parallel()
		server, client := prepared(t, newPipeline())
		server.change("cronjobs", "om-cronjob-nightly", func(o object) { o.SetAnnotations(nil) })
		_, err := client.Toggle(t.Context(), testFQN)
		require.ErrorIs(t, err, ErrNotOurs)
	})
	t.Run("NotDeployed", func(t *testing.T) {
		t.Parallel()
		_, client := prepared(t, nil)
		_, err := client.SetEnabled(t.Context(), testFQN, true)
		require.ErrorIs(t, err, ErrNotDeployed)
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, nil)
	none, err := client.List(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, none, "no pipelines is an answer")

	named := func(name string, edits ...func(*omapi.IngestionPipeline)) *omapi.IngestionPipeline {
		return newPipeline(append(edits, func(p *omapi.IngestionPipeline) { p.Name, p.FullyQualifiedName = name, "mysql_prod."+name })...)
	}
	lineage := func(p *omapi.IngestionPipeline) { p.PipelineType = omapi.PipelineLineage }
	disabled := func(p *omapi.IngestionPipeline) { p.Enabled = new(false) }
	for _, pipeline := range []*omapi.IngestionPipeline{named("b", onDemand, lineage), named("a", disabled)} {
		_, err := deploy(t, client, pipeline)
		require.NoError(t, err)
	}
	running, ended := NewJob(&client.config, named("a"), uuid.NewString(), 1), NewJob(&client.config, named("a"), uuid.NewString(), 1)
	running.CreationTimestamp, ended.CreationTimestamp = metav1.Unix(200, 0), metav1.Unix(100, 0)
	ended.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	// Neither of these is a pipeline's, whatever their labels say.
	notOurs := map[string]string{identity.LabelManagedBy: openMetadata, identity.LabelPipeline: "x"}
	server.add(t, "somebody", running, ended,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: notOurs}},
		&batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: notOurs}})
	server.page = 1

	all, err := client.List(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, all, 2)
	first, second := all[0], all[1]
	assert.Equal(t, "mysql_prod.a", first.FQN, "by name")
	assert.Equal(t, omapi.PipelineMetadata, first.Type)
	assert.Equal(t, "0 0 * * *", first.Schedule)
	assert.Equal(t, "Europe/Berlin", first.TimeZone)
	assert.True(t, first.Suspended)
	assert.Equal(t, 1, first.Active)
	assert.Equal(t, running.Name, first.LastJob, "the newest")
	assert.Equal(t, "Active", first.LastJobState)
	assert.Equal(t, int64(1), first.Revision)
	assert.Equal(t, "mysql_prod.b", second.FQN)
	assert.Empty(t, second.Schedule)
	assert.Empty(t, second.LastJob)

	some, err := client.List(t.Context(), identity.LabelPipelineType+"=lineage")
	require.NoError(t, err)
	require.Len(t, some, 1)
	assert.Equal(t, "mysql_prod.b", some[0].FQN)
	_, err = client.List(t.Context(), "a b=c")
	require.ErrorContains(t, err, "a b=c")
	_, err = newTestClient(t, server, func(c *Config) { c.Namespace = "nowhere" }).List(t.Context(), "")
	require.ErrorContains(t, err, "kubectl create namespace nowhere", "a missing namespace is no empty one")
}

func TestDeployAll(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server)
	const count = 5
	items := make([]DeployItem, count)
	for n := range items {
		items[n] = DeployItem{Service: mysql(), Pipeline: newPipeline(func(p *omapi.IngestionPipeline) {
			p.Name, p.FullyQualifiedName = fmt.Sprintf("p%d", n), fmt.Sprintf("mysql_prod.p%d", n)
		})}
	}
	server.add(t, "somebody", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "om-config-p2"}, Data: map[string]string{"config": "mine"}})
	var (
		mu   sync.Mutex
		seen = map[int]bool{}
	)
	results, err := client.DeployAll(t.Context(), items, DeployOptions{}, func(item int, result *DeployResult, err error) {
		mu.Lock()
		defer mu.Unlock()
		seen[item] = (err == nil) == (result != nil)
	})
	require.ErrorIs(t, err, ErrNotOurs, "one that fails")
	require.ErrorContains(t, err, "om-config-p2")
	require.Len(t, results, count)
	assert.Len(t, seen, count)
	for n, result := range results {
		assert.True(t, seen[n])
		if n == 2 {
			assert.Nil(t, result)
			continue
		}
		require.NotNil(t, result, "does not stop the others")
		assert.Equal(t, fmt.Sprintf("mysql_prod.p%d", n), result.FQN, "in the order of the items")
		assert.Equal(t, ActionCreated, result.Action())
	}
	items = append(items[:2], items[3:]...)
	var reads atomic.Int32
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodGet {
			reads.Add(1)
		}
		return nil
	})
	results, err = client.DeployAll(t.Context(), items, DeployOptions{}, nil)
	require.NoError(t, err)
	for _, result := range results {
		assert.Equal(t, ActionUnchanged, result.Action())
	}
	assert.Equal(t, int32(3), reads.Load(), "one list for each kind")
}

// TestDeployAllRefusesFirst: nothing is changed where one of many cannot be made.
func TestDeployAllRefusesFirst(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server)
	bad := func(p *omapi.IngestionPipeline) { p.Name, p.AirflowConfig.ScheduleInterval = "bad", "every night" }
	worse := func(p *omapi.IngestionPipeline) { p.Name, p.PipelineType = "worse", "cooking" }
	_, err := client.DeployAll(t.Context(), []DeployItem{
		{Service: mysql(), Pipeline: newPipeline()}, {Service: mysql(), Pipeline: newPipeline(bad)}, {Service: mysql(), Pipeline: newPipeline(worse)},
	}, DeployOptions{}, nil)
	require.ErrorContains(t, err, "every night")
	require.ErrorContains(t, err, "cooking", "all that is wrong is told at once")
	assert.Empty(t, server.names())
}

// TestDeployAllCalls: a thousand pipelines take one list for each kind, and at most one call for each object.
func TestDeployAllCalls(t *testing.T) {
	t.Parallel()
	const pipelines, kinds = 1000, 3
	var (
		mu    sync.Mutex
		calls = map[string]int{}
	)
	// It makes what it is asked to make: applying in earnest takes longer than all other tests.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		calls[req.Method]++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if req.Method == http.MethodGet {
			fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","gitVersion":"v1.37.2","items":[]}`)
			return
		}
		asked := body(req)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(asked)
	}))
	defer server.Close()
	client := newTestClient(t, &apiServer{url: server.URL})
	items := make([]DeployItem, pipelines)
	for n := range items {
		items[n] = DeployItem{Service: mysql(), Pipeline: newPipeline(func(p *omapi.IngestionPipeline) {
			p.Name, p.FullyQualifiedName = fmt.Sprintf("p%d", n), fmt.Sprintf("mysql_prod.p%d", n)
		})}
	}
	_, err := client.DeployAll(t.Context(), items, DeployOptions{}, nil)
	require.NoError(t, err)
	assert.Equal(t, map[string]int{http.MethodGet: kinds + 1, http.MethodPatch: kinds * pipelines}, calls, "and once the cluster's version")
}

func application(config map[string]any) func(*omapi.IngestionPipeline) {
	return func(p *omapi.IngestionPipeline) {
		p.PipelineType = omapi.PipelineApplication
		p.SourceConfig = map[string]any{"config": map[string]any{"sourcePythonClass": "a.B", "appConfig": config}}
	}
}

func TestRunWithAnotherConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, application(map[string]any{"rows": 10, "password": "hunter2"}))
	result, err := w.client.Run(t.Context(), testFQN, RunOptions{AppConfig: map[string]any{"rows": 20, "apiKey": "hunter3"}})
	require.NoError(t, err)
	job, ok := w.kube.get("jobs", result.JobName).(*batchv1.Job)
	require.True(t, ok)
	reference := variableOf(t, job.Spec.Template.Spec, identity.EnvConfig).ValueFrom.SecretKeyRef
	require.NotNil(t, reference, "the pod reads the Secret of its run")
	secret, ok := w.kube.get("secrets", reference.Name).(*corev1.Secret)
	require.True(t, ok)
	assert.Equal(t, reference.Name, variableOf(t, job.Spec.Template.Spec, identity.EnvConfigSecret).ValueFrom.SecretKeyRef.Name)
	assert.Equal(t, result.JobName, reference.Name, "it has the name of its Job")
	require.Len(t, secret.OwnerReferences, 1)
	assert.Equal(t, job.UID, secret.OwnerReferences[0].UID, "it goes when the Job goes")
	assert.Nil(t, secret.OwnerReferences[0].BlockOwnerDeletion, "no permission on jobs/finalizers is needed")

	public, err := workflow.Parse(string(secret.Data[reference.Key]))
	require.NoError(t, err)
	overlay, err := workflow.ParseOverlay(string(secret.Data[secretKey]))
	require.NoError(t, err)
	whole, err := workflow.Merge(public, overlay)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"rows": json.Number("20"), "password": "hunter2", "apiKey": "hunter3"}, whole["appConfig"])
	assert.NotContains(t, string(secret.Data[reference.Key]), "hunter")
	configMap, ok := w.kube.get("configmaps", "om-config-nightly").(*corev1.ConfigMap)
	require.True(t, ok)
	assert.Contains(t, configMap.Data["config"], `"rows": 10`, "the pipeline's own is as it was")
}

func TestRunWithAnotherConfigurationRefuses(t *testing.T) {
	t.Parallel()
	override := RunOptions{AppConfig: map[string]any{"rows": 20}}
	t.Run("NoApplication", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, err := w.client.Run(t.Context(), testFQN, override)
		require.ErrorIs(t, err, ErrNoOverride)
		pipelines, err := w.om.Pipelines()
		require.NoError(t, err)
		assert.Empty(t, pipelines[0].Runs, "there is no run of it")
	})
	t.Run("NoJob", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, application(nil))
		before := w.kube.names()
		w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
			if req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/jobs") {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "jobs"}, "x", errors.New("exceeded quota"))
			}
			return nil
		})
		_, err := w.client.Run(t.Context(), testFQN, override)
		require.ErrorContains(t, err, "exceeded quota")
		assert.Equal(t, before, w.kube.names(), "the run's Secret is removed")
	})
}

func TestRunWhoseVariablesWereNotDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.config.ExtraEnvVars = []corev1.EnvVar{{Name: "DB_PASSWORD", Value: "hunter2"}}
	_, err := w.client.Run(t.Context(), testFQN, RunOptions{})
	require.ErrorIs(t, err, ErrStale)
	require.ErrorContains(t, err, "without variable DB_PASSWORD of extraEnvVars; deploy pipeline mysql_prod.nightly again")
	assert.NotContains(t, err.Error(), "hunter2")
	_, err = deploy(t, w.client, newPipeline())
	require.NoError(t, err)
	_, err = w.client.Run(t.Context(), testFQN, RunOptions{})
	require.NoError(t, err)
	w.client.config.ExtraEnvVars[0].Value = "hunter3"
	_, err = w.client.Run(t.Context(), testFQN, RunOptions{})
	require.ErrorIs(t, err, ErrStale, "the run would have the old value")
	require.ErrorContains(t, err, "with another value of variable DB_PASSWORD of extraEnvVars; deploy pipeline mysql_prod.nightly again")
	assert.NotContains(t, err.Error(), "hunter")
}

// TestRunWithACurrentToken: the token of the deploy may have been replaced since.
func TestRunWithACurrentToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	assert.True(t, w.client.PinsCredentialsAtDeployTime())
	usual, _ := w.start(t)
	assert.Nil(t, w.kube.get("secrets", usual.JobName), "the usual run reads what was deployed")

	result, err := w.client.Run(t.Context(), testFQN, RunOptions{Token: "hunter4"})
	require.NoError(t, err)
	secret, ok := w.kube.get("secrets", result.JobName).(*corev1.Secret)
	require.True(t, ok)
	public, err := workflow.Parse(string(secret.Data[publicKey]))
	require.NoError(t, err)
	overlay, err := workflow.ParseOverlay(string(secret.Data[secretKey]))
	require.NoError(t, err)
	whole, err := workflow.Merge(public, overlay)
	require.NoError(t, err)
	assert.Equal(t, "hunter4", workflow.Connection(whole).Token)
	assert.Equal(t, "http://openmetadata:8585/api", workflow.Connection(whole).URL)
	assert.Contains(t, string(secret.Data[publicKey]), `"serviceName": "mysql_prod"`, "the rest is the pipeline's")
	job, ok := w.kube.get("jobs", result.JobName).(*batchv1.Job)
	require.True(t, ok)
	spec := job.Spec.Template.Spec
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, variable := range container.Env {
			if variable.Name == identity.EnvConfigSecret {
				assert.Equal(t, result.JobName, variable.ValueFrom.SecretKeyRef.Name, "container %s reports by it too", container.Name)
			}
		}
	}
	values, err := w.client.SecretValues(t.Context(), testFQN)
	require.NoError(t, err)
	assert.Contains(t, values, "hunter4", "logs are redacted of it")
}

func TestRunAutomation(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server, func(c *Config) {
		c.NodeSelector = map[string]string{"pool": "ingestion"}
		c.Tolerations = []corev1.Toleration{{Key: "pool", Operator: corev1.TolerationOpExists}}
		c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	})
	entity := json.RawMessage(`{"name":"test-connection-1","fullyQualifiedName":"test-connection-1","request":{"password":"hunter2"}}`)
	result, err := client.RunAutomation(t.Context(), entity)
	require.NoError(t, err)
	job, ok := server.get("jobs", result.JobName).(*batchv1.Job)
	require.True(t, ok)
	secret, ok := server.get("secrets", result.JobName).(*corev1.Secret)
	require.True(t, ok)
	assert.JSONEq(t, string(entity), string(secret.Data[secretKey]))
	assert.Equal(t, job.UID, secret.OwnerReferences[0].UID)
	assert.NotContains(t, manifest(t, job), "hunter2")
	assert.Equal(t, int32(0), *job.Spec.BackoffLimit)
	pod := job.Spec.Template.Spec
	assert.Equal(t, []string{"python", "run_automation.py"}, pod.Containers[0].Command)
	assert.Equal(t, client.config.NodeSelector, pod.NodeSelector, "a namespace's nodes and policies hold for every pod")
	assert.Equal(t, client.config.Tolerations, pod.Tolerations)
	assert.Equal(t, client.config.SeccompProfile, pod.SecurityContext.SeccompProfile)
	assert.Equal(t, new(true), pod.SecurityContext.RunAsNonRoot)
	assert.Equal(t, containerSecurity(&client.config, false), pod.Containers[0].SecurityContext)
	assert.Equal(t, new(false), pod.Containers[0].SecurityContext.AllowPrivilegeEscalation)

	for entity, want := range map[string]string{
		`{{`: "is not JSON of the entity Workflow", `{}`: "has no name",
		`{"name":"x","request":"` + strings.Repeat("x", 1<<17) + `"}`: "variable config of container ingestion has 131107 bytes, the limit is 131071",
	} {
		_, err := client.RunAutomation(t.Context(), json.RawMessage(entity))
		require.ErrorContains(t, err, want)
	}
}

func TestRunApplication(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server)
	entity := json.RawMessage(`{"name":"Data Insights","fullyQualifiedName":"Data Insights","appConfiguration":{"password":"hunter2"}}`)
	require.NoError(t, client.ValidateApplication(entity))
	result, err := client.RunApplication(t.Context(), entity)
	require.NoError(t, err)
	assert.Regexp(t, "^om-app-data-insights-[0-9a-f]{8}-"+result.RunID[:8]+"$", result.JobName)
	job, ok := server.get("jobs", result.JobName).(*batchv1.Job)
	require.True(t, ok)
	assert.Equal(t, "application", job.Labels[identity.LabelComponent])
	assert.Equal(t, identity.LabelValue("Data Insights"), job.Labels[identity.LabelAppName])
	assert.Equal(t, job.Labels, job.Spec.Template.Labels)
	assert.Equal(t, []string{"python", "-m", "metadata.applications.runner"}, job.Spec.Template.Spec.Containers[0].Command)
	assert.NotContains(t, manifest(t, job), "hunter2")
	for _, entity := range []string{`{{`, `{}`} {
		require.ErrorContains(t, client.ValidateApplication(json.RawMessage(entity)), "the application")
		_, err := client.RunApplication(t.Context(), json.RawMessage(entity))
		require.ErrorContains(t, err, "the application")
	}
}

// TestWithoutServer: a client that was made without OpenMetadata says so where it needs it, and does the rest.
func TestWithoutServer(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline())
	_, err := client.Run(t.Context(), testFQN, RunOptions{})
	require.ErrorIs(t, err, ErrNoServer)
	status, err := client.Status(t.Context(), testFQN)
	require.NoError(t, err)
	assert.Contains(t, status.RecordProblem, ErrNoServer.Error(), "what Kubernetes knows is told")
	_, err = client.Wait(t.Context(), testFQN, testRunID, nil)
	require.ErrorIs(t, err, ErrNoServer)
	_, err = client.Deploy(t.Context(), newPipeline(), DeployOptions{})
	require.ErrorIs(t, err, ErrNoServer, "it would have to be asked for the service")
	assert.False(t, client.Health(t.Context()).Healthy)
	job := NewJob(&client.config, newPipeline(), testRunID, testTimestamp)
	server.add(t, "somebody", job)
	_, err = client.Kill(t.Context(), testFQN, "")
	require.ErrorIs(t, err, ErrNoServer)
	assert.Nil(t, server.get("jobs", job.Name).(*batchv1.Job).Spec.Suspend, "nothing was touched") //nolint:forcetypeassert // It was added above.
	_, err = client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.ErrorIs(t, err, ErrNoServer)
	result, err := client.Delete(t.Context(), testFQN, DeleteOptions{Force: true})
	require.NoError(t, err)
	assert.Contains(t, result.Killed[0].Problem, ErrNoServer.Error())
	assert.Empty(t, server.names())
}

func TestWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, job := w.start(t)
	put := func(state omapi.PipelineState) {
		t.Helper()
		timestamp, err := strconv.ParseInt(job.Annotations[identity.AnnotationTimestamp], 10, 64)
		require.NoError(t, err)
		require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, &omapi.PipelineStatus{RunID: run.RunID, State: state, Timestamp: timestamp}))
	}
	put(omapi.StateFailed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := w.client.Wait(ctx, testFQN, run.RunID, func(omapi.PipelineState) { cancel() })
	require.ErrorContains(t, err, "run "+run.RunID+" of pipeline mysql_prod.nightly, state failed", "a Job that tries again makes it running again")

	w.end(run.JobName, batchv1.JobFailed)
	w.om.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusServiceUnavailable, Path: "pipelineStatus", Count: 1})
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	var states []omapi.PipelineState
	record, err := w.client.Wait(ctx, testFQN, run.RunID, func(state omapi.PipelineState) { states = append(states, state) })
	require.NoError(t, err, "a server that is away for a moment is asked again")
	assert.Equal(t, omapi.StateFailed, record.State)
	assert.Equal(t, []omapi.PipelineState{omapi.StateFailed}, states)
}

// addPod gives a run a pod, as the Job's controller does.
func (w *world) addPod(t *testing.T, name string, job *batchv1.Job, created int64, status corev1.PodStatus) {
	t.Helper()
	w.kube.add(t, "job-controller", &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(created, 0), Labels: map[string]string{batchv1.ControllerUidLabel: string(job.UID), batchv1.JobNameLabel: job.Name}},
		Status:     status,
	})
}

func TestQueuedRuns(t *testing.T) {
	t.Parallel()
	state := func(state corev1.ContainerState) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: identity.ContainerName, State: state}}}
	}
	cases := map[string]struct {
		reason string
		// older is an attempt before the pod.
		older, pod *corev1.PodStatus
		edit       func(*batchv1.Job)
		want       string
		started    bool
	}{
		"NoPod":       {reason: "the controller has not got to it", want: "its pod is not made yet"},
		"Suspended":   {reason: "somebody has suspended the Job", edit: func(job *batchv1.Job) { job.Spec.Suspend = new(true) }, want: "the Job is suspended"},
		"Image":       {reason: "the kubelet says what it waits for", pod: new(state(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}})), want: "ErrImagePull: not found"},
		"Creating":    {reason: "this is no news", pod: new(state(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})), want: "waits for a node"},
		"Unscheduled": {reason: "the scheduler says why", pod: &corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes"}}}, want: "Unschedulable: 0/3 nodes"},
		"Running":     {reason: "it has started", pod: new(state(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})), started: true},
		"Ended":       {reason: "an attempt has started and ended", pod: new(state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Now()}})), started: true},
		"Sidecar": {
			reason: "it runs before the main container does, whose image is not there", want: "ErrImagePull: not found",
			pod: &corev1.PodStatus{
				InitContainerStatuses: []corev1.ContainerStatus{{Name: identity.SidecarName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}},
				ContainerStatuses:     []corev1.ContainerStatus{{Name: identity.ContainerName, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}}},
			},
		},
		"StartError": {
			reason: "the record says queued too, until the Job is decided", want: "StartError: no such file",
			pod: new(state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: "no such file", StartedAt: metav1.Unix(0, 0)}})),
		},
		"Newest": {
			reason: "the attempt before it is over", want: "Unschedulable: 0/3 nodes", older: new(state(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}})),
			pod: &corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes"}}},
		},
		"Finished": {reason: "the run is over", edit: func(job *batchv1.Job) { condition(job, batchv1.JobFailed) }, started: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run, job := w.start(t)
			if tc.pod != nil {
				w.addPod(t, "p", job, 2, *tc.pod)
			}
			if tc.older != nil {
				w.addPod(t, "a", job, 1, *tc.older)
			}
			if tc.edit != nil {
				w.kube.change("jobs", run.JobName, func(o object) {
					if job, ok := o.(*batchv1.Job); ok {
						tc.edit(job)
					}
				})
			}
			queued, err := w.client.QueuedRuns(t.Context(), testFQN)
			require.NoError(t, err)
			if tc.started {
				assert.Empty(t, queued, tc.reason)
				return
			}
			require.Len(t, queued, 1)
			assert.Equal(t, run.RunID, queued[0].RunID)
			assert.Equal(t, omapi.StateQueued, queued[0].State)
			assert.Equal(t, w.om.Run(t, testFQN, run.RunID).Timestamp, queued[0].Timestamp)
			assert.Equal(t, tc.want, queued[0].Reason, tc.reason)
		})
	}
}

func condition(job *batchv1.Job, kind batchv1.JobConditionType) {
	job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue})
}

func TestLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, oldJob := w.start(t)
	w.kube.change("jobs", old.JobName, func(o object) { o.SetCreationTimestamp(metav1.Unix(1, 0)) })
	w.addPod(t, "old", oldJob, 1, corev1.PodStatus{})
	_, job := w.start(t)
	w.addPod(t, "second", job, 20, corev1.PodStatus{})
	w.addPod(t, "first", job, 10, corev1.PodStatus{})
	w.kube.setLog("old", "an old run\n")
	w.kube.setLog("first", "first attempt\n")
	w.kube.setLog("second", "a\nconnect with "+botToken+"\nlast line without an end")
	const secondLog = "a\nconnect with <redacted>\nlast line without an end"
	cases := map[string]struct {
		reason  string
		options LogOptions
		want    string
		err     string
		is      error
	}{
		"Newest":   {reason: "the newest attempt of the newest run, without secrets", want: secondLog},
		"First":    {reason: "attempts are counted from 1", options: LogOptions{Attempt: 1}, want: "first attempt\n"},
		"All":      {reason: "oldest first, each with a head", options: LogOptions{Attempt: -1}, want: "==> attempt 1, pod first <==\nfirst attempt\n==> attempt 2, pod second <==\n" + secondLog},
		"Run":      {reason: "a run by its id", options: LogOptions{RunID: old.RunID}, want: "an old run\n"},
		"TooMany":  {reason: "how many there are is told", options: LogOptions{Attempt: 3}, err: "the run has 2 attempts, not 3", is: ErrNoLogs},
		"NoSuch":   {reason: "a run may be gone", options: LogOptions{RunID: testRunID}, err: "has no Job of run " + testRunID, is: ErrNoLogs},
		"Previous": {reason: "a container may have been restarted", options: LogOptions{Previous: true}, want: "before the restart of second\n"},
		"Ended":    {reason: "what has ended is not followed", options: LogOptions{Previous: true, Follow: true}, err: "cannot be followed", is: ErrFollowPrevious},
		"LastLine": {reason: "the kubelet counts", options: LogOptions{TailLines: new(int64(1))}, want: "connect with <redacted>\nlast line without an end"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := w.client.Logs(t.Context(), testFQN, tc.options, &out)
			if tc.err != "" {
				require.ErrorIs(t, err, tc.is, tc.reason)
				require.ErrorContains(t, err, tc.err, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, tc.want, out.String(), tc.reason)
		})
	}
}

func TestLogsThatAreNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	err := w.client.Logs(t.Context(), testFQN, LogOptions{}, &bytes.Buffer{})
	require.ErrorIs(t, err, ErrNoLogs)
	require.ErrorContains(t, err, "has no Job of any run")
	_, job := w.start(t)
	err = w.client.Logs(t.Context(), testFQN, LogOptions{}, &bytes.Buffer{})
	require.ErrorIs(t, err, ErrNoLogs)
	require.ErrorContains(t, err, "has no pod")
	w.addPod(t, "p", job, 1, corev1.PodStatus{Phase: corev1.PodPending})
	err = w.client.Logs(t.Context(), testFQN, LogOptions{}, &bytes.Buffer{})
	require.ErrorIs(t, err, ErrNoLogs, "a container that has not started has none")
	require.ErrorContains(t, err, "pod p, phase Pending")
}

func TestLogPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, job := w.start(t)
	w.addPod(t, "p", job, 1, corev1.PodStatus{})
	text := strings.Repeat("\u8ba2\u5355 line\n", 90_000) // 1 MB, of characters of three bytes that a cut could go through.
	w.kube.setLog("p", text)
	var whole strings.Builder
	after, total := "", 0
	for page := 0; page == 0 || after != ""; page++ {
		got, err := w.client.LogPage(t.Context(), testFQN, "", after)
		require.NoError(t, err)
		part := got["ingestion_task"]
		assert.LessOrEqual(t, len(part), PageBytes)
		assert.True(t, utf8.ValidString(part), "a page is not cut within a character")
		whole.WriteString(part)
		after = got["after"]
		total, err = strconv.Atoi(got["total"])
		require.NoError(t, err)
		require.Less(t, page, total)
	}
	assert.Equal(t, 2, total)
	assert.Equal(t, len(text), whole.Len())
	assert.True(t, text == whole.String(), "the pages together are the log") //nolint:testifylint // A difference of 1 MB is nothing to show.
	for _, after := range []string{"2", "-1", "x"} {
		_, err := w.client.LogPage(t.Context(), testFQN, "", after)
		require.ErrorIs(t, err, ErrNoPage, after)
	}
}

func TestRedactorOfAnEmptyValue(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newRedactor(&out, []string{"", "hunter2"})
	text := strings.Repeat("x", 2*longestLine) + "hunter2"
	_, err := r.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Equal(t, strings.Replace(text, "hunter2", "<redacted>", 1), out.String())
}
