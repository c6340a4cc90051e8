package images

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// TestWorkflowsParse lets the ingestion package read the configurations that are made for it: its models are closed, so
// one field too many ends a run before it has begun.
func TestWorkflowsParse(t *testing.T) {
	if os.Getenv("PIPELINECTL_E2E") == "" || os.Geteuid() != 0 {
		t.Skip("PIPELINECTL_E2E is not set, or not root: this test needs built images, run it by make test-integration")
	}
	texts := map[string]string{}
	files, err := filepath.Glob("../../examples/types/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		pipeline, service := readExample(t, file)
		pipeline.RaiseOnError, pipeline.EnableStreamableLogs = new(true), true
		pipeline.OpenMetadataServerConnection = map[string]any{
			"hostPort": "http://om:8585/api", "authProvider": "openmetadata", "securityConfig": map[string]any{"jwtToken": "token"},
		}
		config, err := workflow.Build(pipeline, service)
		require.NoError(t, err, file)
		config["pipelineRunId"] = "8a1f0c52-6f0f-4d0b-9d5e-2f4c8a6b7c11"
		texts[string(pipeline.PipelineType)], err = config.YAML()
		require.NoError(t, err, file)
	}
	assert.Len(t, texts, len(workflow.Types()), "every type that can be deployed is here")
	texts["automation"] = automation
	input, err := json.Marshal(texts)
	require.NoError(t, err)

	script, err := filepath.Abs("testdata/parse.py")
	require.NoError(t, err)
	container := newContainer(t, "ingestion")
	command := exec.CommandContext(t.Context(), "buildah", "run", "--isolation", "chroot", "--volume", script+":/parse.py:ro", container, "--", "python", "/parse.py")
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &stdout, &stderr
	require.NoError(t, command.Run(), stderr.String())
	var failed map[string]string
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &failed), stdout.String())
	assert.Empty(t, failed)
}

// automation is the test of a connection as OpenMetadata hands it to a runner. Its pod gets it as it is.
const automation = `
id: 5f0b3f5e-6b1c-4a39-8f27-6d0c6f1d2a11
name: test-connection-shop
fullyQualifiedName: test-connection-shop
workflowType: TEST_CONNECTION
request:
  connection: {config: {type: Mysql, scheme: mysql+pymysql, username: reader, authType: {password: change-me}, hostPort: "mysql:3306"}}
  serviceName: shop
  serviceType: Database
  connectionType: Mysql
openMetadataServerConnection:
  type: OpenMetadata
  hostPort: http://om:8585/api
  authProvider: openmetadata
  securityConfig: {jwtToken: token}
`

// readExample reads a pipeline and its service, which an application has not.
func readExample(t *testing.T, file string) (*omapi.IngestionPipeline, *omapi.Service) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var (
		pipeline omapi.IngestionPipeline
		service  *omapi.Service
	)
	first, second, found := bytes.Cut(data, []byte("\n---\n"))
	require.NoError(t, yaml.Unmarshal(first, &pipeline), file)
	if found {
		require.NoError(t, yaml.Unmarshal(second, &service), file)
	}
	return &pipeline, service
}
