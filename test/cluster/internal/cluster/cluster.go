// Package cluster starts, inspects and ends a local Kubernetes cluster from the
// host's side. What runs inside the cluster's namespaces is package supervisor.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
)

// Cluster is one cluster, running or not.
type Cluster struct {
	Dir    state.Dir
	Binary string    // The all-in-one binary.
	Out    io.Writer // Progress for people.
}

// Open returns the cluster with the given state directory.
func Open(dir, binary string, out io.Writer) (*Cluster, error) {
	d, err := state.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Cluster{Dir: d, Binary: binary, Out: out}, nil
}

// ErrNotRunning means that there is no cluster to talk to.
var ErrNotRunning = errors.New("the cluster is not running")

// Running is nil while the supervisor runs, healthy or not; else it wraps
// ErrNotRunning and says what to do.
func (c *Cluster) Running() error {
	_, err := c.running()
	return err
}

// running returns the identity of the running supervisor.
func (c *Cluster) running() (state.Identity, error) {
	id, err := c.Dir.Identity()
	if errors.Is(err, state.ErrNone) {
		return state.Identity{}, fmt.Errorf("%w (state directory %s): start it with `cluster up`", ErrNotRunning, c.Dir.Root())
	}
	if err != nil {
		return state.Identity{}, err
	}
	if !id.Alive() {
		return state.Identity{}, fmt.Errorf("%w: its supervisor (process %d) has ended; `cluster logs supervisor` may tell why; `cluster up` starts anew, `cluster down` cleans up", ErrNotRunning, id.PID)
	}
	return id, nil
}

// client returns a client of the running supervisor.
func (c *Cluster) client() (*client, state.Identity, error) {
	id, err := c.running()
	if err != nil {
		return nil, id, err
	}
	return newClient(id.PID), id, nil
}

func (c *Cluster) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Out, format+"\n", args...)
}

const lockTimeout = 5 * time.Minute

// lock keeps other commands out; it waits longer than one of them usually takes.
func (c *Cluster) lock(ctx context.Context) (func(), error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fmt.Errorf("it did not end within %s", lockTimeout))
	defer cancel()
	return c.Dir.Lock(ctx)
}
