package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

const askTimeout = 10 * time.Second

// Status prints the state of the cluster. Its error is nil only when the cluster
// is healthy.
func (c *Cluster) Status(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, id, err := c.client()
	if err != nil {
		return err
	}
	status, err := client.status(ctx)
	if err != nil {
		return err
	}
	c.sayf("%s, https://127.0.0.1:%d, up %s, supervisor %d, binary %s",
		status.Phase, id.Port, time.Since(id.StartedAt).Round(time.Second), id.PID, id.Binary)
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	for _, component := range status.Components {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", component.Name, describe(component))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the status: %w", err)
	}
	return problem(status)
}

// problem returns why a cluster is not healthy, or nil.
func problem(status supervisor.Status) error {
	var reasons []string
	if status.Phase != supervisor.Ready {
		reasons = append(reasons, strings.TrimSpace(string(status.Phase)+" "+status.Error))
	}
	for _, component := range status.Components {
		switch {
		case component.Died():
			reasons = append(reasons, fmt.Sprintf("%s ended by itself: %s (`cluster logs %s`)", component.Name, component.Exit, component.Name))
		case component.Stopped:
			reasons = append(reasons, component.Name+" is stopped (`cluster node start`)")
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return errors.New(strings.Join(reasons, "; "))
}

func describe(component supervisor.Component) string {
	if component.Running {
		return "running for " + time.Since(component.Started).Round(time.Second).String()
	}
	why := "ended by itself"
	if component.Stopped {
		why = "stopped"
	}
	return fmt.Sprintf("%s at %s: %s", why, component.Ended.Format(time.TimeOnly), component.Exit)
}
