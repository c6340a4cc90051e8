package k8sclient

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// locks make those who work on the same name take turns. The zero value is ready.
type locks struct {
	mu    sync.Mutex
	named map[string]*turns
}

type turns struct {
	*semaphore.Weighted

	// users have the lock or wait for it.
	users int
}

// lock waits for its turn, as long as the context does.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.named == nil {
		l.named = map[string]*turns{}
	}
	held := l.named[name]
	if held == nil {
		held = &turns{Weighted: semaphore.NewWeighted(1)}
		l.named[name] = held
	}
	held.users++
	l.mu.Unlock()
	if err := held.Acquire(ctx, 1); err != nil {
		l.leave(name, held)
		return nil, err
	}
	return func() {
		held.Release(1)
		l.leave(name, held)
	}, nil
}

// leave forgets a name that nobody uses: a server deploys many in its life.
func (l *locks) leave(name string, held *turns) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held.users--; held.users == 0 {
		delete(l.named, name)
	}
}
