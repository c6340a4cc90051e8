package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type statusCmd struct {
	targets
	outputFlag
}

// Run shows the pipelines.
func (cmd *statusCmd) Run(ctx context.Context, g *globals, s streams) error {
	return onEach(ctx, g, s, &cmd.targets, cmd.outputFlag, operation[*k8sclient.PipelineStatus]{
		doing: "reading", single: true, apart: true,
		work: func(ctx context.Context, c *connection, fqn string) (*k8sclient.PipelineStatus, error) {
			return c.pipelines.Status(ctx, fqn)
		},
		show: func(status *k8sclient.PipelineStatus) (data any, name, text string) {
			if status.RecordProblem != "" {
				s.warnf("pipeline %s: what Kubernetes knows is shown, without OpenMetadata's records: %s", status.FQN, status.RecordProblem)
			}
			ids := make([]string, len(status.Runs))
			for i := range status.Runs {
				ids[i] = status.Runs[i].RunID
			}
			return status, strings.Join(ids, "\n"), statusText(status, cmd.Output == "wide")
		},
	})
}

func statusText(status *k8sclient.PipelineStatus, wide bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Pipeline:  %s\nSchedule:  %s\n", status.FQN, windowText(scheduleText(status.Schedule, status.Suspended), status.NotBefore, status.NotAfter))
	if status.Incomplete != "" {
		fmt.Fprintf(&b, "Status:    incomplete: %s; deploy it again, or delete it\n", status.Incomplete)
	}
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
		rows = append(rows, append(row, strings.Trim(firstLine(run.Cause)+"; "+run.InTheWay, "; ")))
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
