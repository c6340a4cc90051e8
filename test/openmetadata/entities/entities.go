// Package entities makes and reads the entities of an OpenMetadata server, as its own pages would.
package entities

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-resty/resty/v2"
)

const (
	services  = "/v1/services/databaseServices"
	pipelines = "/v1/services/ingestionPipelines"
	suites    = "/v1/dataQuality/testSuites"
	// maxAnswer bounds what is read of one answer, in bytes.
	maxAnswer = 64 << 20
)

// Client speaks to a server; a request ends within a minute.
type Client struct {
	// URL is the server's address, with /api.
	URL   string
	Token string
}

// Entity is what the server answers of one.
type Entity struct {
	ID  string `json:"id"`
	FQN string `json:"fullyQualifiedName"`
}

// Service is a CustomDatabase service; test/images/README.md has the options of its source.
func Service(name string, options map[string]string) map[string]any {
	config := map[string]any{"type": "CustomDatabase", "sourcePythonClass": "pipelinectl_source.source.StaticDatabase"}
	if len(options) > 0 {
		config["connectionOptions"] = options
	}
	return map[string]any{"name": name, "serviceType": "CustomDatabase", "connection": map[string]any{"config": config}}
}

// Pipeline is a metadata pipeline without a schedule.
func Pipeline(name string) map[string]any {
	return map[string]any{
		"name": name, "pipelineType": "metadata", "airflowConfig": map[string]any{},
		"sourceConfig": map[string]any{"config": map[string]any{"type": "DatabaseMetadata"}},
	}
}

// Create makes a database service and a pipeline of it, and answers the pipeline.
func (c *Client) Create(ctx context.Context, service, pipeline map[string]any) (Entity, error) {
	made, err := c.CreateService(ctx, service)
	if err != nil {
		return Entity{}, err
	}
	return c.CreatePipeline(ctx, made.ID, pipeline)
}

// CreateService makes a database service.
func (c *Client) CreateService(ctx context.Context, service map[string]any) (Entity, error) {
	return c.put(ctx, services, service)
}

// CreatePipeline makes a pipeline of the service with that id. Of the fields it takes those that a request for one has.
func (c *Client) CreatePipeline(ctx context.Context, serviceID string, pipeline map[string]any) (Entity, error) {
	request := map[string]any{"service": map[string]any{"id": serviceID, "type": "databaseService"}}
	for _, field := range []string{"name", "displayName", "pipelineType", "sourceConfig", "airflowConfig", "loggerLevel"} {
		if value, ok := pipeline[field]; ok {
			request[field] = value
		}
	}
	return c.put(ctx, pipelines, request)
}

// CreateTestSuite makes a test suite.
func (c *Client) CreateTestSuite(ctx context.Context, suite map[string]any) (Entity, error) {
	return c.put(ctx, suites, suite)
}

// DeletePipeline deletes a pipeline for good.
func (c *Client) DeletePipeline(ctx context.Context, fqn string) error {
	var found Entity
	if err := c.call(ctx, http.MethodGet, pipelines+"/name/"+url.PathEscape(fqn), nil, &found); err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, pipelines+"/"+found.ID+"?hardDelete=true", nil, nil)
}

// Tables are the fully qualified names of a service's tables, at most 1,000.
func (c *Client) Tables(ctx context.Context, service string) ([]string, error) {
	query := url.Values{"service": {service}, "limit": {"1000"}}
	var list struct {
		Data []Entity `json:"data"`
	}
	if err := c.call(ctx, http.MethodGet, "/v1/tables?"+query.Encode(), nil, &list); err != nil {
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

func (c *Client) put(ctx context.Context, path string, entity map[string]any) (Entity, error) {
	var made Entity
	err := c.call(ctx, http.MethodPut, path, entity, &made)
	if err != nil {
		err = fmt.Errorf("make %v in OpenMetadata: %w", entity["name"], err)
	}
	return made, err
}

// call sends in as JSON and reads the answer into out; either may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := resty.NewWithClient(&http.Client{Transport: http.DefaultTransport}).SetResponseBodyLimit(maxAnswer)
	request := client.R().SetContext(ctx).SetAuthToken(c.Token).SetHeader("Content-Type", "application/json")
	if in != nil {
		request.SetBody(in)
	}
	answer, err := request.Execute(method, c.URL+path)
	if err != nil {
		return fmt.Errorf("OpenMetadata does not answer %s %s: %w", method, path, err)
	}
	if answer.StatusCode() >= http.StatusMultipleChoices {
		return fmt.Errorf("OpenMetadata answered %s to %s %s: %.500s", answer.Status(), method, path, answer.Body())
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Body(), out); err != nil {
		return fmt.Errorf("decode the answer to %s %s: %w", method, path, err)
	}
	return nil
}
