package workflow_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// TestCleanConnection: pods get a connection as cleaned as commands use it, whoever gave it.
func TestCleanConnection(t *testing.T) {
	t.Parallel()
	build := func(connection map[string]any) (workflow.Config, error) {
		return workflow.Build(&omapi.IngestionPipeline{
			Name: "p", FullyQualifiedName: "svc.p", PipelineType: omapi.PipelineMetadata, SourceConfig: map[string]any{}, OpenMetadataServerConnection: connection,
		}, &omapi.Service{Name: "svc", ServiceType: "Mysql"})
	}
	given := map[string]any{"hostPort": "http://om:8585/\n", "securityConfig": map[string]any{"jwtToken": "token\n", "other": 1}}
	config, err := build(given)
	require.NoError(t, err)
	want := map[string]any{"hostPort": "http://om:8585/api", "securityConfig": map[string]any{"jwtToken": "token", "other": 1}}
	built, ok := config["workflowConfig"].(map[string]any)
	require.True(t, ok)
	assert.Equal(t, want, built["openMetadataServerConfig"])
	asGiven := map[string]any{"hostPort": "http://om:8585/\n", "securityConfig": map[string]any{"jwtToken": "token\n", "other": 1}}
	assert.Equal(t, asGiven, given, "what was given is left alone")
	_, err = build(map[string]any{"hostPort": "om:8585"})
	require.ErrorContains(t, err, "openMetadataServerConnection.hostPort")
	_, err = build(map[string]any{"hostPort": "http://om", "securityConfig": map[string]any{"jwtToken": "hunter\n2"}})
	require.ErrorContains(t, err, "jwtToken: the token")
}
