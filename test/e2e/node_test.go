package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/harness"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// TestNodeLost is row 16 of the table: the node loses its power while a run on demand and one of a schedule go on. The
// pods report to an OpenMetadata that is lost with the node; pipelinectl knows another, outside the cluster, in which only
// it can tell what happened.
func TestNodeLost(t *testing.T) {
	w := newWorld(t)
	if !w.Local {
		t.Skip("only a node of the local cluster is lost on purpose")
	}
	outside := omtest.Start(t, openmetadata.Options{})
	lost := row{
		number: 16, how: "node lost (power), until the Job is decided", options: map[string]string{"duration": "600", "rows": "600"},
		want: omapi.StateFailed, category: diagnostics.CategoryNodeLost,
		set: []string{
			"terminationGracePeriodSeconds=5",
			`tolerations=[{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}]`,
		},
	}
	endings := []*ending{w.ending(lost, lightImage), w.onSchedule(lost)}
	for _, e := range endings {
		e.deploy(t)
		require.Equal(t, e.fqn, outside.Pipeline(t, e.name, e.name+"-metadata"))
	}
	var err error
	w.command, err = w.NewCommand(&harness.StandIn{URL: outside.URL, PodURL: w.standIn.PodURL, Token: outside.Token}, t.TempDir(), w.namespace, harness.Parameters{IngestionImage: lightImage})
	require.NoError(t, err)
	w.serve(t)
	for _, e := range slices.Backward(endings) { // The one that waits for its tick first.
		e.start(t)
		e.pod(t, runs)
	}

	t.Cleanup(func() { w.node(t, "start") })
	w.node(t, "stop", "--kill")
	at := time.Now()

	for _, e := range endings {
		reachDeadline(givenUp)(t, e)
	}

	state := func(e *ending) string {
		e.run = outside.Run(t, e.fqn, e.runID)
		if e.run == nil {
			return ""
		}
		return e.run.State
	}
	for _, e := range endings {
		e.at = at
		err = eventually(t.Context(), func(context.Context) (bool, error) { return state(e) == string(e.want), nil })
		require.NoError(t, err, "%+v", e.run)
	}
	assert.Never(t, func() bool {
		return slices.ContainsFunc(endings, func(e *ending) bool { return state(e) != string(e.want) })
	}, settled, time.Second, "a final state stands")
	for _, e := range endings {
		e.took = e.finalWrite().Sub(e.at)
		e.assertWrittenOnce(t)
		assert.Len(t, e.run.Rows, 1, "one record per run")
		require.NotNil(t, e.run.Cause)
		assert.Equal(t, string(e.category), e.run.Cause.Name)
		assert.Contains(t, e.run.Cause.Error, "node1")
	}
	t.Logf("seconds from the loss to the final state in OpenMetadata, of which the control plane takes most to give up the node:\n%s", tableOf(endings))
}

// givenUp says that the control plane has given up a pod: until then nobody can tell that its node is lost.
func givenUp(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue
	})
}

// node loses the local cluster's node, or brings it back.
func (w *world) node(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(w.Root, "bin", "cluster"), append([]string{"node"}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}
