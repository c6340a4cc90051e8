package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/poll"
)

// Lock keeps other commands that change the cluster out until the returned
// function is called or the process ends. It waits until ctx ends.
func (d Dir) Lock(ctx context.Context) (func(), error) {
	if err := d.Make(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	err = poll.Until(ctx, 50*time.Millisecond, "another command on this cluster", func(context.Context) error {
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
