package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// calls counts requests by method.
type calls struct {
	next http.RoundTripper

	mu       sync.Mutex
	byMethod map[string]int
}

func (c *calls) RoundTrip(request *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.byMethod[request.Method]++
	c.mu.Unlock()
	return c.next.RoundTrip(request)
}

func (c *calls) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.byMethod
	c.byMethod = map[string]int{}
	return out
}

func manyPipelines(count int) []k8sclient.DeployItem {
	service := &omapi.Service{Name: "svc", ServiceType: "Mysql"}
	items := make([]k8sclient.DeployItem, count)
	for i := range items {
		items[i] = k8sclient.DeployItem{Service: service, Pipeline: &omapi.IngestionPipeline{
			Name: fmt.Sprintf("bulk-%04d", i), FullyQualifiedName: fmt.Sprintf("svc.bulk-%04d", i), PipelineType: omapi.PipelineMetadata,
			Service:      omapi.EntityReference{Type: "databaseService", Name: "svc"},
			SourceConfig: map[string]any{"config": map[string]any{"type": "DatabaseMetadata"}},
			OpenMetadataServerConnection: map[string]any{
				"hostPort": "http://om/api", "authProvider": "openmetadata", "securityConfig": map[string]any{"jwtToken": "token"},
			},
			AirflowConfig: omapi.AirflowConfig{ScheduleInterval: "0 3 1 1 *"},
		}}
	}
	return items
}

func TestDeployCalls(t *testing.T) {
	w := newWorld(t)
	const pipelines, kinds = 50, 3
	counter := &calls{byMethod: map[string]int{}}
	config := rest.CopyConfig(w.Config)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		counter.next = next
		return counter
	}
	kube, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	om, err := omapi.New(omapi.Config{URL: w.standIn.URL, Token: w.standIn.Token})
	require.NoError(t, err)
	parameters := k8sclient.DefaultConfig()
	parameters.Namespace = w.namespace
	client, err := k8sclient.New(kube, om, parameters)
	require.NoError(t, err)

	items := manyPipelines(pipelines)
	_, err = client.DeployAll(t.Context(), items, k8sclient.DeployOptions{}, nil)
	require.NoError(t, err)
	assert.Equal(t, map[string]int{http.MethodGet: kinds + 1, http.MethodPatch: kinds * pipelines}, counter.take(), "one list per kind, one call per object, and once the cluster's version")

	items[7].Pipeline.AirflowConfig.ScheduleInterval = "0 4 1 1 *"
	results, err := client.DeployAll(t.Context(), items, k8sclient.DeployOptions{}, nil)
	require.NoError(t, err)
	for i, result := range results {
		want := k8sclient.ActionUnchanged
		if i == 7 {
			want = k8sclient.ActionConfigured
		}
		assert.Equal(t, want, result.Action(), "a redeploy changes only what differs: %s", result.FQN)
	}
	assert.Equal(t, map[string]int{http.MethodGet: kinds + 1, http.MethodPatch: kinds * pipelines, http.MethodPost: 1}, counter.take(),
		"and of the one that differs, one call keeps the configuration before, and one looks whether another deploy came between")
}

// BenchmarkDeploy deploys a thousand pipelines by pipelinectl, and applies the same objects by kubectl, in turn; it reports
// how many times longer kubectl takes, by the medians, and fails where that is less than we promise.
func BenchmarkDeploy(b *testing.B) {
	w := newWorld(b)
	const (
		pipelines = 1000
		wanted    = 3.0
	)
	items := manyPipelines(pipelines)
	dir := b.TempDir()
	entities, objects := filepath.Join(dir, "entities.yaml"), filepath.Join(dir, "objects.yaml")
	writeDocuments(b, entities, func(write func(any)) {
		write(items[0].Service)
		for _, item := range items {
			write(item.Pipeline)
		}
	})
	config := k8sclient.DefaultConfig()
	var own, theirs []float64 // seconds
	for b.Loop() {
		config.Namespace = w.emptyNamespace(b, fmt.Sprintf("kubectl-%d", len(own)))
		writeDocuments(b, objects, func(write func(any)) {
			for _, item := range items {
				made, err := k8sclient.NewObjects(&config, item.Pipeline, item.Service)
				require.NoError(b, err)
				for _, object := range []runtime.Object{made.ConfigMap, made.Secret, made.CronJob} {
					write(object)
				}
			}
		})
		namespace := w.emptyNamespace(b, fmt.Sprintf("ours-%d", len(own)))
		own = append(own, seconds(func() {
			_, err := w.command.Run(b.Context(), "deploy", "-n", namespace, "-f", entities, "-o", "name")
			require.NoError(b, err)
		}))
		theirs = append(theirs, seconds(func() {
			out, err := w.kubectl(b, "apply", "-f", objects).CombinedOutput()
			require.NoError(b, err, "%s", out)
		}))
	}
	ratio := median(theirs) / median(own)
	assert.GreaterOrEqual(b, ratio, wanted, "kubectl takes %v s, pipelinectl %v s", theirs, own)
	b.ReportMetric(0, "ns/op") // Of both and their preparation: it says nothing.
	b.ReportMetric(ratio, "kubectl/pipelinectl")
	b.ReportMetric(median(own), "s/pipelinectl")
	b.ReportMetric(median(theirs), "s/kubectl")
}

func seconds(do func()) float64 {
	begun := time.Now()
	do()
	return time.Since(begun).Seconds()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func writeDocuments(tb testing.TB, path string, fill func(write func(any))) {
	tb.Helper()
	var out bytes.Buffer
	fill(func(document any) {
		data, err := yaml.Marshal(document)
		require.NoError(tb, err)
		out.WriteString("---\n")
		out.Write(data)
	})
	require.NoError(tb, os.WriteFile(path, out.Bytes(), 0o600))
}

// emptyNamespace is one more namespace of the test's.
func (w *world) emptyNamespace(tb testing.TB, suffix string) string {
	tb.Helper()
	name := w.namespace + "-" + suffix
	require.NoError(tb, w.Namespace(tb.Context(), name, func(string) bool { return false }))
	tb.Cleanup(func() { assert.NoError(tb, w.deleteNamespace(name)) })
	return name
}

// kubectl is the user's own, or the local cluster's.
func (w *world) kubectl(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	if w.Local {
		return exec.CommandContext(tb.Context(), filepath.Join(w.Root, "bin", "cluster"), append([]string{"kubectl", "--"}, args...)...)
	}
	return exec.CommandContext(tb.Context(), "kubectl", args...)
}
