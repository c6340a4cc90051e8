// Package e2e runs the product's commands on a real cluster, with a real kubelet, beside an OpenMetadata stand-in.
package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/metadata"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/harness"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	lightImage   = "pipelinectl.local/ingestion-light:dev"
	pollInterval = 100 * time.Millisecond
	// everyMinute is the shortest schedule that there is.
	everyMinute = "* * * * *"
	// hang is how long a test waits for what should take seconds.
	hang = 8 * time.Minute
)

// world is what one test works in: a namespace and an OpenMetadata of its own.
type world struct {
	*harness.Cluster

	namespace string
	standIn   *harness.StandIn
	command   *harness.Command
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	if os.Getenv("PIPELINECTL_E2E") == "" {
		tb.Skip("PIPELINECTL_E2E is not set: this test needs a cluster, run it by make test-integration")
	}
	cluster, err := harness.NewCluster(tb.Context())
	require.NoError(tb, err)
	w := &world{Cluster: cluster, namespace: "e2e-" + strings.ToLower(strings.ReplaceAll(tb.Name(), "/", "-"))}
	require.NoError(tb, cluster.Namespace(tb.Context(), w.namespace, func(string) bool { return false }))
	tb.Cleanup(func() { assert.NoError(tb, w.deleteNamespace(w.namespace)) })
	w.standIn, err = cluster.StartStandIn(tb.Context(), w.namespace, 0)
	require.NoError(tb, err)
	w.command, err = cluster.NewCommand(w.standIn, tb.TempDir(), w.namespace, harness.Parameters{IngestionImage: lightImage})
	require.NoError(tb, err)
	return w
}

// deleteNamespace is for clean-ups: the test's own context has ended by then.
func (w *world) deleteNamespace(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	return w.DeleteNamespace(ctx, name)
}

// client is the pipeline service client of the world, for what the command cannot ask for.
func (w *world) client(t *testing.T) *k8sclient.Client {
	t.Helper()
	om, err := omapi.New(omapi.Config{URL: w.standIn.URL, Token: w.standIn.Token})
	require.NoError(t, err)
	t.Cleanup(om.Close)
	config := k8sclient.DefaultConfig()
	config.Namespace = w.namespace
	client, err := k8sclient.New(w.Kube, om, config)
	require.NoError(t, err)
	return client
}

// pipeline registers a pipeline whose source does what the options say, and gives its file and name.
func (w *world) pipeline(t *testing.T, service string, options map[string]string, schedule string) (file, fqn string) {
	t.Helper()
	require.NoError(t, w.standIn.Create(t.Context(), map[string]any{
		"name": service, "serviceType": "CustomDatabase",
		"connection": map[string]any{"config": map[string]any{
			"type": "CustomDatabase", "sourcePythonClass": "pipelinectl_source.source.StaticDatabase", "connectionOptions": options,
		}},
	}, map[string]any{
		"name": service + "-metadata", "pipelineType": "metadata",
		"sourceConfig": map[string]any{"config": map[string]any{"type": "DatabaseMetadata"}}, "airflowConfig": map[string]any{},
	}))
	fqn = service + "." + service + "-metadata"
	file = filepath.Join(t.TempDir(), service+".yaml")
	entity := "name: " + service + "-metadata\nfullyQualifiedName: " + fqn + "\npipelineType: metadata\n" +
		"service: {type: databaseService, name: " + service + "}\n" +
		"sourceConfig: {config: {type: DatabaseMetadata}}\nairflowConfig: {scheduleInterval: \"" + schedule + "\"}\n"
	if schedule == everyMinute {
		entity += "enabled: false\n" // Whoever wants it to tick enables it when all is ready.
	}
	require.NoError(t, os.WriteFile(file, []byte(entity), 0o600))
	return file, fqn
}

func (w *world) start(t *testing.T, file, fqn string) k8sclient.RunResult {
	t.Helper()
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	var started k8sclient.RunResult
	require.NoError(t, w.command.RunJSON(t.Context(), &started, "run", fqn))
	return started
}

// startWithImage runs a deployed pipeline with an image of its own.
func (w *world) startWithImage(t *testing.T, file, fqn, image string) k8sclient.RunResult {
	t.Helper()
	command := w.command
	defer func() { w.command = command }()
	var err error
	w.command, err = w.NewCommand(w.standIn, t.TempDir(), w.namespace, harness.Parameters{IngestionImage: image})
	require.NoError(t, err)
	return w.start(t, file, fqn)
}

func (w *world) await(t *testing.T, fqn, runID string, reached func(omapi.PipelineState) bool) *admin.Run {
	t.Helper()
	var run *admin.Run
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		var err error
		run, err = w.standIn.Admin.Run(ctx, fqn, runID)
		return err == nil && run != nil && reached(omapi.PipelineState(run.State)), err
	})
	require.NoError(t, err, "run %s of %s: %+v", runID, fqn, run)
	return run
}

// awaitWork waits until the workflow itself has said that it runs: what it wrote later would be a race with the end.
func (w *world) awaitWork(t *testing.T, fqn, runID string) {
	t.Helper()
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		run, err := w.standIn.Admin.Run(ctx, fqn, runID)
		return run != nil && slices.ContainsFunc(run.Writes, harness.OfWorkflow), err
	})
	require.NoError(t, err, "run %s of %s", runID, fqn)
}

// eventually asks until the answer is yes. That a busy cluster fails to answer is told only where it never is.
func eventually(ctx context.Context, holds func(context.Context) (bool, error)) error {
	var problem error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, hang, true, func(ctx context.Context) (bool, error) {
		var done bool
		done, problem = holds(ctx)
		return done && problem == nil, nil
	})
	return errors.Join(err, problem)
}

// objects are the kind/name of all that pipelinectl makes, in a namespace.
func (w *world) objects(t *testing.T, namespace string) []string {
	t.Helper()
	client, err := metadata.NewForConfig(w.Config)
	require.NoError(t, err)
	var names []string
	for _, resource := range []schema.GroupVersionResource{
		{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"},
		{Group: "batch", Version: "v1", Resource: "cronjobs"}, {Group: "batch", Version: "v1", Resource: "jobs"},
	} {
		list, err := client.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		for i := range list.Items {
			if name := list.Items[i].Name; name != "kube-root-ca.crt" { // Kubernetes' own, in every namespace.
				names = append(names, resource.Resource+"/"+name)
			}
		}
	}
	return names
}
