package main

import (
	"context"
	"fmt"
	"strings"
)

type deleteCmd struct {
	Pipeline string `arg:"" help:"Fully qualified name of the pipeline."`
	Output   string `short:"o" enum:"text,json,yaml" default:"text" help:"text, json or yaml."`
}

// Run deletes the pipeline's objects.
func (cmd *deleteCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	result, err := c.pipelines.Delete(ctx, cmd.Pipeline)
	if err != nil {
		return err
	}
	return s.print(cmd.Output, result, fmt.Sprintf("pipeline %s deleted: %s", result.FQN, strings.Join(result.Objects, ", ")))
}
