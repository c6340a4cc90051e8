package main

import (
	"context"
	"errors"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type logsCmd struct {
	Pipeline   string `arg:"" completion-predictor:"pipeline" help:"Fully qualified name of the pipeline."`
	RunID      string `name:"run" help:"This run's. Default: the newest run that Kubernetes still has." placeholder:"RUN-ID"`
	Attempt    int    `help:"This attempt's, counted from 1. Default: the newest." placeholder:"N" xor:"which"`
	All        bool   `name:"all-attempts" help:"Those of every attempt, oldest first." xor:"which"`
	Follow     bool   `short:"f" help:"Go on until the run has ended." xor:"when,form"`
	Previous   bool   `short:"p" help:"Those of the container before its last restart." xor:"when"`
	Tail       int64  `default:"-1" help:"How many lines, counted from the end; -1 for all." placeholder:"LINES"`
	Timestamps bool   `help:"Put the time before each line."`
	Page       bool   `help:"Print one page as JSON, as OpenMetadata's server asks for it." xor:"form"`
	After      string `help:"With --page: the page that the one before named." placeholder:"PAGE"`
}

var errPageOnly = errors.New("--after is for --page")

// Run prints the logs.
func (cmd *logsCmd) Run(ctx context.Context, g *globals, s streams) error {
	if cmd.After != "" && !cmd.Page {
		return usageError{errPageOnly}
	}
	c, ctx, cancel, err := g.connectWith(ctx, need{endless: cmd.Follow})
	if err != nil {
		return err
	}
	defer cancel()
	if cmd.Page {
		page, err := c.pipelines.LogPage(ctx, cmd.Pipeline, cmd.RunID, cmd.After)
		if err != nil {
			return err
		}
		return s.print(outputFlag{Output: "json"}, view{data: page})
	}
	options := k8sclient.LogOptions{
		RunID: cmd.RunID, Attempt: cmd.Attempt, Follow: cmd.Follow, Previous: cmd.Previous, Timestamps: cmd.Timestamps,
		Warn: func(text string) { g.warn(text) },
	}
	if cmd.Tail >= 0 {
		options.TailLines = &cmd.Tail
	}
	if cmd.All {
		options.Attempt = -1
	}
	return c.pipelines.Logs(ctx, cmd.Pipeline, options, s.out)
}
