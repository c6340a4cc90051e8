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
	rows := [][]string{{"CHECK", "STATE", "DETAIL"}}
	v := view{data: health}
	for _, check := range health.Checks {
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
	if err := s.print(cmd.outputFlag, v); err != nil {
		return err
	}
	if !health.Healthy {
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
