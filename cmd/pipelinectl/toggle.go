package main

import (
	"context"
	"fmt"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type toggleCmd struct {
	targets
	outputFlag
}

// Run flips the schedules.
func (cmd *toggleCmd) Run(ctx context.Context, g *globals, s streams) error {
	return cmd.set(ctx, g, s, (*k8sclient.Client).Toggle)
}

type enableCmd struct{ toggleCmd }

// Run puts the schedules into force.
func (cmd *enableCmd) Run(ctx context.Context, g *globals, s streams) error {
	return cmd.set(ctx, g, s, func(c *k8sclient.Client, ctx context.Context, fqn string) (*k8sclient.ToggleResult, error) {
		return c.SetEnabled(ctx, fqn, true)
	})
}

type disableCmd struct{ toggleCmd }

// Run takes the schedules out of force.
func (cmd *disableCmd) Run(ctx context.Context, g *globals, s streams) error {
	return cmd.set(ctx, g, s, func(c *k8sclient.Client, ctx context.Context, fqn string) (*k8sclient.ToggleResult, error) {
		return c.SetEnabled(ctx, fqn, false)
	})
}

func (cmd *toggleCmd) set(ctx context.Context, g *globals, s streams, set func(*k8sclient.Client, context.Context, string) (*k8sclient.ToggleResult, error)) error {
	return onEach(ctx, g, s, &cmd.targets, cmd.outputFlag, need{}, func(ctx context.Context, c *connection, fqn string) (*k8sclient.ToggleResult, error) {
		return set(c.pipelines, ctx, fqn)
	}, toggleLine)
}

func toggleLine(r *k8sclient.ToggleResult) (name, text string) {
	state, already := "disabled", ""
	if r.Enabled {
		state = "enabled"
	}
	if !r.Changed {
		already = "already "
	}
	if r.Schedule == "" {
		return r.FQN, fmt.Sprintf("pipeline %s runs on demand: there is no schedule to change", r.FQN)
	}
	return r.FQN, fmt.Sprintf("pipeline %s %s%s, schedule %s", r.FQN, already, state, r.Schedule)
}
