package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// TestGateway: commands reach OpenMetadata through a proxy that wants a header, by the flag, its variable, and the parameter.
func TestGateway(t *testing.T) {
	const header, refusal = "X-Gateway-Key", "the gateway wants"
	server := omtest.Start(t, openmetadata.Options{})
	url := server.Gateway(t, header, "hunter2")
	kube := kubeconfig(t, refusing(apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "x")))
	cases := map[string]struct {
		reason   string
		args     []string
		variable string
		refused  bool
	}{
		"None":      {reason: "without it nothing gets through", refused: true},
		"Flag":      {reason: "as curl has it", args: []string{"--openmetadata-header", header + ": hunter2"}},
		"Flags":     {reason: "there may be several", args: []string{"--openmetadata-header", "X-Other:a,b", "--openmetadata-header", header + ":hunter2"}},
		"Variable":  {reason: "out of the process list, one a line", variable: "X-Other: a\n" + header + ": hunter2\n"},
		"Parameter": {reason: "what pods get serves here too", args: []string{"--set", "extraHeaders=" + header + "=hunter2"}},
		"FlagWins":  {reason: "here it may be another than in the pods", args: []string{"--set", "extraHeaders=" + header + "=other", "--openmetadata-header", header + ":hunter2"}},
		"Wrong":     {reason: "another key opens nothing", args: []string{"--openmetadata-header", header + ":hunter3"}, refused: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.variable != "" {
				t.Setenv("OPENMETADATA_HEADERS", tc.variable)
			}
			for _, command := range [][]string{{"health"}, {"deploy", "svc.unknown"}} {
				got := execute(slices.Concat(command, tc.args, []string{"--openmetadata-url", url, "--openmetadata-token", server.Token, "--kubeconfig", kube, "--set", "ingestionImage=a:1"})...)
				assert.NotEqual(t, 0, got.code)
				if tc.refused {
					assert.Contains(t, got.out+got.errOut, refusal, "%v: %s", command, tc.reason)
				} else {
					assert.NotContains(t, got.out+got.errOut, refusal, "%v: %s", command, tc.reason)
				}
				assert.NotContains(t, got.out+got.errOut, "hunter", "%v: %s", command, tc.reason)
			}
		})
	}
	for _, bad := range []string{"hunter2", "X Y: hunter2", "X-Key: hunter2%"} {
		got := execute("health", "--openmetadata-header", bad, "--openmetadata-url", url, "--kubeconfig", kube)
		assert.NotEqual(t, 0, got.code)
		assert.NotContains(t, got.out+got.errOut, "hunter2")
	}
	got := execute("render", "-f", write(t, "a.yaml", goodPipeline+"---\nname: svc\nserviceType: Mysql\n"), "--openmetadata-url", "https://om/api",
		"--openmetadata-token", "x", "--set", "ingestionImage=a:1", "--set", "extraHeaders="+header+"=hunter2", "--show-secrets")
	require.Equal(t, 0, got.code, got.errOut)
	assert.Contains(t, got.out, `"/workflowConfig/openMetadataServerConfig/extraHeaders/`+header+`": "hunter2"`, "pods get it, in the Secret")
}
