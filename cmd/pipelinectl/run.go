package main

import (
	"context"
	"fmt"
)

type runCmd struct {
	Pipeline string `arg:"" help:"Fully qualified name of the pipeline."`
	Output   string `short:"o" enum:"text,json,yaml" default:"text" help:"text, json or yaml."`
}

// Run starts the pipeline.
func (cmd *runCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	result, err := c.pipelines.Run(ctx, cmd.Pipeline)
	if err != nil {
		return err
	}
	return s.print(cmd.Output, result, fmt.Sprintf("run %s of pipeline %s started as Job %s", result.RunID, result.FQN, result.JobName))
}
