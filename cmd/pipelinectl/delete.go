package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type deleteCmd struct {
	targets
	outputFlag
}

// Run deletes the pipelines' objects.
func (cmd *deleteCmd) Run(ctx context.Context, g *globals, s streams) error {
	return onEach(ctx, g, s, &cmd.targets, cmd.outputFlag, need{server: true, endless: true}, func(ctx context.Context, c *connection, fqn string) (*k8sclient.DeleteResult, error) {
		return c.pipelines.Delete(ctx, fqn)
	}, func(r *k8sclient.DeleteResult) (name, text string) {
		return r.FQN, fmt.Sprintf("pipeline %s deleted: %s", r.FQN, strings.Join(r.Objects, ", "))
	})
}
