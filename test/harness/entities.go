package harness

import (
	"context"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/entities"
)

func (s *StandIn) entities() *entities.Client { return &entities.Client{URL: s.URL, Token: s.Token} }

// Register creates a service and a pipeline in OpenMetadata from the files of examples/, and gives the pipeline's fully
// qualified name.
func (s *StandIn) Register(ctx context.Context, serviceFile, pipelineFile string) (string, error) {
	service, err := readYAML(serviceFile)
	if err != nil {
		return "", err
	}
	pipeline, err := readYAML(pipelineFile)
	if err != nil {
		return "", err
	}
	created, err := s.entities().Create(ctx, service, pipeline)
	return created.FQN, err
}

// Create is Register for entities that are in no file.
func (s *StandIn) Create(ctx context.Context, service, pipeline map[string]any) error {
	_, err := s.entities().Create(ctx, service, pipeline)
	return err
}

// Tables are the names of the tables that a service has in OpenMetadata.
func (s *StandIn) Tables(ctx context.Context, service string) ([]string, error) {
	return s.entities().Tables(ctx, service)
}

func readYAML(path string) (map[string]any, error) {
	data, err := os.ReadFile(path) //nolint:gosec // The repository's own file.
	if err != nil {
		return nil, fmt.Errorf("read an example: %w", err)
	}
	var out map[string]any
	if err := yaml.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%s is no YAML: %w", path, err)
	}
	return out, nil
}
