package main

import (
	"context"
	"errors"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type healthCmd struct {
	outputFlag
}

var errUnhealthy = errors.New("not healthy: see the failed checks")

// Run checks the cluster, the permissions and OpenMetadata.
func (cmd *healthCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, ctx, cancel, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	health := c.pipelines.Health(ctx)
	return s.printChecks(cmd.outputFlag, health, health.Checks)
}

// printChecks prints checks, which are the data or a part of it; one that failed is an error.
func (s streams) printChecks(flag outputFlag, data any, checks []k8sclient.Check) error {
	rows := make([][]string, 1, len(checks)+1)
	rows[0] = []string{"CHECK", "STATE", "DETAIL"}
	v := view{data: data}
	for _, check := range checks {
		detail := check.Detail
		if check.State != k8sclient.CheckOK && check.Advice != "" {
			detail += "; " + check.Advice
		}
		rows = append(rows, []string{check.Name, check.State, detail})
		if check.State == k8sclient.CheckFailed {
			v.names = append(v.names, check.Name)
		}
	}
	v.text = table(rows...)
	if err := s.print(flag, v); err != nil {
		return err
	}
	if len(v.names) > 0 {
		return errUnhealthy
	}
	return nil
}

type hostIPCmd struct{}

// Run prints where runs come from.
func (*hostIPCmd) Run(ctx context.Context, g *globals, s streams) error {
	c, _, cancel, err := g.connectCluster(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return s.lines([]string{c.pipelines.HostIP()})
}
