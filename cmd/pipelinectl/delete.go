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
	dryRunFlag

	Force bool `help:"Delete also where OpenMetadata cannot be told how the runs ended that go on."`
}

// Run deletes the pipelines' objects.
func (cmd *deleteCmd) Run(ctx context.Context, g *globals, s streams) error {
	return onEach(ctx, g, s, &cmd.targets, cmd.outputFlag, operation[*k8sclient.DeleteResult]{
		doing: "deleting", done: "deleted", need: need{server: true, endless: true}, dryRun: cmd.DryRun,
		work: func(ctx context.Context, c *connection, fqn string) (*k8sclient.DeleteResult, error) {
			result, err := c.pipelines.Delete(ctx, fqn, k8sclient.DeleteOptions{Force: cmd.Force})
			if result == nil {
				return nil, err
			}
			for _, killed := range result.Killed {
				s.warn(killed.Problem)
			}
			if err != nil {
				return nil, halfDeleted(result, err) // No result: it is not deleted.
			}
			return result, nil
		},
		show: func(r *k8sclient.DeleteResult) (data any, name, text string) {
			return r, r.FQN, fmt.Sprintf("pipeline %s deleted: %s", r.FQN, strings.Join(r.Objects, ", "))
		},
	})
}

// halfDeleted says what was done of a delete that failed.
func halfDeleted(r *k8sclient.DeleteResult, err error) error {
	var done []string
	for _, killed := range r.Killed {
		done = append(done, "run "+killed.RunID+" was ended")
	}
	if len(r.Objects) > 0 {
		done = append(done, "removed: "+strings.Join(r.Objects, ", "))
	}
	if len(done) == 0 {
		return err
	}
	return fmt.Errorf("pipeline %s is deleted in part, %s; then: %w", r.FQN, strings.Join(done, ", "), err)
}
