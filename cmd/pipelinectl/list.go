package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type listCmd struct {
	outputFlag

	Selector string `short:"l" help:"Label selector of pipelines, such as app.kubernetes.io/pipeline-type=metadata." placeholder:"SELECTOR"`
}

// Run lists the deployed pipelines.
func (cmd *listCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connectCluster(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	found, err := c.pipelines.List(ctx, cmd.Selector)
	if err != nil {
		return err
	}
	if len(found) == 0 && cmd.Output != "json" && cmd.Output != "yaml" {
		s.warnf("no pipeline is deployed in namespace %s", c.namespace)
		return nil
	}
	rows := [][]string{{"PIPELINE", "TYPE", "SCHEDULE", "STATUS", "ACTIVE", "LAST JOB", "AGE"}}
	wide := [][]string{{"PIPELINE", "TYPE", "SCHEDULE", "ZONE", "STATUS", "LAST SCHEDULED", "ACTIVE", "LAST JOB", "JOB NAME", "REVISION", "AGE"}}
	v := view{data: found}
	for i := range found {
		p := &found[i]
		active, state := strconv.Itoa(p.Active), "deployed"
		if p.Incomplete != "" {
			state = "incomplete"
			s.warnf("pipeline %s: %s; deploy it again, or delete it", p.FQN, p.Incomplete)
		}
		if p.Interrupted > 0 {
			s.warnf("pipeline %s: a command was interrupted that started or ended a run of it; finish that: pipelinectl kill %s", p.FQN, p.FQN)
		}
		rows = append(rows, []string{p.FQN, string(p.Type), windowText(scheduleText(p.Schedule, p.Suspended), p.NotBefore, p.NotAfter), state, active, p.LastJobState, age(p.Deployed)})
		wide = append(wide, []string{
			p.FQN, string(p.Type), windowText(scheduleText(p.Schedule, p.Suspended), p.NotBefore, p.NotAfter), p.TimeZone, state, age(p.LastScheduled), active,
			p.LastJobState, p.LastJob, strconv.FormatInt(p.Revision, 10), age(p.Deployed),
		})
		v.names = append(v.names, p.FQN)
	}
	v.text, v.wide = table(rows...), table(wide...)
	return s.print(cmd.outputFlag, v)
}

const disabledText = " (disabled)"

func scheduleText(schedule string, suspended bool) string {
	switch {
	case schedule == "":
		return "on demand"
	case suspended:
		return schedule + disabledText
	default:
		return schedule
	}
}

// windowText adds when a schedule begins or has ended.
func windowText(schedule string, from, to time.Time) string {
	switch now := time.Now(); {
	case !to.IsZero() && !to.After(now):
		return strings.TrimSuffix(schedule, disabledText) + " (ended " + to.UTC().Format(time.RFC3339) + ")"
	case from.After(now):
		return schedule + " (from " + from.UTC().Format(time.RFC3339) + ")"
	default:
		return schedule
	}
}

// age is how kubectl writes it.
func age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(time.Since(t))
}

type historyCmd struct {
	outputFlag

	Pipeline string `arg:"" completion-predictor:"pipeline" help:"Fully qualified name of the pipeline."`
}

// Run shows the configurations of a pipeline.
func (cmd *historyCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connectCluster(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	revisions, err := c.pipelines.History(ctx, cmd.Pipeline)
	if err != nil {
		return err
	}
	rows := [][]string{{"REVISION", "SCHEDULE", "REPLACED"}}
	v := view{data: revisions}
	for _, r := range revisions {
		replaced := "in force"
		if !r.Current {
			replaced = age(r.Replaced) + " ago"
		}
		number := strconv.FormatInt(r.Revision, 10)
		if r.Problem != "" {
			s.warnf("revision %s: %s", number, r.Problem)
		}
		rows = append(rows, []string{number, scheduleText(r.Schedule, false), replaced})
		v.names = append(v.names, number)
	}
	v.text = table(rows...)
	return s.print(cmd.outputFlag, v)
}

type rollbackCmd struct {
	outputFlag

	Pipeline string `arg:"" completion-predictor:"pipeline" help:"Fully qualified name of the pipeline."`
	Revision int64  `arg:"" optional:"" help:"Revision of pipelinectl history. Default: the one before."`
	DryRun   string `enum:"none,client,server" default:"none" help:"client: only find the revision and make its objects; server: let the API server check them. Nothing is changed." placeholder:"WHERE"`
}

// Run goes back to an earlier configuration.
func (cmd *rollbackCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connectWith(ctx, need{makes: true})
	if err != nil {
		return err
	}
	defer cancel()
	var result *k8sclient.DeployResult
	if cmd.DryRun == dryRunClient {
		result, err = c.pipelines.CheckRollback(ctx, cmd.Pipeline, cmd.Revision)
	} else {
		result, err = c.pipelines.Rollback(ctx, cmd.Pipeline, cmd.Revision, k8sclient.DeployOptions{DryRun: cmd.DryRun == dryRunServer})
	}
	if err != nil {
		return err
	}
	s.warn(result.Warnings...)
	text := fmt.Sprintf("pipeline %s rolled back, now revision %d", result.FQN, result.Revision)
	if cmd.DryRun != dryRunNone {
		text = fmt.Sprintf("pipeline %s would be rolled back, as revision %d (%s dry run)", result.FQN, result.Revision, cmd.DryRun)
	}
	return s.print(cmd.outputFlag, view{data: result, names: []string{result.FQN}, text: text})
}
