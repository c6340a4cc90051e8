package cluster

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

const nodeTimeout = 90 * time.Second

// StopNode kills the kubelet and containerd of the real node, and with all also
// the pods' processes.
func (c *Cluster) StopNode(ctx context.Context, all bool) error {
	return c.node(ctx, fmt.Sprintf("/node/stop?kill=%t", all), "stopped")
}

// StartNode starts what StopNode has stopped, and waits until the node is Ready.
func (c *Cluster) StartNode(ctx context.Context) error {
	return c.node(ctx, "/node/start", "ready")
}

func (c *Cluster) node(ctx context.Context, path, done string) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	client, _, err := c.client()
	if err != nil {
		return err
	}
	if _, err := client.do(ctx, http.MethodPost, path); err != nil {
		return err
	}
	c.sayf("%s is %s (%.1f s)", supervisor.NodeName, done, time.Since(begin).Seconds())
	return nil
}
