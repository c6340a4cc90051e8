package main

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

type renderCmd struct {
	File        []string `short:"f" required:"" help:"File or folder with IngestionPipeline entities and the services that they read from, JSON or YAML; - is standard input." placeholder:"FILE"`
	ServiceType string   `help:"Type of the services that are not in the files, such as Mysql." placeholder:"TYPE"`
	ShowSecrets bool     `help:"Print the Secrets' values. Without it they are hidden."`
}

// hidden stands for a secret in what is printed.
const hidden = "(hidden; see --show-secrets)"

// Run prints the objects that a deploy would make. It needs neither a cluster nor a server.
func (cmd *renderCmd) Run(ctx context.Context, g *globals, s streams) error {
	found, err := readEntities(ctx, cmd.File)
	if err != nil {
		return err
	}
	loaded, err := g.load()
	if err != nil {
		return err
	}
	var errs []error
	for _, pipeline := range found.pipelines {
		objects, err := cmd.render(g, loaded, found, pipeline)
		if err == nil {
			err = cmd.print(s, objects)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (cmd *renderCmd) render(g *globals, loaded *k8sclient.Loaded, found *entities, pipeline *omapi.IngestionPipeline) (*k8sclient.Objects, error) {
	if len(pipeline.OpenMetadataServerConnection) == 0 {
		endpoint := loaded.MetadataAPIEndpoint
		if endpoint == "" {
			endpoint = g.URL
		}
		if endpoint == "" {
			return nil, fmt.Errorf("pipeline %s brings no openMetadataServerConnection: give --openmetadata-url", pipeline.FQN())
		}
		if cmd.ShowSecrets && g.Token == "" {
			return nil, fmt.Errorf("pipeline %s brings no openMetadataServerConnection: set OPENMETADATA_TOKEN", pipeline.FQN())
		}
		token := g.Token
		if token == "" {
			token = hidden
		}
		pipeline.OpenMetadataServerConnection = serverConnection(endpoint, token)
	}
	service := found.serviceOf(pipeline)
	if service == nil && pipeline.PipelineType != omapi.PipelineApplication {
		serviceType := cmd.ServiceType
		if pipeline.PipelineType == omapi.PipelineTestSuite {
			serviceType = string(omapi.PipelineTestSuite) // What it refers to is a test suite, not a service.
		}
		if serviceType == "" {
			return nil, fmt.Errorf("pipeline %s: the type of its service %s is not known without a server: put the service's entity beside the pipeline's, or give --service-type", pipeline.FQN(), pipeline.Service.Name)
		}
		service = &omapi.Service{Name: pipeline.Service.Name, FullyQualifiedName: pipeline.Service.FullyQualifiedName, ServiceType: serviceType}
	}
	return k8sclient.NewObjects(&loaded.Config, pipeline, service)
}

func (cmd *renderCmd) print(s streams, objects *k8sclient.Objects) error {
	secret := objects.Secret.DeepCopy()
	secret.StringData = map[string]string{}
	for key, value := range secret.Data {
		secret.StringData[key] = hidden
		if cmd.ShowSecrets {
			secret.StringData[key] = string(value)
		}
	}
	secret.Data = nil
	documents := []runtime.Object{objects.ConfigMap, secret}
	if objects.CronJob != nil {
		documents = append(documents, objects.CronJob)
	}
	for _, document := range documents {
		data, err := yaml.Marshal(document)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if _, err := s.out.Write(append([]byte("---\n"), data...)); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	return nil
}
