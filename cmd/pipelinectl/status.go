package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type statusCmd struct {
	Pipeline string `arg:"" help:"Fully qualified name of the pipeline."`
	Output   string `short:"o" enum:"text,json,yaml" default:"text" help:"text, json or yaml."`
}

// Run shows the pipeline.
func (cmd *statusCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	status, err := c.pipelines.Status(ctx, cmd.Pipeline)
	if err != nil {
		return err
	}
	return s.print(cmd.Output, status, statusText(status))
}

func statusText(status *k8sclient.PipelineStatus) string {
	var b strings.Builder
	schedule := "on demand"
	switch {
	case status.Suspended:
		schedule = status.Schedule + " (suspended)"
	case status.Schedule != "":
		schedule = status.Schedule
	}
	fmt.Fprintf(&b, "Pipeline:  %s\nSchedule:  %s\n\n", status.FQN, schedule)
	table := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "RUN\tSTATE\tSTARTED\tDURATION\tJOB\tCAUSE")
	for i := range status.Runs {
		run := &status.Runs[i]
		job := "gone"
		if run.JobName != "" {
			job = run.JobName + " " + run.Job
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", run.RunID, run.State, run.Started.UTC().Format(time.RFC3339), duration(run), job, firstLine(run.Cause))
	}
	_ = table.Flush() // A strings.Builder takes all.
	return strings.TrimRight(b.String(), "\n")
}

func duration(run *k8sclient.RunStatus) string {
	if run.Ended.IsZero() {
		return "-"
	}
	return run.Ended.Sub(run.Started).Round(100 * time.Millisecond).String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
