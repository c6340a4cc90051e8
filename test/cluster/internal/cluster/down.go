package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/cgroup"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/poll"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
)

const downTimeout = time.Minute

// Down ends the cluster and removes all that it has made but the state directory
// itself. It is no error if there is none.
func (c *Cluster) Down(ctx context.Context) error {
	begin := time.Now()
	if os.Geteuid() != 0 {
		return errors.New("a cluster is root's: run this command as root")
	}
	if _, err := os.Stat(c.Dir.Root()); errors.Is(err, os.ErrNotExist) {
		c.sayf("nothing to end")
		return nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, downTimeout, fmt.Errorf("not done within %s", downTimeout))
	defer cancel()
	if err := c.clean(ctx); err != nil {
		return err
	}
	c.sayf("down in %.1f s", time.Since(begin).Seconds())
	return nil
}

// clean ends what runs and removes the run's files.
func (c *Cluster) clean(ctx context.Context) error {
	if err := c.end(ctx); err != nil {
		return err
	}
	// Removing files below a mount would remove someone else's.
	mounts, err := mountsBelow(c.Dir.Run())
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("still mounted: %s: unmount it and try again", strings.Join(mounts, ", "))
	}
	if err := os.RemoveAll(c.Dir.Run()); err != nil {
		return fmt.Errorf("removing the run's files: %w", err)
	}
	return nil
}

// end ends the supervisor, and with it all processes, mounts and interfaces of
// its namespaces, and removes the cgroups.
func (c *Cluster) end(ctx context.Context) error {
	id, err := c.Dir.Identity()
	switch {
	case errors.Is(err, state.ErrNone):
	case err != nil:
		return err
	default:
		if err := kill(ctx, id); err != nil {
			return err
		}
	}
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return fmt.Errorf("looking for cgroups: %w", err)
	}
	if err := cgroup.Remove(ctx, hierarchies, c.Dir.CgroupName()); err != nil {
		return fmt.Errorf("removing the pods' cgroups: %w", err)
	}
	return c.Dir.Forget()
}

// kill ends the process, if it still is the recorded one, and waits until no
// process is in its namespaces. If it has ended, the kernel has ended the others
// before.
func kill(ctx context.Context, id state.Identity) error {
	// The handle is taken before the identity is checked, so that the signal
	// cannot reach a process that got the same PID in between.
	process, err := os.FindProcess(id.PID)
	if err != nil {
		return fmt.Errorf("finding the supervisor: %w", err)
	}
	defer func() { _ = process.Release() }()
	if !id.Alive() {
		return nil
	}
	unpin, err := id.Pin()
	if err != nil {
		unpin = func() {} // It is ending.
		id.Namespaces = nil
	}
	defer unpin()
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the supervisor (process %d): %w", id.PID, err)
	}
	return poll.Until(ctx, 10*time.Millisecond, "the cluster's processes to end", func(context.Context) error {
		if id.Alive() {
			return fmt.Errorf("the supervisor (process %d) still runs", id.PID)
		}
		members, err := id.Members()
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return fmt.Errorf("processes %v are still in the cluster's namespaces: end them", members)
		}
		return nil
	})
}

func mountsBelow(dir string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	points := make([]string, 0, len(mounts))
	for _, m := range mounts {
		points = append(points, m.Mountpoint)
	}
	return points, nil
}
