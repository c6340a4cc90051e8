package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

type deployCmd struct {
	outputFlag

	Pipelines      []string `arg:"" optional:"" name:"pipeline" help:"Fully qualified names of pipelines that are read from OpenMetadata."`
	File           []string `short:"f" help:"File or folder with IngestionPipeline entities, JSON or YAML; - is standard input. Services beside them are used in place of the server's." placeholder:"FILE"`
	ExplainSecrets bool     `help:"List what is kept in the Secret and why, by path; no value is shown."`
	DryRun         string   `enum:"none,client,server" default:"none" help:"client: only make the objects; server: let the API server check them. Nothing is changed." placeholder:"WHERE"`
}

var errNothingToDeploy = errors.New("say what to deploy: --file, or fully qualified names")

// Run deploys all pipelines of the files; none where one of them is bad.
func (cmd *deployCmd) Run(ctx context.Context, g *globals, s streams) error {
	if len(cmd.File) == 0 && len(cmd.Pipelines) == 0 {
		return usageError{errNothingToDeploy}
	}
	found, err := cmd.readFiles(ctx)
	if err != nil {
		return err
	}
	c, ctx, cancel, err := g.connectWith(ctx, need{server: true, makes: true})
	if err != nil {
		return err
	}
	defer cancel()
	fetched, err := cmd.fetch(ctx, c)
	if err != nil {
		return err
	}
	copies := len(found.pipelines)
	found.pipelines = append(found.pipelines, fetched...)
	if err := found.completeServices(ctx, c.om.GetServiceByID); err != nil {
		return err
	}
	items, err := g.items(c, found)
	if err != nil {
		return err
	}
	for i := range copies {
		items[i].Copy = true
	}
	if cmd.DryRun == dryRunClient {
		if _, err := c.pipelines.RenderAll(ctx, items); err != nil {
			return err
		}
		return cmd.printChecked(s, c, found.pipelines)
	}
	bar := newProgress(s.err, "deploying", len(items))
	results, failed := c.pipelines.DeployAll(ctx, items, k8sclient.DeployOptions{DryRun: cmd.DryRun == dryRunServer},
		func(int, *k8sclient.DeployResult, error) { bar.step() })
	bar.end()
	if cmd.DryRun == dryRunNone {
		if err := c.pipelines.FinishInterrupted(ctx); err != nil && failed == nil {
			s.warnf("a run that was interrupted is not finished: %v", err)
		}
	}
	if err := cmd.explain(c, results, found.pipelines); err != nil {
		failed = errors.Join(failed, err)
	}
	return errors.Join(cmd.printResults(s, results), failed)
}

// readFiles reads the entities of all files; none if no file is given.
func (cmd *deployCmd) readFiles(ctx context.Context) (*entities, error) {
	if len(cmd.File) == 0 {
		return &entities{}, nil
	}
	return readEntities(ctx, cmd.File)
}

// fetch reads the named pipelines from OpenMetadata.
func (cmd *deployCmd) fetch(ctx context.Context, c *connection) ([]*omapi.IngestionPipeline, error) {
	return forEach(ctx, cmd.Pipelines, func(ctx context.Context, fqn string) (*omapi.IngestionPipeline, error) {
		pipeline, err := c.om.GetPipeline(ctx, fqn)
		if errors.Is(err, omapi.ErrNotFound) {
			err = fmt.Errorf("%w; give its fully qualified name, service.pipeline, as OpenMetadata shows it, or a file: --file", err)
		}
		return pipeline, err
	})
}

// items gives each pipeline its service, where that came with it, and its connection.
func (g *globals) items(c *connection, found *entities) ([]k8sclient.DeployItem, error) {
	items := make([]k8sclient.DeployItem, 0, len(found.pipelines))
	errs := make([]error, 0, len(found.pipelines))
	for _, pipeline := range found.pipelines {
		g.warn(k8sclient.PipelineWarnings(pipeline)...)
		service, err := found.serviceOf(pipeline)
		errs = append(errs, err, g.complete(&c.config, pipeline))
		items = append(items, k8sclient.DeployItem{Pipeline: pipeline, Service: service})
	}
	return items, errors.Join(errs...)
}

// explain adds what is kept in the Secret to the results, which are in the order of the pipelines.
func (cmd *deployCmd) explain(c *connection, results []*k8sclient.DeployResult, pipelines []*omapi.IngestionPipeline) error {
	if !cmd.ExplainSecrets {
		return nil
	}
	for i, result := range results {
		if result == nil {
			continue
		}
		var err error
		if result.Secrets, err = k8sclient.Explain(&c.config, pipelines[i]); err != nil {
			return err
		}
	}
	return nil
}

func (cmd *deployCmd) printChecked(s streams, c *connection, pipelines []*omapi.IngestionPipeline) error {
	results := make([]*k8sclient.DeployResult, len(pipelines))
	for i, pipeline := range pipelines {
		results[i] = &k8sclient.DeployResult{FQN: pipeline.FQN(), Schedule: pipeline.AirflowConfig.ScheduleInterval}
	}
	if err := cmd.explain(c, results, pipelines); err != nil {
		return err
	}
	return cmd.printResults(s, results)
}

func (cmd *deployCmd) printResults(s streams, results []*k8sclient.DeployResult) error {
	var (
		done []*k8sclient.DeployResult
		v    view
	)
	for _, result := range results {
		if result == nil {
			continue
		}
		done = append(done, result)
		s.warn(result.Warnings...)
		schedule := "on demand"
		if result.Schedule != "" {
			schedule = "schedule " + scheduleText(result.Schedule, result.Disabled)
		}
		if v.text != "" {
			v.text += "\n"
		}
		v.text += fmt.Sprintf("pipeline %s %s, %s", result.FQN, cmd.deployed(result), schedule)
		for _, secret := range result.Secrets {
			v.text += fmt.Sprintf("\n  secret %s: %s", secret.Path, secret.Reason)
		}
		v.names = append(v.names, result.FQN)
	}
	if len(done) == 0 {
		return nil
	}
	v.data = done
	return s.print(cmd.outputFlag, v)
}

func (cmd *deployCmd) deployed(result *k8sclient.DeployResult) string {
	action := result.Action()
	if action == k8sclient.ActionCreated || cmd.DryRun == dryRunClient {
		action = "deployed"
	}
	if cmd.DryRun != dryRunNone {
		action += " (" + cmd.DryRun + " dry run)"
	}
	return action
}

// complete gives a pipeline that brings no connection of its own the one of the configuration.
func (g *globals) complete(config *k8sclient.Config, pipeline *omapi.IngestionPipeline) error {
	if len(pipeline.OpenMetadataServerConnection) > 0 {
		return nil
	}
	if g.Token == "" && config.AuthProvider != authNone {
		return fmt.Errorf("pipeline %s brings no openMetadataServerConnection, and there is no token to make one: set OPENMETADATA_TOKEN, or authProvider to no-auth: %w", pipeline.FQN(), workflow.ErrNoConnection)
	}
	pipeline.OpenMetadataServerConnection = g.serverConnection(config, g.Token)
	return nil
}
