package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

type runCmd struct {
	targets
	outputFlag
	dryRunFlag

	Wait     bool   `help:"Wait until the runs have ended; exit code 3 where one did not succeed. Bounded by --timeout only where that is given."`
	Override string `help:"For an application: JSON object that is put over its appConfig for this run; @FILE reads it from a file." placeholder:"JSON"`

	CurrentToken bool `help:"Let the run use the token of this command, in place of the one that the pipeline was deployed with, which may have been replaced since."`
}

var errNoCurrentToken = errors.New("--current-token: there is none, set OPENMETADATA_TOKEN")

// errRunFailed makes the exit code of a run that was waited for.
var errRunFailed = errors.New("the run did not succeed")

// started is a run, and its record where it was waited for.
type started struct {
	run    *k8sclient.RunResult
	record *omapi.PipelineStatus
}

// Run starts the pipelines.
func (cmd *runCmd) Run(ctx context.Context, g *globals, s streams) error {
	options := k8sclient.RunOptions{}
	if cmd.Override != "" {
		var err error
		if options.AppConfig, err = readOverride(ctx, cmd.Override); err != nil {
			return err
		}
	}
	if cmd.CurrentToken {
		if options.Token = g.Token; options.Token == "" {
			return usageError{errNoCurrentToken}
		}
	}
	tell := func(line string) { fmt.Fprintln(s.err, line) }
	return onEach(ctx, g, s, &cmd.targets, cmd.outputFlag, operation[*started]{
		doing: "starting", done: "started", single: true, need: need{server: true, endless: cmd.Wait, makes: true}, dryRun: cmd.DryRun,
		work: func(ctx context.Context, c *connection, fqn string) (*started, error) {
			run, err := c.pipelines.Run(ctx, fqn, options)
			if err != nil {
				return nil, err
			}
			if !cmd.Wait {
				return &started{run: run}, nil
			}
			tell(startedText(run))
			return cmd.wait(ctx, c, run, tell)
		},
		show: func(r *started) (data any, name, text string) {
			if r.record == nil {
				return r.run, r.run.RunID, startedText(r.run)
			}
			return r.record, r.run.RunID, fmt.Sprintf("run %s ended, state %s", r.run.RunID, r.record.State)
		},
	})
}

func startedText(run *k8sclient.RunResult) string {
	return fmt.Sprintf("run %s of pipeline %s started as Job %s", run.RunID, run.FQN, run.JobName)
}

// wait gives the run's record, and an error where it did not succeed.
func (cmd *runCmd) wait(ctx context.Context, c *connection, run *k8sclient.RunResult, tell func(string)) (*started, error) {
	record, err := c.pipelines.Wait(ctx, run.FQN, run.RunID, func(state omapi.PipelineState) {
		line := string(state)
		if len(cmd.Pipelines) != 1 {
			line = run.FQN + ": " + line
		}
		tell(line)
	})
	if err != nil {
		return nil, err
	}
	out := &started{run: run, record: record}
	if record.State != omapi.StateSuccess && record.State != omapi.StatePartialSuccess {
		return out, fmt.Errorf("%w: run %s, state %s: %s", errRunFailed, run.RunID, record.State, record.Cause())
	}
	return out, nil
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
	value, err := readOne([]byte(text))
	if err != nil {
		return nil, usageError{fmt.Errorf("--override is not a JSON object: %w", err)}
	}
	config, ok := value.(map[string]any)
	if !ok {
		return nil, usageError{fmt.Errorf("--override is not a JSON object, but %s", kindOf(value))}
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
	c, ctx, cancel, err := g.connectWith(ctx, need{server: true, makes: true})
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
