package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

type deployCmd struct {
	File   []string `short:"f" required:"" help:"File with IngestionPipeline entities, JSON or YAML; - is standard input." placeholder:"FILE"`
	DryRun bool     `help:"Let the API server check all, and change nothing."`
	Output string   `short:"o" enum:"text,json,yaml" default:"text" help:"text, json or yaml."`
}

// Run deploys all pipelines of the files; none where one of them is bad.
func (cmd *deployCmd) Run(ctx context.Context, g *globals, s streams) error {
	var pipelines []*omapi.IngestionPipeline
	for _, path := range cmd.File {
		more, err := readPipelines(path)
		if err != nil {
			return err
		}
		pipelines = append(pipelines, more...)
	}
	c, ctx, cancel, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	for _, pipeline := range pipelines {
		if err := c.complete(pipeline); err != nil {
			return err
		}
	}
	var errs []error
	for _, pipeline := range pipelines {
		result, err := c.pipelines.Deploy(ctx, pipeline, nil, k8sclient.DeployOptions{DryRun: cmd.DryRun})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		schedule := "on demand"
		if result.Schedule != "" {
			schedule = "schedule " + result.Schedule
		}
		if err := s.print(cmd.Output, result, fmt.Sprintf("pipeline %s %s, %s", result.FQN, deployed(result.Action(), cmd.DryRun), schedule)); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func deployed(action string, dryRun bool) string {
	if action == k8sclient.ActionCreated {
		action = "deployed"
	}
	if dryRun {
		action += " (server dry run)"
	}
	return action
}

// complete gives a pipeline that brings no connection of its own the one of the configuration.
func (c *connection) complete(pipeline *omapi.IngestionPipeline) error {
	if len(pipeline.OpenMetadataServerConnection) > 0 {
		return nil
	}
	if c.token == "" {
		return fmt.Errorf("pipeline %s brings no openMetadataServerConnection, and there is no token to make one: set OPENMETADATA_TOKEN: %w", pipeline.FQN(), workflow.ErrNoConnection)
	}
	pipeline.OpenMetadataServerConnection = map[string]any{
		"type":           "OpenMetadata",
		"hostPort":       c.endpoint,
		"authProvider":   "openmetadata",
		"securityConfig": map[string]any{"jwtToken": c.token},
	}
	return nil
}
