package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExitCodes(t *testing.T) {
	state := t.TempDir()
	// What a cluster has left that was killed.
	require.NoError(t, os.WriteFile(filepath.Join(state, "kubeconfig"), []byte("clusters: []\n"), 0o600))
	for _, tc := range []struct {
		reason string
		args   []string
		code   int
		want   string
	}{
		{reason: "no cluster runs", args: []string{"status"}, code: exitNotRunning, want: "`cluster up`"},
		{reason: "a kubeconfig of a cluster that is gone leads nowhere", args: []string{"kubeconfig"}, code: exitNotRunning, want: "`cluster up`"},
		{reason: "nor does kubectl", args: []string{"kubectl", "get", "nodes"}, code: exitNotRunning, want: "`cluster up`"},
		{reason: "an unknown command", args: []string{"frobnicate"}, code: exitUsage, want: "frobnicate"},
		{reason: "a state directory that cannot be", args: []string{"--state=/proc/x", "status"}, code: 1, want: "/proc"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Setenv("PIPELINECTL_CLUSTER_STATE", state)
			var stdout, stderr bytes.Buffer
			assert.Equal(t, tc.code, Main(tc.args, &stdout, &stderr))
			assert.Contains(t, stderr.String(), tc.want)
			assert.Empty(t, stdout.String())
		})
	}
}
