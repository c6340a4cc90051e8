package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/report"
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
		if diagnosis.Run == nil {
			return fmt.Errorf("%w of run %s is left: its pod can no longer be checked", k8sclient.ErrNoJob, diagnosis.RunID)
		}
		checks := k8sclient.Hooks(diagnosis.Run)
		return s.printChecks(cmd.outputFlag, checks, checks)
	}
	told := toldText(diagnosis)
	if cmd.Report {
		result, err := c.pipelines.Report(ctx, diagnosis, "pipelinectl diagnose")
		if err != nil {
			return err
		}
		diagnosis.Reported = &result
		told = reportedText(result)
	}
	return s.print(cmd.outputFlag, view{data: diagnosis, text: diagnosisText(diagnosis, told), names: []string{string(diagnosis.Verdict.Category)}})
}

func diagnosisText(d *k8sclient.Diagnosis, told string) string {
	text := fmt.Sprintf("Pipeline: %s\nRun: %s\nCategory: %s\nCause: %s\n", d.FQN, d.RunID, d.Verdict.Category, d.Verdict.Summary)
	if d.Verdict.Advice != "" {
		text += "What to do: " + d.Verdict.Advice + "\n"
	}
	if told != "" {
		text += "In OpenMetadata: " + told + "\n"
	}
	if d.Run != nil {
		return strings.TrimRight(text+"\n"+d.Run.Text(), "\n") + "\n"
	}
	text += "\nThe run's Job is gone. What its record holds:\n"
	for _, step := range d.Record.Steps {
		text += fmt.Sprintf("\nStep %s: %d records, %d errors\n", step.Name, step.Records, step.Errors)
		for _, failure := range step.Failures {
			text += failure.Name + ": " + failure.Error + "\n" + failure.StackTrace + "\n"
		}
	}
	return strings.TrimRight(text, "\n") + "\n"
}

// toldText is what OpenMetadata shows of the run; empty where it was not asked.
func toldText(d *k8sclient.Diagnosis) string {
	switch {
	case d.RecordProblem != "":
		return "not known: " + d.RecordProblem
	case d.Record == nil:
		return ""
	case d.Record.Cause() != "":
		return fmt.Sprintf("%s, %s", d.Record.State, d.Record.Cause())
	default:
		return string(d.Record.State)
	}
}

func reportedText(result report.Result) string {
	switch {
	case result.State == "":
		return "nothing is written, the Job has not decided yet whether it tries again"
	case result.Written:
		return fmt.Sprintf("%s, written now", result.State)
	default:
		return fmt.Sprintf("%s, nothing was missing", result.State)
	}
}
