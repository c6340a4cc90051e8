package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type diagnoseCmd struct {
	outputFlag

	Target string `arg:"" help:"A run's id, the name of its Job, or a pipeline's fully qualified name for its newest run." placeholder:"RUN|JOB|PIPELINE" completion-predictor:"pipeline"`
	Report bool   `help:"Write the result to OpenMetadata, where it lacks it." xor:"what"`
	Hooks  bool   `help:"Check whether the pod's reporters are in place, and what became of them." xor:"what"`
}

// Run finds out how a run ended, or why it does not start.
func (cmd *diagnoseCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connectWith(ctx, need{server: cmd.Report})
	if err != nil {
		return err
	}
	defer cancel()
	reader, err := c.reader()
	if err != nil {
		return err
	}
	diagnosis, err := c.pipelines.Diagnose(ctx, reader, cmd.Target)
	if err != nil {
		return err
	}
	if cmd.Hooks {
		checks := k8sclient.Hooks(diagnosis.Run)
		return s.printChecks(cmd.outputFlag, checks, checks)
	}
	text := fmt.Sprintf("Pipeline: %s\nRun: %s\nCategory: %s\nCause: %s\n", diagnosis.FQN, diagnosis.RunID, diagnosis.Verdict.Category, diagnosis.Verdict.Summary)
	if diagnosis.Verdict.Advice != "" {
		text += "What to do: " + diagnosis.Verdict.Advice + "\n"
	}
	if cmd.Report {
		result, err := c.pipelines.Report(ctx, diagnosis, "pipelinectl diagnose")
		if err != nil {
			return err
		}
		diagnosis.Reported = &result
		switch {
		case result.State == "":
			text += "In OpenMetadata: nothing is written, the Job has not decided yet whether it tries again\n"
		case result.Written:
			text += fmt.Sprintf("In OpenMetadata: %s, written now\n", result.State)
		default:
			text += fmt.Sprintf("In OpenMetadata: %s, nothing was missing\n", result.State)
		}
	}
	text += "\n" + diagnosis.Run.Text()
	return s.print(cmd.outputFlag, view{data: diagnosis, text: strings.TrimRight(text, "\n") + "\n", names: []string{string(diagnosis.Verdict.Category)}})
}
