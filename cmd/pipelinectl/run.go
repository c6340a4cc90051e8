package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

type runCmd struct {
	outputFlag

	Pipeline string `arg:"" completion-predictor:"pipeline" help:"Fully qualified name of the pipeline."`
	Wait     bool   `help:"Wait until the run has ended; exit code 3 where it did not succeed. Bounded by --timeout only where that is given."`
	Override string `help:"For an application: JSON object that is put over its appConfig for this run; @FILE reads it from a file." placeholder:"JSON"`

	CurrentToken bool `help:"Let the run use the token of this command, in place of the one that the pipeline was deployed with, which may have been replaced since."`
}

var errNoCurrentToken = errors.New("--current-token: there is none, set OPENMETADATA_TOKEN")

// errRunFailed makes the exit code of a run that was waited for.
var errRunFailed = errors.New("the run did not succeed")

// Run starts the pipeline.
func (cmd *runCmd) Run(ctx context.Context, g *globals, s streams) error {
	options := k8sclient.RunOptions{}
	if cmd.Override != "" {
		var err error
		if options.AppConfig, err = readOverride(ctx, cmd.Override); err != nil {
			return err
		}
	}
	c, ctx, cancel, err := g.connectWith(ctx, need{server: true, endless: cmd.Wait})
	if err != nil {
		return err
	}
	defer cancel()
	if cmd.CurrentToken {
		if c.token == "" {
			return usageError{errNoCurrentToken}
		}
		options.Token = c.token
	}
	result, err := c.pipelines.Run(ctx, cmd.Pipeline, options)
	if err != nil {
		return err
	}
	started := fmt.Sprintf("run %s of pipeline %s started as Job %s", result.RunID, result.FQN, result.JobName)
	if !cmd.Wait {
		return s.print(cmd.outputFlag, view{data: result, text: started, names: []string{result.RunID}})
	}
	fmt.Fprintln(s.err, started)
	record, err := c.pipelines.Wait(ctx, cmd.Pipeline, result.RunID, func(state omapi.PipelineState) {
		fmt.Fprintln(s.err, state)
	})
	if err != nil {
		return err
	}
	if err := s.print(cmd.outputFlag, view{data: record, text: fmt.Sprintf("run %s ended, state %s", result.RunID, record.State), names: []string{result.RunID}}); err != nil {
		return err
	}
	if record.State != omapi.StateSuccess && record.State != omapi.StatePartialSuccess {
		return fmt.Errorf("%w: run %s, state %s: %s", errRunFailed, result.RunID, record.State, record.Cause())
	}
	return nil
}

// readOverride takes a JSON object, or @ and the path of a file with one.
func readOverride(ctx context.Context, text string) (map[string]any, error) {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		data, err := readFile(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("--override: %w", err)
		}
		text = string(data)
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return nil, usageError{fmt.Errorf("--override is not a JSON object: %w", err)}
	}
	return config, nil
}

type automateCmd struct {
	outputFlag

	File string `short:"f" required:"" help:"File with the entity Workflow as OpenMetadata has it, JSON or YAML; - is standard input." placeholder:"FILE"`
}

// Run starts an automation workflow.
func (cmd *automateCmd) Run(ctx context.Context, g *globals, s streams) error {
	entity, err := readJSON(ctx, cmd.File)
	if err != nil {
		return err
	}
	c, ctx, cancel, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	result, err := c.pipelines.RunAutomation(ctx, entity)
	if err != nil {
		return err
	}
	return s.print(cmd.outputFlag, view{
		data: result, names: []string{result.JobName},
		text: fmt.Sprintf("automation run %s started as Job %s", result.RunID, result.JobName),
	})
}
