package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// Register creates a service and a pipeline in OpenMetadata, as its own pages would, from the files of examples/.
func (s *StandIn) Register(ctx context.Context, serviceFile, pipelineFile string) error {
	service, err := readYAML(serviceFile)
	if err != nil {
		return err
	}
	pipeline, err := readYAML(pipelineFile)
	if err != nil {
		return err
	}
	return s.Create(ctx, service, pipeline)
}

// Create is Register for entities that are in no file.
func (s *StandIn) Create(ctx context.Context, service, pipeline map[string]any) error {
	created, err := s.put(ctx, "/v1/services/databaseServices", service)
	if err != nil {
		return err
	}
	request := map[string]any{"service": map[string]any{"id": created["id"], "type": "databaseService"}}
	for _, field := range []string{"name", "displayName", "pipelineType", "sourceConfig", "airflowConfig", "loggerLevel"} {
		if value, ok := pipeline[field]; ok {
			request[field] = value
		}
	}
	_, err = s.put(ctx, "/v1/services/ingestionPipelines", request)
	return err
}

// Tables are the names of the tables that a service has in OpenMetadata.
func (s *StandIn) Tables(ctx context.Context, service string) ([]string, error) {
	query := url.Values{"service": {service}, "limit": {"1000"}}
	answer, err := s.call(ctx, http.MethodGet, "/v1/tables?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []struct {
			FQN string `json:"fullyQualifiedName"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, err
	}
	var names []string
	for _, table := range list.Data {
		if strings.HasPrefix(table.FQN, service+".") {
			names = append(names, table.FQN)
		}
	}
	return names, nil
}

func (s *StandIn) put(ctx context.Context, path string, entity map[string]any) (map[string]any, error) {
	body, err := json.Marshal(entity)
	if err != nil {
		return nil, err
	}
	answer, err := s.call(ctx, http.MethodPut, path, body)
	if err != nil {
		return nil, err
	}
	var created map[string]any
	return created, json.Unmarshal(answer, &created)
}

func (s *StandIn) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+s.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return answer, nil
}

func readYAML(path string) (map[string]any, error) {
	data, err := os.ReadFile(path) //nolint:gosec // The repository's own file.
	if err != nil {
		return nil, err
	}
	var out map[string]any
	if err := yaml.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}
