package workflow

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

func profiler(source map[string]any) *omapi.IngestionPipeline {
	return &omapi.IngestionPipeline{
		Name: "p", Service: omapi.EntityReference{Name: "svc"}, PipelineType: omapi.PipelineProfiler,
		SourceConfig: map[string]any{"config": source}, OpenMetadataServerConnection: map[string]any{"hostPort": "http://om/api"},
	}
}

func TestProfilerMetrics(t *testing.T) {
	t.Parallel()
	service := &omapi.Service{Name: "svc", ServiceType: "Mysql"}
	config, err := Build(profiler(map[string]any{"metrics": []any{"nullCount", "max"}}), service)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"type": "orm-profiler", "config": map[string]any{"profiler": map[string]any{"name": "ingestion-profiler", "metrics": []any{"nullCount", "max"}}},
	}, config["processor"])
	config, err = Build(profiler(map[string]any{}), service)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"type": "orm-profiler", "config": map[string]any{}}, config["processor"], "all metrics")
}

func TestCheckType(t *testing.T) {
	t.Parallel()
	for kind, want := range map[omapi.PipelineType]string{
		"policyAgent":                      `"policyAgent"; how its workflow is made is not published; it is one of TestSuite`,
		omapi.PipelineDataInsight:          "DataInsightsApplication has taken its place",
		omapi.PipelineElasticSearchReindex: "SearchIndexingApplication has taken its place",
		"teleport":                         `"teleport"; it is one of TestSuite, application`,
	} {
		err := CheckType(kind)
		require.ErrorIs(t, err, ErrUnsupportedType)
		require.ErrorContains(t, err, want)
	}
}
