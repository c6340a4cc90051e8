package main

import (
	"context"
	"fmt"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type toggleCmd struct {
	targets
	outputFlag
	dryRunFlag
}

// Run flips the schedules.
func (cmd *toggleCmd) Run(ctx context.Context, g *globals, s streams) error {
	return cmd.set(ctx, g, s, "toggled", (*k8sclient.Client).Toggle)
}

type enableCmd struct{ toggleCmd }

// Run puts the schedules into force.
func (cmd *enableCmd) Run(ctx context.Context, g *globals, s streams) error {
	return cmd.set(ctx, g, s, "enabled", func(c *k8sclient.Client, ctx context.Context, fqn string) (*k8sclient.ToggleResult, error) {
		return c.SetEnabled(ctx, fqn, true)
	})
}

type disableCmd struct{ toggleCmd }

// Run takes the schedules out of force.
func (cmd *disableCmd) Run(ctx context.Context, g *globals, s streams) error {
	return cmd.set(ctx, g, s, "disabled", func(c *k8sclient.Client, ctx context.Context, fqn string) (*k8sclient.ToggleResult, error) {
		return c.SetEnabled(ctx, fqn, false)
	})
}

func (cmd *toggleCmd) set(ctx context.Context, g *globals, s streams, done string, set func(*k8sclient.Client, context.Context, string) (*k8sclient.ToggleResult, error)) error {
	return onEach(ctx, g, s, &cmd.targets, cmd.outputFlag, operation[*k8sclient.ToggleResult]{
		doing: "toggling", done: done, dryRun: cmd.DryRun,
		work: func(ctx context.Context, c *connection, fqn string) (*k8sclient.ToggleResult, error) {
			return set(c.pipelines, ctx, fqn)
		},
		show: func(r *k8sclient.ToggleResult) (data any, name, text string) {
			s.warn(r.Warnings...)
			return r, r.FQN, toggleText(r)
		},
	})
}

func toggleText(r *k8sclient.ToggleResult) string {
	state, already := "disabled", ""
	if r.Enabled {
		state = "enabled"
	}
	if !r.Changed {
		already = "already "
	}
	if r.Schedule == "" {
		return fmt.Sprintf("pipeline %s runs on demand: there is no schedule to change", r.FQN)
	}
	return fmt.Sprintf("pipeline %s %s%s, schedule %s", r.FQN, already, state, r.Schedule)
}
