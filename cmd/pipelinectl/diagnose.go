package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
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
		checks := c.pipelines.Hooks(ctx, diagnosis.Run)
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
	var b strings.Builder
	fmt.Fprintf(&b, "Pipeline: %s\nRun: %s\nCategory: %s\nCause: %s\n", d.FQN, d.RunID, d.Verdict.Category, d.Verdict.Summary)
	if d.Verdict.Advice != "" {
		fmt.Fprintf(&b, "What to do: %s\n", d.Verdict.Advice)
	}
	if told != "" {
		fmt.Fprintf(&b, "In OpenMetadata: %s\n", told)
	}
	b.WriteByte('\n')
	if d.Run != nil {
		b.WriteString(d.Run.Text())
	} else {
		recordText(&b, d.Record)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func recordText(b *strings.Builder, record *omapi.PipelineStatus) {
	b.WriteString("The run's Job is gone. What its record holds:\n")
	for _, kept := range record.Steps {
		step := kept.Summary()
		fmt.Fprintf(b, "\nStep %s: %d records, %d errors\n", step.Name, step.Records, step.Errors)
		for _, failure := range step.Failures {
			fmt.Fprintf(b, "%s: %s\n%s\n", failure.Name, failure.Error, failure.StackTrace)
		}
	}
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
