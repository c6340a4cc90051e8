// Package workflow makes the workflow configuration that the ingestion process reads, and keeps its secrets apart.
package workflow

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// What a configuration that cannot be built lacks; test with errors.Is.
var (
	ErrNoConnection    = errors.New("the OpenMetadata server connection is not set")
	ErrUnsupportedType = errors.New("pipeline type is not supported")
)

// Config is a workflow configuration, as OpenMetadata's schema openMetadataWorkflowConfig or applicationConfig
// shapes it.
type Config map[string]any

// parts are the parts of a workflow that differ by pipeline type.
type parts struct {
	// sourceType makes source.type from the service's type.
	sourceType func(service string) string
	processor  string
	// staged workflows write to a file first; they have a bulk sink instead of a sink.
	staged bool
}

func partsOf(t omapi.PipelineType) (parts, bool) {
	suffixed := func(suffix string) func(string) string {
		return func(service string) string { return service + suffix }
	}
	// The rules of org.openmetadata.service.util.WorkflowConfigBuilder and its strategies.
	table := map[omapi.PipelineType]parts{
		omapi.PipelineMetadata:           {sourceType: suffixed("")},
		omapi.PipelineUsage:              {sourceType: suffixed("-usage"), processor: "query-parser", staged: true},
		omapi.PipelineLineage:            {sourceType: suffixed("-lineage")},
		omapi.PipelineProfiler:           {sourceType: suffixed(""), processor: "orm-profiler"},
		omapi.PipelineAutoClassification: {sourceType: suffixed(""), processor: "tag-pii-processor"},
		omapi.PipelineTestSuite:          {sourceType: suffixed(""), processor: "orm-test-runner"},
		omapi.PipelineDBT:                {sourceType: func(string) string { return "dbt" }},
	}
	p, ok := table[t]
	return p, ok
}

// Types are the pipeline types that Build supports, sorted.
func Types() []string {
	types := []string{
		string(omapi.PipelineApplication), string(omapi.PipelineMetadata), string(omapi.PipelineUsage),
		string(omapi.PipelineLineage), string(omapi.PipelineProfiler), string(omapi.PipelineAutoClassification),
		string(omapi.PipelineTestSuite), string(omapi.PipelineDBT),
	}
	slices.Sort(types)
	return types
}

// CheckType gives an error that names the supported types where t is not one of them.
func CheckType(t omapi.PipelineType) error {
	if slices.Contains(Types(), string(t)) {
		return nil
	}
	// Types of OpenMetadata's that no workflow is made of, by its own client neither.
	reasons := map[omapi.PipelineType]string{
		omapi.PipelineDataInsight:          "; the application DataInsightsApplication has taken its place",
		omapi.PipelineElasticSearchReindex: "; the application SearchIndexingApplication has taken its place",
		"policyAgent":                      "; how its workflow is made is not published",
	}
	return fmt.Errorf("%w: %q%s; it is one of %s", ErrUnsupportedType, t, reasons[t], strings.Join(Types(), ", "))
}

// Build makes the configuration of a pipeline that reads from a service; applications need no service. The
// connection is the pipeline's own openMetadataServerConnection, which must be set.
func Build(pipeline *omapi.IngestionPipeline, service *omapi.Service) (Config, error) {
	if err := CheckType(pipeline.PipelineType); err != nil {
		return nil, err
	}
	if len(pipeline.OpenMetadataServerConnection) == 0 {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), ErrNoConnection)
	}
	if err := omapi.CheckHeaders(Server(pipeline.OpenMetadataServerConnection).Headers); err != nil {
		return nil, fmt.Errorf("pipeline %s: openMetadataServerConnection.extraHeaders: %w", pipeline.FQN(), err)
	}
	connection, err := cleanConnection(pipeline.OpenMetadataServerConnection)
	if err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	workflowConfig := map[string]any{
		"loggerLevel":              orDefault(pipeline.LoggerLevel, "INFO"),
		"openMetadataServerConfig": connection,
	}
	if pipeline.RaiseOnError != nil {
		workflowConfig["raiseOnError"] = *pipeline.RaiseOnError
	}
	config := Config{
		"workflowConfig":       workflowConfig,
		"ingestionPipelineFQN": pipeline.FQN(),
	}
	if pipeline.EnableStreamableLogs {
		config["enableStreamableLogs"] = true
	}
	parts := ingestion
	if pipeline.PipelineType == omapi.PipelineApplication {
		parts = application
	}
	config, err = parts(config, pipeline, service)
	if err != nil {
		return nil, err
	}
	if err := CheckMasks(config); err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	return config, nil
}

func application(config Config, pipeline *omapi.IngestionPipeline, _ *omapi.Service) (Config, error) {
	app, ok := pipeline.SourceConfig["config"].(map[string]any)
	class, _ := app["sourcePythonClass"].(string)
	if !ok || class == "" {
		return nil, fmt.Errorf("application pipeline %s: sourceConfig.config.sourcePythonClass is not set", pipeline.FQN())
	}
	for _, key := range []string{"sourcePythonClass", "appConfig", "appPrivateConfig"} {
		if value, ok := app[key]; ok && value != nil {
			config[key] = value
		}
	}
	return config, nil
}

func ingestion(config Config, pipeline *omapi.IngestionPipeline, service *omapi.Service) (Config, error) {
	if service == nil || service.ServiceType == "" {
		return nil, fmt.Errorf("pipeline %s: the type of its service %q is not known", pipeline.FQN(), pipeline.Service.Name)
	}
	p, _ := partsOf(pipeline.PipelineType)
	config["source"] = map[string]any{
		"type":         p.sourceType(strings.ToLower(service.ServiceType)),
		"serviceName":  service.Name,
		"sourceConfig": pipeline.SourceConfig,
	}
	if p.processor != "" {
		config["processor"] = component(p.processor, processorConfig(pipeline))
	}
	if !p.staged {
		config["sink"] = component("metadata-rest", nil)
		return config, nil
	}
	file := stageFile(pipeline)
	config["stage"] = component("table-usage", map[string]any{"filename": file})
	config["bulkSink"] = component("metadata-usage", map[string]any{"filename": file})
	return config, nil
}

func component(kind string, config map[string]any) map[string]any {
	out := map[string]any{"type": kind, "config": map[string]any{}}
	if config != nil {
		out["config"] = maps.Clone(config)
	}
	return out
}

// processorConfig has the metrics that a profiler is limited to; they are the source's configuration in OpenMetadata.
func processorConfig(pipeline *omapi.IngestionPipeline) map[string]any {
	source, _ := pipeline.SourceConfig["config"].(map[string]any)
	metrics, _ := source["metrics"].([]any)
	if pipeline.PipelineType != omapi.PipelineProfiler || len(metrics) == 0 {
		return nil
	}
	return map[string]any{"profiler": map[string]any{"name": "ingestion-profiler", "metrics": metrics}}
}

// stageFile is where a usage workflow keeps its stage. The pod has its own file system, so one name does for all.
func stageFile(pipeline *omapi.IngestionPipeline) string {
	source, _ := pipeline.SourceConfig["config"].(map[string]any)
	file, _ := source["stageFileLocation"].(string)
	return orDefault(file, "/tmp/openmetadata/stage")
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
