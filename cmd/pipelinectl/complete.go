package main

import (
	"context"
	"time"

	"github.com/posener/complete"
)

// completionTimeout is how long a person waits for a completion.
const completionTimeout = 2 * time.Second

// completePipelines gives the names of deployed pipelines; none where the cluster cannot be asked.
func completePipelines(ctx context.Context) complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		// Flags are not parsed yet: the environment and the kubeconfig say where to look.
		g := globals{Timeout: new(completionTimeout)}
		c, ctx, cancel, err := g.connectCluster(ctx)
		if err != nil {
			return nil
		}
		defer cancel()
		found, err := c.pipelines.List(ctx, "")
		if err != nil {
			return nil
		}
		names := make([]string, len(found))
		for i := range found {
			names[i] = plain(found[i].FQN)
		}
		return names
	})
}
