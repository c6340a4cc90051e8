// Package poll waits for a condition that has no event to wait for.
package poll

import (
	"context"
	"fmt"
	"time"
)

// Until calls check every interval, the first time at once, until it returns
// nil or ctx ends. Its error then wraps check's last one and names what was
// waited for.
func Until(ctx context.Context, every time.Duration, what string, check func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (%w)", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
