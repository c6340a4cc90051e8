package omapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// PipelineType is the kind of an ingestion pipeline, as OpenMetadata's schema pipelineType names it.
type PipelineType string

// The types of OpenMetadata 2.x. DataInsight and ElasticSearchReindex are older and were replaced by applications.
const (
	PipelineMetadata             PipelineType = "metadata"
	PipelineUsage                PipelineType = "usage"
	PipelineLineage              PipelineType = "lineage"
	PipelineProfiler             PipelineType = "profiler"
	PipelineAutoClassification   PipelineType = "autoClassification"
	PipelineTestSuite            PipelineType = "TestSuite"
	PipelineDBT                  PipelineType = "dbt"
	PipelineApplication          PipelineType = "application"
	PipelineDataInsight          PipelineType = "dataInsight"
	PipelineElasticSearchReindex PipelineType = "elasticSearchReindex"
)

// IngestionPipeline is OpenMetadata's entity, as far as a pipeline runner needs it. Servers send more; it is ignored.
type IngestionPipeline struct {
	ID                           string          `json:"id,omitempty"`
	Name                         string          `json:"name"`
	DisplayName                  string          `json:"displayName,omitempty"`
	FullyQualifiedName           string          `json:"fullyQualifiedName,omitempty"`
	PipelineType                 PipelineType    `json:"pipelineType"`
	Service                      EntityReference `json:"service,omitzero"`
	SourceConfig                 map[string]any  `json:"sourceConfig"`
	OpenMetadataServerConnection map[string]any  `json:"openMetadataServerConnection,omitempty"`
	AirflowConfig                AirflowConfig   `json:"airflowConfig"`
	LoggerLevel                  string          `json:"loggerLevel,omitempty"`
	// Enabled is true where it is not given, as in the schema.
	Enabled *bool `json:"enabled,omitempty"`
	// Deployed is what OpenMetadata shows; false where it is not given, as in the schema.
	Deployed             *bool `json:"deployed,omitempty"`
	RaiseOnError         *bool `json:"raiseOnError,omitempty"`
	EnableStreamableLogs bool  `json:"enableStreamableLogs,omitempty"`
}

// UnmarshalJSON keeps numbers exact: where any value may stand, they are json.Number with the digits as they were given.
func (p *IngestionPipeline) UnmarshalJSON(data []byte) error {
	type plain IngestionPipeline
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return decoder.Decode((*plain)(p))
}

// AirflowConfig is the schedule; the name is the schema's.
type AirflowConfig struct {
	// ScheduleInterval is a cron expression or a descriptor such as @daily; empty: on demand only.
	ScheduleInterval string `json:"scheduleInterval,omitempty"`
	PipelineTimezone string `json:"pipelineTimezone,omitempty"`
	// PausePipeline keeps the schedule out of force; nil: the pipeline does not say.
	PausePipeline *bool `json:"pausePipeline,omitempty"`
	// WorkflowTimeout is the longest that a run may take, in seconds; nil: as the runner has it.
	WorkflowTimeout *int64 `json:"workflowTimeout,omitempty"`

	// What a runner without Airflow has nothing for. Dates come in several forms.
	StartDate       any  `json:"startDate,omitempty"`
	EndDate         any  `json:"endDate,omitempty"`
	Retries         *int `json:"retries,omitempty"`
	PipelineCatchup bool `json:"pipelineCatchup,omitempty"`
	MaxActiveRuns   *int `json:"maxActiveRuns,omitempty"`
}

// EntityReference points to another entity.
type EntityReference struct {
	ID                 string `json:"id,omitempty"`
	Type               string `json:"type,omitempty"`
	Name               string `json:"name,omitempty"`
	FullyQualifiedName string `json:"fullyQualifiedName,omitempty"`
}

// Service is the entity that a pipeline reads from, such as a database service; of a TestSuite pipeline it is a test suite.
type Service struct {
	ID                 string `json:"id,omitempty"`
	Name               string `json:"name"`
	FullyQualifiedName string `json:"fullyQualifiedName,omitempty"`
	// ServiceType is the connector's name, such as Mysql; of a test suite TestSuite.
	ServiceType string `json:"serviceType"`
}

// typeTestSuite is the entity type of a test suite, which stands in for a service.
const typeTestSuite = "testSuite"

// FQN is the fully qualified name: the entity's own, else service and name joined; empty where neither is known.
func (p *IngestionPipeline) FQN() string {
	if p.FullyQualifiedName != "" {
		return p.FullyQualifiedName
	}
	service := p.Service.FullyQualifiedName
	if service == "" && p.Service.Name != "" {
		service = JoinFQN(p.Service.Name)
	}
	if service == "" || p.Name == "" {
		return ""
	}
	return service + "." + JoinFQN(p.Name)
}

// GetPipeline reads a pipeline by its fully qualified name.
func (c *Client) GetPipeline(ctx context.Context, fqn string) (*IngestionPipeline, error) {
	if fqn == "" {
		return nil, errNoFQN
	}
	var pipeline IngestionPipeline
	err := c.do(ctx, request{
		op:     "read ingestion pipeline " + fqn,
		method: http.MethodGet, path: pipelinesPath + "/name/" + escape(fqn), into: &pipeline,
	})
	if err != nil {
		return nil, err
	}
	return &pipeline, nil
}

// SetPipelineFields changes fields of a pipeline that are true or false, such as enabled and deployed. A server that deploys
// pipelines itself may do so before it answers.
func (c *Client) SetPipelineFields(ctx context.Context, fqn string, fields map[string]bool) error {
	if fqn == "" {
		return errNoFQN
	}
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value bool   `json:"value"`
	}
	names := slices.Sorted(maps.Keys(fields))
	patch := make([]operation, len(names))
	for i, name := range names {
		patch[i] = operation{Op: "add", Path: "/" + name, Value: fields[name]} // Also where it is there.
	}
	return c.do(ctx, request{
		op:     "change " + strings.Join(names, ", ") + " of ingestion pipeline " + fqn,
		method: http.MethodPatch, path: pipelinesPath + "/name/" + escape(fqn), body: patch, contentType: "application/json-patch+json",
	})
}

// GetService reads the service that a pipeline refers to, or the test suite.
func (c *Client) GetService(ctx context.Context, ref EntityReference) (*Service, error) {
	fqn := ref.FullyQualifiedName
	if fqn == "" {
		fqn = JoinFQN(ref.Name)
	}
	return c.service(ctx, ref.Type, fqn, "/name/"+escape(fqn))
}

// GetServiceByID is GetService for a reference that has an id in place of a name.
func (c *Client) GetServiceByID(ctx context.Context, ref EntityReference) (*Service, error) {
	return c.service(ctx, ref.Type, ref.ID, "/"+escape(ref.ID))
}

func (c *Client) service(ctx context.Context, entityType, name, path string) (*Service, error) {
	collection, err := serviceCollection(entityType)
	if err != nil {
		return nil, err
	}
	var service Service
	err = c.do(ctx, request{
		op:     fmt.Sprintf("read %s %s", entityType, name),
		method: http.MethodGet, path: collection + path, into: &service,
	})
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w; check the name of the pipeline's service, and that %q is its type", err, entityType)
	}
	if err != nil {
		return nil, err
	}
	if entityType == typeTestSuite && service.ServiceType == "" {
		service.ServiceType = string(PipelineTestSuite) // The only value and the default of OpenMetadata's schema testSuite.
	}
	return &service, nil
}

// GetConnection reads how a service is reached, with the passwords that the token may see: OpenMetadata masks them for all but bots.
func (c *Client) GetConnection(ctx context.Context, ref EntityReference) (map[string]any, error) {
	collection, err := serviceCollection(ref.Type)
	if err != nil {
		return nil, err
	}
	fqn := ref.FullyQualifiedName
	if fqn == "" {
		fqn = JoinFQN(ref.Name)
	}
	var service struct {
		Connection map[string]any `json:"connection"`
	}
	err = c.do(ctx, request{
		op:     fmt.Sprintf("read the connection of %s %s", ref.Type, fqn),
		method: http.MethodGet, path: collection + "/name/" + escape(fqn), into: &service,
	})
	return service.Connection, err
}

// serviceCollection is where the entities of a type are. OpenMetadata names the API of services by their type; which types there
// are depends on its version, so its answer decides.
func serviceCollection(entityType string) (string, error) {
	switch entityType {
	case "":
		return "", errors.New("the type of the pipeline's service is not set; give service.type, such as databaseService")
	case typeTestSuite:
		return "/v1/dataQuality/testSuites", nil
	default:
		return "/v1/services/" + escape(entityType) + "s", nil
	}
}
