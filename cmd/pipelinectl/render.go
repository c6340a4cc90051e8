package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

type renderCmd struct {
	File           []string `short:"f" required:"" help:"File or folder with IngestionPipeline entities and the services that they read from, JSON or YAML; - is standard input." placeholder:"FILE"`
	ServiceType    string   `help:"Type of the services that are not in the files, such as Mysql." placeholder:"TYPE"`
	ExplainSecrets bool     `help:"List what is kept in the Secrets and why, by path, in comments; no value is shown."`
	ShowSecrets    bool     `help:"Print the Secrets' values. Without it they are left out."`
}

// hidden stands for a token that is not printed.
const hidden = "hidden"

// Run prints the objects that a deploy would make. It needs neither a cluster nor a server.
func (cmd *renderCmd) Run(ctx context.Context, g *globals, s streams) error {
	found, err := readEntities(ctx, cmd.File)
	if err != nil {
		return err
	}
	if err := found.completeServices(ctx, nil); err != nil {
		return err
	}
	loaded, err := g.load()
	if err != nil {
		return err
	}
	warnings := loaded.Warnings
	objects := make([]*k8sclient.Objects, len(found.pipelines))
	errs := make([]error, len(found.pipelines))
	for i, pipeline := range found.pipelines {
		warnings = append(warnings, k8sclient.PipelineWarnings(pipeline)...)
		objects[i], errs[i] = cmd.render(g, loaded, found, pipeline)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	g.warn(warnings...)
	if !cmd.ShowSecrets {
		g.warn("the Secrets are printed without their values, which a pipeline cannot run without; see --show-secrets")
	}
	for i := range objects {
		if err := cmd.explain(s, &loaded.Config, found.pipelines[i]); err != nil {
			return err
		}
		if err := cmd.print(s, objects[i]); err != nil {
			return err
		}
	}
	return nil
}

func (cmd *renderCmd) render(g *globals, loaded *k8sclient.Loaded, found *entities, pipeline *omapi.IngestionPipeline) (*k8sclient.Objects, error) {
	if len(pipeline.OpenMetadataServerConnection) == 0 {
		if loaded.MetadataAPIEndpoint == "" && g.URL == "" {
			return nil, fmt.Errorf("pipeline %s brings no openMetadataServerConnection: give --openmetadata-url", pipeline.FQN())
		}
		if cmd.ShowSecrets && g.Token == "" && loaded.AuthProvider != authNone {
			return nil, fmt.Errorf("pipeline %s brings no openMetadataServerConnection: set OPENMETADATA_TOKEN", pipeline.FQN())
		}
		pipeline.OpenMetadataServerConnection = g.serverConnection(&loaded.Config, cmp.Or(g.Token, hidden))
	}
	service, err := found.serviceOf(pipeline)
	if err != nil {
		return nil, err
	}
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

func (cmd *renderCmd) explain(s streams, config *k8sclient.Config, pipeline *omapi.IngestionPipeline) error {
	if !cmd.ExplainSecrets {
		return nil
	}
	secrets, err := k8sclient.Explain(config, pipeline)
	if err != nil {
		return err
	}
	lines := []string{"# Pipeline " + pipeline.FQN() + " keeps these in its Secret:"}
	for _, secret := range secrets {
		lines = append(lines, "#   "+secret.Path+": "+secret.Reason)
	}
	return s.lines(lines)
}

func (cmd *renderCmd) print(s streams, objects *k8sclient.Objects) error {
	secret := objects.Secret.DeepCopy()
	// Without --show-secrets there is no value at all: one that only stands for it would overwrite the real one.
	secret.Data, secret.StringData = nil, nil
	if cmd.ShowSecrets {
		secret.StringData = map[string]string{}
		for key, value := range objects.Secret.Data {
			secret.StringData[key] = string(value)
		}
	}
	documents := []runtime.Object{objects.ConfigMap, secret}
	if objects.CronJob != nil {
		documents = append(documents, objects.CronJob)
	}
	for _, document := range documents {
		head := "---\n"
		if document == runtime.Object(secret) && !cmd.ShowSecrets {
			head += "# Its values are left out: " + strings.Join(slices.Sorted(maps.Keys(objects.Secret.Data)), ", ") + ". See --show-secrets.\n"
		}
		data, err := yaml.Marshal(document)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if _, err := s.out.Write(append([]byte(head), data...)); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	return nil
}
