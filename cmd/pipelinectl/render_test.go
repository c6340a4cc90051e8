package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/golden"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// TestRenderEveryType renders the example of each pipeline type; test/images lets the ingestion package read what is
// made for it.
func TestRenderEveryType(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/types/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, len(workflow.Types()), "every type has an example")
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute("render", "-f", file, "--openmetadata-url", "http://openmetadata:8585/api")
			require.Equal(t, 0, got.code, got.errOut)
			assert.Equal(t, 2, strings.Count(got.errOut, "warning: "), "%s: of the moving image, and of the Secrets without values", got.errOut)
			assert.NotContains(t, got.out, "change-me", "no secret without --show-secrets")
			golden.Assert(t, filepath.Join("render", name), got.out)
			input, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, strings.Count(string(input), "scheduleInterval:"), strings.Count(got.out, "kind: CronJob"), "a schedule is a CronJob")
		})
	}
}

// TestExplainSecrets: both kinds of error are seen, what is taken and what is not, and no value.
func TestExplainSecrets(t *testing.T) {
	t.Parallel()
	file := write(t, "a.yaml", strings.Replace(goodPipeline, "type: DatabaseMetadata", `type: DatabaseMetadata, link: "https://h/x?token=SENTINEL", apiKey: SENTINEL, label: SENTINEL, houseToken: SENTINEL-public`, 1)+
		"---\nname: svc\nserviceType: Mysql\n")
	common := []string{
		"-f", file, "--openmetadata-url", "http://om/api", "--openmetadata-token", "SENTINEL", "--set", "ingestionImage=a:1", "--explain-secrets",
		"--set", "extraEnvVars=DB_PASS:SENTINEL", "--set", "secretKeys=label", "--set", "publicKeys=house_token",
	}
	reasons := map[string]string{
		"/source/sourceConfig/config/link": "token", "/source/sourceConfig/config/apiKey": "schemas", "/source/sourceConfig/config/label": "secretKeys", "DB_PASS": "pass",
		"/workflowConfig/openMetadataServerConfig/securityConfig/jwtToken": "schemas",
	}
	got := execute(slices.Concat([]string{"render"}, common)...)
	require.Equal(t, 0, got.code, got.errOut)
	for path, reason := range reasons {
		assert.Regexp(t, "(?m)^#   "+path+": .*"+reason, got.out)
	}
	assert.NotContains(t, strings.ReplaceAll(got.out+got.errOut, "SENTINEL-public", ""), "SENTINEL")
	assert.Contains(t, got.out, "SENTINEL-public")

	common = slices.Concat([]string{"deploy", "--kubeconfig", kubeconfig(t, deployedPipelines(t)), "--dry-run=client", "--set", "sidecar=never"}, common)
	got = execute(common...)
	require.Equal(t, 0, got.code, got.errOut)
	for path, reason := range reasons {
		assert.Regexp(t, "(?m)^  secret "+path+": .*"+reason, got.out)
	}
	got = execute(append(common, "-o", "json")...)
	require.Equal(t, 0, got.code, got.errOut)
	var results []k8sclient.DeployResult
	require.NoError(t, json.Unmarshal([]byte(got.out), &results))
	require.Len(t, results, 1)
	assert.Len(t, results[0].Secrets, len(reasons))
	for _, secret := range results[0].Secrets {
		assert.Contains(t, secret.Reason, reasons[secret.Path], secret.Path)
	}
	assert.NotContains(t, got.out+got.errOut, "SENTINEL")
}
