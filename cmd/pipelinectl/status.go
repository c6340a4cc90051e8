package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type statusCmd struct {
	outputFlag

	Pipeline string `arg:"" completion-predictor:"pipeline" help:"Fully qualified name of the pipeline."`
}

// Run shows the pipeline.
func (cmd *statusCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connectCluster(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	status, err := c.pipelines.Status(ctx, cmd.Pipeline)
	if err != nil {
		return err
	}
	if status.RecordProblem != "" {
		s.warnf("what Kubernetes knows is shown, without OpenMetadata's records: %s", status.RecordProblem)
	}
	v := view{data: status, text: statusText(status, false), wide: statusText(status, true)}
	for i := range status.Runs {
		v.names = append(v.names, status.Runs[i].RunID)
	}
	return s.print(cmd.outputFlag, v)
}

func statusText(status *k8sclient.PipelineStatus, wide bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Pipeline:  %s\nSchedule:  %s\n", status.FQN, scheduleText(status.Schedule, status.Suspended))
	if len(status.Runs) == 0 {
		return b.String() + "Runs:      none"
	}
	head := []string{"RUN", "STATE", "STARTED", "DURATION", "JOB"}
	if wide {
		head = append(head, "JOB NAME")
	}
	rows := [][]string{append(head, "CAUSE")}
	for i := range status.Runs {
		run := &status.Runs[i]
		job := run.Job
		if run.JobName == "" {
			job = "gone"
		}
		row := []string{run.RunID, string(run.State), run.Started.UTC().Format(time.RFC3339), durationOf(run), job}
		if wide {
			row = append(row, run.JobName)
		}
		rows = append(rows, append(row, firstLine(run.Cause)))
	}
	return b.String() + "\n" + table(rows...)
}

func durationOf(run *k8sclient.RunStatus) string {
	if run.Ended.IsZero() {
		return ""
	}
	return run.Ended.Sub(run.Started).Round(100 * time.Millisecond).String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
