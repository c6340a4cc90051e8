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

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// sourceConfigs are the smallest that OpenMetadata's own pages make, by pipeline type.
func sourceConfigs() map[omapi.PipelineType]map[string]any {
	table := "svc.db.schema.orders"
	return map[omapi.PipelineType]map[string]any{
		omapi.PipelineMetadata:           {"type": "DatabaseMetadata", "markDeletedTables": true},
		omapi.PipelineUsage:              {"type": "DatabaseUsage", "queryLogDuration": 1},
		omapi.PipelineLineage:            {"type": "DatabaseLineage", "queryLogDuration": 1},
		omapi.PipelineProfiler:           {"type": "Profiler"},
		omapi.PipelineAutoClassification: {"type": "AutoClassification"},
		omapi.PipelineTestSuite:          {"type": "TestSuite", "entityFullyQualifiedName": table},
		omapi.PipelineDBT: {"type": "DBT", "dbtConfigSource": map[string]any{
			"dbtConfigType": "local", "dbtCatalogFilePath": "/catalog.json", "dbtManifestFilePath": "/manifest.json",
		}},
		omapi.PipelineApplication: {
			"sourcePythonClass": "metadata.applications.example.HelloPipelines", "appConfig": map[string]any{"type": "Automator"},
		},
	}
}

// TestWorkflowsParse lets the ingestion package read the configurations that are made for it: its models are closed, so
// one field too many ends a run before it has begun.
func TestWorkflowsParse(t *testing.T) {
	if os.Getenv("PIPELINECTL_E2E") == "" || os.Geteuid() != 0 {
		t.Skip("PIPELINECTL_E2E is not set, or not root: this test needs built images, run it by make test-integration")
	}
	texts := map[string]string{}
	for pipelineType, source := range sourceConfigs() {
		config, err := workflow.Build(&omapi.IngestionPipeline{
			Name: "p", FullyQualifiedName: "svc.p", PipelineType: pipelineType, LoggerLevel: "DEBUG",
			SourceConfig: map[string]any{"config": source}, RaiseOnError: new(true), EnableStreamableLogs: true,
			OpenMetadataServerConnection: map[string]any{
				"hostPort": "http://om:8585/api", "authProvider": "openmetadata", "securityConfig": map[string]any{"jwtToken": "token"},
			},
		}, &omapi.Service{Name: "svc", ServiceType: "Mysql"})
		require.NoError(t, err, pipelineType)
		config["pipelineRunId"] = "8a1f0c52-6f0f-4d0b-9d5e-2f4c8a6b7c11"
		texts[string(pipelineType)], err = config.YAML()
		require.NoError(t, err, pipelineType)
	}
	assert.Len(t, texts, len(workflow.Types()), "every type that can be deployed is here")
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
