package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

func TestToggleAndList(t *testing.T) {
	w := newWorld(t)
	scheduled, scheduledFQN := w.pipeline(t, "scheduled", nil, "0 3 * * *")
	onDemand, onDemandFQN := w.pipeline(t, "ondemand", nil, "")
	_, err := w.command.Run(t.Context(), "deploy", "-f", scheduled, "-f", onDemand)
	require.NoError(t, err)

	for _, step := range []struct {
		command          string
		enabled, changed bool
	}{{"disable", false, true}, {"disable", false, false}, {"toggle", true, true}, {"toggle", false, true}, {"enable", true, true}} {
		var results []k8sclient.ToggleResult
		require.NoError(t, w.command.RunJSON(t.Context(), &results, step.command, scheduledFQN))
		require.Len(t, results, 1)
		assert.Equal(t, k8sclient.ToggleResult{FQN: scheduledFQN, Schedule: "0 3 * * *", Enabled: step.enabled, Changed: step.changed, InOpenMetadata: true}, results[0], step.command)
		cronJob, err := w.Kube.BatchV1().CronJobs(w.namespace).Get(t.Context(), "om-cronjob-scheduled-metadata", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, !step.enabled, *cronJob.Spec.Suspend, step.command)
	}
	out, err := w.command.Run(t.Context(), "disable", "--all")
	require.NoError(t, err, "a pipeline on demand is no error")
	assert.Contains(t, out, onDemandFQN+" runs on demand")

	var found []k8sclient.PipelineSummary
	require.NoError(t, w.command.RunJSON(t.Context(), &found, "list"))
	require.Len(t, found, 2)
	assert.Equal(t, []string{onDemandFQN, scheduledFQN}, []string{found[0].FQN, found[1].FQN})
	assert.True(t, found[1].Suspended)
	require.NoError(t, w.command.RunJSON(t.Context(), &found, "list", "-l", "app.kubernetes.io/pipeline-type=usage"))
	assert.Empty(t, found)
	_, err = w.command.Run(t.Context(), "list", "-l", "==")
	require.ErrorContains(t, err, "is not a label selector")
}

func TestHistoryAndRollback(t *testing.T) {
	w := newWorld(t)
	file, fqn := w.pipeline(t, "changing", nil, "0 1 * * *")
	for _, hour := range []string{"1", "2", "3"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		fields := strings.Split(string(text), "scheduleInterval: ")
		require.NoError(t, os.WriteFile(file, []byte(fields[0]+`scheduleInterval: "0 `+hour+` * * *"}`+"\n"), 0o600))
		_, err = w.command.Run(t.Context(), "deploy", "-f", file)
		require.NoError(t, err)
	}
	schedules := func() (out []string) {
		var revisions []k8sclient.Revision
		require.NoError(t, w.command.RunJSON(t.Context(), &revisions, "history", fqn))
		for _, r := range revisions {
			out = append(out, fmt.Sprint(r.Revision, " ", r.Schedule, " ", r.Current))
		}
		return out
	}
	assert.ElementsMatch(t, []string{"1 0 1 * * * false", "2 0 2 * * * false", "3 0 3 * * * true"}, schedules())

	for _, dryRun := range []string{"client", "server"} {
		out, err := w.command.Run(t.Context(), "rollback", fqn, "1", "--dry-run", dryRun)
		require.NoError(t, err)
		assert.Contains(t, out, "would be rolled back, as revision 4 ("+dryRun+" dry run)")
		assert.Len(t, schedules(), 3, "nothing has changed")
	}

	_, err := w.command.Run(t.Context(), "rollback", fqn, "1")
	require.NoError(t, err)
	cronJob, err := w.Kube.BatchV1().CronJobs(w.namespace).Get(t.Context(), "om-cronjob-changing-metadata", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "0 1 * * *", cronJob.Spec.Schedule)
	assert.Contains(t, schedules(), "4 0 1 * * * true", "a way back is a new configuration, so there is a way forth")

	_, err = w.command.Run(t.Context(), "rollback", fqn, "77")
	require.ErrorContains(t, err, k8sclient.ErrNoRevision.Error())
	_, err = w.command.Run(t.Context(), "delete", fqn)
	require.NoError(t, err)
	assert.NotContains(t, strings.Join(w.objects(t, w.namespace), " "), "changing", "earlier configurations go too")
}

func TestLogsAndWait(t *testing.T) {
	w := newWorld(t)
	const volume = 2 * k8sclient.PageBytes
	file, fqn := w.pipeline(t, "chatty", map[string]string{"rows": "1", "logBytes": strconv.Itoa(volume)}, "")
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)

	var record omapi.PipelineStatus
	require.NoError(t, w.command.RunJSON(t.Context(), &record, "run", fqn, "--wait"))
	assert.Equal(t, omapi.StateSuccess, record.State)

	whole, err := w.command.Run(t.Context(), "logs", fqn)
	require.NoError(t, err)
	assert.Greater(t, len(whole), volume)
	var pages strings.Builder
	after := ""
	for count := 1; ; count++ {
		out, err := w.command.Run(t.Context(), "logs", fqn, "--page", "--after", after)
		require.NoError(t, err)
		var page map[string]string
		require.NoError(t, json.Unmarshal([]byte(out), &page))
		assert.Equal(t, "3", page["total"])
		assert.LessOrEqual(t, len(page["ingestion_task"]), k8sclient.PageBytes)
		pages.WriteString(page["ingestion_task"])
		if after = page["after"]; after == "" {
			assert.Equal(t, 3, count)
			break
		}
	}
	assert.True(t, bytes.Equal([]byte(whole), []byte(pages.String())), "the pages are the log")
	_, err = w.command.Run(t.Context(), "logs", fqn, "--page", "--after", "3")
	require.ErrorContains(t, err, k8sclient.ErrNoPage.Error())
	last, err := w.command.Run(t.Context(), "logs", fqn, "--tail", "1")
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(last, "\n"))

	failing, failingFQN := w.pipeline(t, "failing", map[string]string{"rows": "1", "errors": "1"}, "")
	_, err = w.command.Run(t.Context(), "deploy", "-f", failing)
	require.NoError(t, err)
	_, err = w.command.Run(t.Context(), "run", failingFQN, "--wait")
	require.ErrorContains(t, err, "exit code 3", "the run's result is in the exit code")
}

func TestQueuedReason(t *testing.T) {
	w := newWorld(t)
	file, fqn := w.pipeline(t, "waiting", nil, "")
	w.startWithImage(t, file, fqn, "pipelinectl.local/does-not-exist:dev")
	require.Eventually(t, func() bool {
		var status k8sclient.PipelineStatus
		return w.command.RunJSON(t.Context(), &status, "status", fqn) == nil && len(status.Runs) == 1 &&
			status.Runs[0].State == omapi.StateQueued && strings.Contains(status.Runs[0].Cause, "does-not-exist")
	}, hang, time.Second, "status says which image is waited for")
	_, err := w.command.Run(t.Context(), "kill", "--all")
	require.NoError(t, err)

	// A group without a user is nothing that a container runtime can make.
	unmakeable := []string{"--set", "runAsUser=null", "--set", "runAsNonRoot=false"}
	_, err = w.command.Run(t.Context(), append([]string{"deploy", "-f", file}, unmakeable...)...)
	require.NoError(t, err)
	_, err = w.command.Run(t.Context(), append([]string{"run", fqn}, unmakeable...)...)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var status k8sclient.PipelineStatus
		return w.command.RunJSON(t.Context(), &status, "status", fqn) == nil && strings.Contains(status.Runs[0].Cause, "FailedCreatePodSandBox")
	}, hang, time.Second, "status says why the pod has no sandbox")
	var diagnosis k8sclient.Diagnosis
	require.NoError(t, w.command.RunJSON(t.Context(), &diagnosis, "diagnose", fqn))
	assert.Equal(t, diagnostics.CategoryStartError, diagnosis.Verdict.Category)
	assert.Equal(t, omapi.StateQueued, diagnosis.Record.State)
	_, err = w.command.Run(t.Context(), "kill", "--all")
	require.NoError(t, err)
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	var health k8sclient.Health
	require.NoError(t, w.command.RunJSON(t.Context(), &health, "health"))
	assert.True(t, health.Healthy)
	assert.NotEmpty(t, health.Version)
	assert.NotEmpty(t, health.ServerVersion)

	out, err := w.command.Run(t.Context(), "health", "-n", "no-such-namespace")
	require.Error(t, err)
	assert.Contains(t, out, "kubectl create namespace no-such-namespace")
	out, err = w.command.Run(t.Context(), "health", "--openmetadata-token", "garbage")
	require.Error(t, err)
	assert.Contains(t, out, "OPENMETADATA_TOKEN", "it says which check failed, and what to do")
}

// TestOverride runs an application with another configuration; the light image cannot run applications, so it is about
// what the pod is given.
func TestOverride(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.standIn.Create(t.Context(), map[string]any{"name": "apps", "serviceType": "CustomDatabase"}, map[string]any{
		"name": "app", "pipelineType": "application", "sourceConfig": map[string]any{"config": map[string]any{}}, "airflowConfig": map[string]any{},
	}))
	file := filepath.Join(t.TempDir(), "app.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: app\nfullyQualifiedName: apps.app\npipelineType: application\nservice: {type: databaseService, name: apps}\n"+
		"sourceConfig: {config: {sourcePythonClass: a.b.C, appConfig: {batch: 1, keep: me}}}\nairflowConfig: {}\n"), 0o600))
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	var started k8sclient.RunResult
	require.NoError(t, w.command.RunJSON(t.Context(), &started, "run", "apps.app", "--override", `{"batch": 2, "apiKey": "hunter2"}`))

	job, err := w.Kube.BatchV1().Jobs(w.namespace).Get(t.Context(), started.JobName, metav1.GetOptions{})
	require.NoError(t, err)
	text, err := json.Marshal(job)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "hunter2")
	secrets, err := w.Kube.CoreV1().Secrets(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: identity.LabelRunID + "=" + started.RunID})
	require.NoError(t, err)
	require.Len(t, secrets.Items, 1)
	secret := secrets.Items[0]
	require.Len(t, secret.OwnerReferences, 1, "it goes with the Job")
	assert.Equal(t, job.UID, secret.OwnerReferences[0].UID)
	assert.Contains(t, string(secret.Data["public"]), `"batch": 2`)
	assert.Contains(t, string(secret.Data["public"]), `"keep": "me"`)
	assert.NotContains(t, string(secret.Data["public"]), "hunter2")

	other, otherFQN := w.pipeline(t, "plain", nil, "")
	_, err = w.command.Run(t.Context(), "deploy", "-f", other)
	require.NoError(t, err)
	_, err = w.command.Run(t.Context(), "run", otherFQN, "--override", `{"batch": 2}`)
	require.ErrorContains(t, err, k8sclient.ErrNoOverride.Error())
}

// TestAutomate runs an automation workflow; the light image cannot run one, so it is about what the pod is given.
func TestAutomate(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "workflow.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: test-connection-Shop\nworkflowType: TEST_CONNECTION\nrequest: {connection: {config: {password: hunter2}}}\n"), 0o600))
	var started k8sclient.RunResult
	require.NoError(t, w.command.RunJSON(t.Context(), &started, "automate", "-f", file, "--set", "nodeSelector=kubernetes.io/os=linux"))
	job, err := w.Kube.BatchV1().Jobs(w.namespace).Get(t.Context(), started.JobName, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"kubernetes.io/os": "linux"}, job.Spec.Template.Spec.NodeSelector)
	secret, err := w.Kube.CoreV1().Secrets(w.namespace).Get(t.Context(), started.JobName, metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, secret.OwnerReferences, 1)
	assert.Equal(t, job.UID, secret.OwnerReferences[0].UID)
	assert.Contains(t, string(secret.Data["config"]), "hunter2")
	require.Eventually(t, func() bool {
		pods, err := w.Kube.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: identity.LabelRunID + "=" + started.RunID})
		return err == nil && len(pods.Items) == 1 && diagnostics.AnyStarted(&pods.Items[0])
	}, hang, pollInterval, "its pod has all that it reads")

	require.NoError(t, w.Kube.BatchV1().Jobs(w.namespace).Delete(t.Context(), job.Name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}))
	require.Eventually(t, func() bool { return len(w.objects(t, w.namespace)) == 0 }, hang, pollInterval, "the password goes with the Job")
}

func TestHostIP(t *testing.T) {
	w := newWorld(t)
	out, err := w.command.Run(t.Context(), "host-ip", "--set", "ingestionIpInfoEnabled=true")
	require.NoError(t, err)
	assert.Contains(t, out, w.namespace)
	out, err = w.command.Run(t.Context(), "host-ip", "--set", "ingestionIpInfoEnabled=true", "--set", "hostIp=192.0.2.1")
	require.NoError(t, err)
	assert.Equal(t, "192.0.2.1\n", out)
}

// TestDeployTogether deploys different configurations of one pipeline at the same time; what is there at the end must be
// one of them, whole.
func TestDeployTogether(t *testing.T) {
	w := newWorld(t)
	const deploys = 100
	om, err := omapi.New(omapi.Config{URL: w.standIn.URL, Token: w.standIn.Token})
	require.NoError(t, err)
	config := k8sclient.DefaultConfig()
	config.Namespace = w.namespace
	// Each stands for a process: deploys of one client take turns, those of several meet in the cluster.
	clients := make([]*k8sclient.Client, 5)
	for i := range clients {
		clients[i], err = k8sclient.New(w.Kube, om, config)
		require.NoError(t, err)
	}
	var group errgroup.Group
	for i := range deploys {
		group.Go(func() error {
			_, err := clients[i%len(clients)].Deploy(t.Context(), &omapi.IngestionPipeline{
				Name: "busy", FullyQualifiedName: "svc.busy", PipelineType: omapi.PipelineMetadata,
				Service:      omapi.EntityReference{Type: "databaseService", Name: "svc"},
				SourceConfig: map[string]any{"config": map[string]any{"number": fmt.Sprint("n", i), "password": fmt.Sprint("n", i)}},
				OpenMetadataServerConnection: map[string]any{
					"hostPort": "http://om/api", "securityConfig": map[string]any{"jwtToken": fmt.Sprint("n", i)},
				},
				AirflowConfig: omapi.AirflowConfig{ScheduleInterval: fmt.Sprintf("%d 3 * * *", i%60)},
			}, k8sclient.DeployOptions{Service: &omapi.Service{Name: "svc", ServiceType: "Mysql"}})
			return err
		})
	}
	require.NoError(t, group.Wait())

	configMap, err := w.Kube.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "om-config-busy", metav1.GetOptions{})
	require.NoError(t, err)
	secret, err := w.Kube.CoreV1().Secrets(w.namespace).Get(t.Context(), "om-secret-busy", metav1.GetOptions{})
	require.NoError(t, err)
	cronJob, err := w.Kube.BatchV1().CronJobs(w.namespace).Get(t.Context(), "om-cronjob-busy", metav1.GetOptions{})
	require.NoError(t, err)
	var number int
	_, rest, _ := strings.Cut(configMap.Data["config"], `"number": "n`)
	_, err = fmt.Sscan(rest, &number)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(secret.Data["config"]), fmt.Sprintf(`: "n%d"`, number)), "%s", "the Secret is of the same deploy")
	assert.Equal(t, fmt.Sprintf("%d 3 * * *", number%60), cronJob.Spec.Schedule, "and the CronJob")
	revision, err := strconv.Atoi(configMap.Annotations[identity.AnnotationRevision])
	require.NoError(t, err)
	assert.GreaterOrEqual(t, revision, deploys, "each was counted; one that met another counts twice")
	kept, err := w.Kube.CoreV1().Secrets(w.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "type=pipelines.openmetadata.org/revision"})
	require.NoError(t, err)
	assert.LessOrEqual(t, len(kept.Items), int(config.RevisionHistoryLimit)+1, "the history does not grow without bound")
}
