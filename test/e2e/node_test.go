package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/test/harness"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// TestNodeLost is row 16 of the table: the node loses its power while the run goes on. The pod reports to an OpenMetadata
// that is lost with the node; pipelinectl knows another, outside the cluster, in which only it can tell what happened.
func TestNodeLost(t *testing.T) {
	w := newWorld(t)
	if !w.Local {
		t.Skip("only a node of the local cluster is lost on purpose")
	}
	file, fqn := w.pipeline(t, "row-16", map[string]string{"duration": "600", "rows": "600"}, "")
	outside := omtest.Start(t, openmetadata.Options{})
	require.Equal(t, fqn, outside.Pipeline(t, "row-16", "row-16-metadata"))
	parameters := []string{
		"--set", "activeDeadlineSeconds=100", "--set", "terminationGracePeriodSeconds=5",
		"--set", `tolerations=[{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}]`,
	}
	_, err := w.command.Run(t.Context(), append([]string{"deploy", "-f", file}, parameters...)...)
	require.NoError(t, err)
	w.command, err = w.NewCommand(&harness.StandIn{URL: outside.URL, PodURL: w.standIn.PodURL, Token: outside.Token}, w.namespace, harness.Parameters{IngestionImage: lightImage})
	require.NoError(t, err)
	w.serve(t)
	var started k8sclient.RunResult
	require.NoError(t, w.command.RunJSON(t.Context(), &started, append([]string{"run", fqn}, parameters...)...))
	e := &ending{world: w, name: "row-16", fqn: fqn, runID: started.RunID}
	e.pod(t, runs)

	t.Cleanup(func() { w.node(t, "start") })
	w.node(t, "stop", "--kill")
	lost := time.Now()

	var run *admin.Run
	err = wait.PollUntilContextTimeout(t.Context(), pollInterval, hang, true, func(context.Context) (bool, error) {
		run = outside.Run(t, fqn, started.RunID)
		return run != nil && run.State == "failed", nil
	})
	require.NoError(t, err, "%+v", run)
	t.Logf("failed %s after the loss, by %s: %+v", time.Since(lost).Round(time.Second), run.Writes[len(run.Writes)-1].UserAgent, run.Cause)
	require.NotNil(t, run.Cause)
	assert.Equal(t, string(diagnostics.CategoryNodeLost), run.Cause.Name)
	assert.Contains(t, run.Cause.Error, "node1")
	assert.Len(t, run.Rows, 1)
}

// node loses the local cluster's node, or brings it back.
func (w *world) node(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(w.Root, "bin", "cluster"), append([]string{"node"}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}
