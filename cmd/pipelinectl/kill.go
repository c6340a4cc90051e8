package main

import (
	"context"
	"fmt"
	"strings"
)

type killCmd struct {
	Pipeline string `arg:"" help:"Fully qualified name of the pipeline."`
	RunID    string `name:"run" help:"End this run only." placeholder:"RUN-ID"`
	Output   string `short:"o" enum:"text,json,yaml" default:"text" help:"text, json or yaml."`
}

// Run ends the pipeline's runs.
func (cmd *killCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	results, err := c.pipelines.Kill(ctx, cmd.Pipeline, cmd.RunID)
	lines := make([]string, len(results))
	for i, result := range results {
		lines[i] = fmt.Sprintf("run %s of pipeline %s ended, state %s", result.RunID, cmd.Pipeline, result.State)
	}
	if len(results) > 0 {
		if err := s.print(cmd.Output, results, strings.Join(lines, "\n")); err != nil {
			return err
		}
	}
	return err
}
