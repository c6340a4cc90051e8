package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/harness"
)

// longestName is OpenMetadata's bound on the name of an entity.
const longestName = 256

// TestAnyName deploys pipelines with names that Kubernetes does not allow, each in two services.
func TestAnyName(t *testing.T) {
	w := newWorld(t)
	names := []string{
		"a", "-", "...", "UPPER", "with space", "a.b", `a"b`, strings.Repeat("x", longestName), strings.Repeat("-", longestName),
		"\u8ba2\u5355", "\U0001f600", "caf\u00e9", "e\u0301", "\u202ertl", "tab\there", "same", "Same",
		"a$$b", "a$b", "$(pipelineType)",
	}
	random := rand.New(rand.NewPCG(1, 2))
	const more = 150
	names = slices.Grow(names, more)
	for range more {
		name := make([]rune, 1+random.IntN(longestName))
		for i := range name {
			for name[i] = rune(1 + random.IntN(0x1ffff)); name[i] >= 0xd800 && name[i] < 0xe000; { // Not half a character.
				name[i] = rune(1 + random.IntN(0x1ffff))
			}
		}
		names = append(names, string(name))
	}
	items := make([]k8sclient.DeployItem, 0, 2*len(names))
	for _, service := range []string{"svc", "other"} {
		for _, name := range names {
			items = append(items, k8sclient.DeployItem{Service: &omapi.Service{Name: service, ServiceType: "Mysql"}, Pipeline: &omapi.IngestionPipeline{
				Name: name, FullyQualifiedName: omapi.JoinFQN(service, name), PipelineType: omapi.PipelineMetadata,
				SourceConfig: map[string]any{"config": map[string]any{}}, AirflowConfig: omapi.AirflowConfig{ScheduleInterval: "@daily"},
				OpenMetadataServerConnection: map[string]any{"hostPort": "http://om/api"},
			}})
		}
	}
	client := w.client(t)
	results, err := client.DeployAll(t.Context(), items, k8sclient.DeployOptions{}, nil)
	require.NoError(t, err)
	owner := map[string]string{}
	for _, result := range results {
		for _, object := range result.Objects {
			key := object.Kind + "/" + object.Name
			assert.Empty(t, owner[key], "%s is of %q and %q", key, owner[key], result.FQN)
			owner[key] = result.FQN
		}
	}
	assert.Len(t, owner, 3*len(items), "a ConfigMap, a Secret and a CronJob of each")
	_, err = w.command.Run(t.Context(), "delete", "--all", "-o", "name")
	require.NoError(t, err)
	assert.Empty(t, w.objects(t, w.namespace), "nothing is left")
}

// TestRunsOfOddNames: what a run is told of its name is what the server has, and commands give the Job's own name.
func TestRunsOfOddNames(t *testing.T) {
	w := newWorld(t)
	service := map[string]any{"name": "odd", "serviceType": "CustomDatabase", "connection": map[string]any{"config": map[string]any{
		"type": "CustomDatabase", "sourcePythonClass": "pipelinectl_source.source.StaticDatabase",
		"connectionOptions": map[string]string{"duration": "600", "rows": "6"},
	}}}
	for _, name := range []string{"a$$b", "$(pipelineType)", strings.Repeat("long-", 50)} {
		pipeline := map[string]any{
			"name": name, "pipelineType": "metadata", "sourceConfig": map[string]any{"config": map[string]any{"type": "DatabaseMetadata"}},
			"airflowConfig": map[string]any{"scheduleInterval": "0 3 * * *"},
		}
		require.NoError(t, w.standIn.Create(t.Context(), service, pipeline))
		fqn := omapi.JoinFQN("odd", name)
		_, err := w.command.Run(t.Context(), "deploy", fqn)
		require.NoError(t, err, name)

		var toggled []k8sclient.ToggleResult
		require.NoError(t, w.command.RunJSON(t.Context(), &toggled, "disable", fqn))
		assert.Equal(t, []k8sclient.ToggleResult{{FQN: fqn, Schedule: "0 3 * * *", Changed: true, InOpenMetadata: true}}, toggled, name)

		var started k8sclient.RunResult
		require.NoError(t, w.command.RunJSON(t.Context(), &started, "run", fqn))
		_, err = w.Kube.BatchV1().Jobs(w.namespace).Get(t.Context(), started.JobName, metav1.GetOptions{})
		require.NoError(t, err, name)
		w.awaitWork(t, fqn, started.RunID)
		var killed []k8sclient.KillResult
		require.NoError(t, w.command.RunJSON(t.Context(), &killed, "kill", fqn))
		require.Len(t, killed, 1, name)
		run := w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal)
		assert.Equal(t, "stopped", run.State, name)
		assert.Contains(t, run.Writes[len(run.Writes)-1].UserAgent, "sidecar", "it reports to %s", fqn)
	}
}

// TestNoSecretLeaves searches for the values of an input's secrets wherever they must not be.
func TestNoSecretLeaves(t *testing.T) {
	w := newWorld(t)
	const secret = "s3cr3t-Zx9"
	file, fqn := w.pipeline(t, "guarded", map[string]string{"printSecrets": "true", "rows": "2", "errors": "2"}, "@daily")
	var (
		outputs []string
		told    bytes.Buffer
	)
	w.command.Stderr = &told
	// Parameters that also make a command warn.
	set := []string{"--set", "extraEnvVars=DB_PASSWORD:" + secret + ",URL:postgres://u:" + secret + "@db/x", "--set", "startingDeadlineSeconds=5"}
	run := func(args ...string) error {
		out, err := w.command.Run(t.Context(), append(args, set...)...)
		outputs = append(outputs, out)
		return err
	}
	edited := filepath.Join(t.TempDir(), "edited.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(edited, bytes.ReplaceAll(text, []byte("@daily"), []byte("@weekly")), 0o600))
	automation := filepath.Join(t.TempDir(), "workflow.yaml")
	require.NoError(t, os.WriteFile(automation, []byte("name: guarded\nworkflowType: TEST_CONNECTION\nrequest: {connection: {config: {password: "+secret+"}}}\n"), 0o600))
	require.NoError(t, run("deploy", "-f", file, "-o", "yaml"))
	require.NoError(t, run("render", "-f", file, "--service-type", "CustomDatabase"))
	exit, ok := errors.AsType[*harness.ExitError](run("run", fqn, "--wait"))
	require.True(t, !ok || exit.Code == 3, "the run itself may fail: %v", exit)
	for _, args := range [][]string{
		{"status", fqn}, {"logs", fqn}, {"diagnose", fqn}, {"deploy", "-f", edited}, {"history", fqn}, {"rollback", fqn}, {"automate", "-f", automation},
		{"config"}, {"list", "-o", "yaml"},
	} {
		require.NoError(t, run(args...))
	}
	require.Contains(t, told.String(), "with 5 it misses ticks", "what is told beside the results is searched")
	outputs = append(outputs, told.String())
	require.Contains(t, strings.Join(outputs, "\n"), "guarded", "the commands did something")

	for _, value := range []string{secret, w.standIn.Token} {
		for _, output := range outputs {
			assert.NotContains(t, output, value)
		}
		for _, object := range w.everything(t) {
			assert.NotContains(t, object, value)
		}
	}
	kept, err := w.Kube.CoreV1().Secrets(w.namespace).Get(t.Context(), "om-secret-guarded-metadata", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, secret, string(kept.Data["env.DB_PASSWORD"]), "the Secret has it")
}

// everything is all objects of the namespace but Secrets, as JSON.
func (w *world) everything(t *testing.T) []string {
	t.Helper()
	core, batch := w.Kube.CoreV1(), w.Kube.BatchV1()
	var out []string
	add := func(list any, err error) {
		require.NoError(t, err)
		data, err := json.Marshal(list)
		require.NoError(t, err)
		out = append(out, string(data))
	}
	configMaps, err := core.ConfigMaps(w.namespace).List(t.Context(), metav1.ListOptions{})
	add(configMaps, err)
	pods, err := core.Pods(w.namespace).List(t.Context(), metav1.ListOptions{})
	add(pods, err)
	events, err := core.Events(w.namespace).List(t.Context(), metav1.ListOptions{})
	add(events, err)
	jobs, err := batch.Jobs(w.namespace).List(t.Context(), metav1.ListOptions{})
	add(jobs, err)
	cronJobs, err := batch.CronJobs(w.namespace).List(t.Context(), metav1.ListOptions{})
	add(cronJobs, err)
	require.Contains(t, strings.Join(out, ""), "guarded", "the objects are there")
	return out
}
