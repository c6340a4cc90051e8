package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type killCmd struct {
	targets
	outputFlag
	dryRunFlag

	RunID string `name:"run" help:"End this run only." placeholder:"RUN-ID"`
}

// Run ends the pipelines' runs.
func (cmd *killCmd) Run(ctx context.Context, g *globals, s streams) error {
	if err := cmd.check(); err != nil {
		return err
	}
	c, ctx, cancel, err := g.connectWith(ctx, need{server: true, endless: true})
	if err != nil {
		return err
	}
	defer cancel()
	names, err := cmd.resolve(ctx, c)
	if err != nil {
		return err
	}
	if cmd.DryRun == dryRunClient {
		return wouldDo(ctx, s, c, names, cmd.outputFlag, "killed, where it runs")
	}
	results, failed := forEachShown(ctx, s, "killing", names, func(ctx context.Context, fqn string) ([]k8sclient.KillResult, error) {
		killed, err := c.pipelines.Kill(ctx, fqn, cmd.RunID)
		if errors.Is(err, k8sclient.ErrNothingToKill) && len(names) > 1 {
			return nil, nil // Of many, most have none.
		}
		return killed, err
	})
	killed := slices.Concat(results...)
	if len(killed) == 0 && failed == nil {
		return fmt.Errorf("%w: none of the %d pipelines has one that has not ended", k8sclient.ErrNothingToKill, len(names))
	}
	if len(killed) == 0 {
		return failed
	}
	v := view{data: killed}
	for i, result := range killed {
		v.names = append(v.names, result.RunID)
		if i > 0 {
			v.text += "\n"
		}
		v.text += fmt.Sprintf("run %s of pipeline %s ended, state %s", result.RunID, result.FQN, cmp.Or(string(result.State), "unknown: OpenMetadata does not know the pipeline"))
	}
	if err := s.print(cmd.outputFlag, v); err != nil {
		return err
	}
	return failed
}
