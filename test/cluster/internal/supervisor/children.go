package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
)

// command is a program to run.
type command struct {
	name string
	path string
	args []string
}

// children are the processes that the supervisor started. As the first process
// of its namespace it also inherits every orphan, so one place waits for all
// processes; os/exec would compete with it.
type children struct {
	dir state.Dir
	env []string
	log *slog.Logger

	mu    sync.Mutex
	byPID map[int]*child
	all   []*child
}

type child struct {
	Component

	done chan struct{}
	err  error
}

func newChildren(dir state.Dir, env []string, log *slog.Logger) *children {
	return &children{dir: dir, env: env, log: log, byPID: map[int]*child{}}
}

// start starts the command with its output appended to its log.
func (c *children) start(cmd command) (*child, error) {
	out, err := os.OpenFile(c.dir.Log(cmd.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.name, err)
	}
	defer func() { _ = out.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.name, err)
	}
	defer func() { _ = null.Close() }()

	// Held until the process is known, or the reaper might see it end before.
	c.mu.Lock()
	defer c.mu.Unlock()
	process, err := os.StartProcess(cmd.path, append([]string{cmd.path}, cmd.args...), &os.ProcAttr{
		Dir: "/", Env: c.env, Files: []*os.File{null, out, out},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.name, err)
	}
	started := &child{
		Component: Component{Name: cmd.name, PID: process.Pid, Running: true, Started: time.Now()},
		done:      make(chan struct{}),
	}
	c.byPID[process.Pid] = started
	c.all = slices.DeleteFunc(c.all, func(old *child) bool { return old.Name == cmd.name })
	c.all = append(c.all, started)
	if err := process.Release(); err != nil {
		c.log.Warn("releasing a process handle", "component", cmd.name, "error", err)
	}
	return started, nil
}

// run starts the command and waits for its end. It is for commands that end.
func (c *children) run(ctx context.Context, cmd command) error {
	started, err := c.start(cmd)
	if err != nil {
		return err
	}
	defer c.forget(started)
	select {
	case <-started.done:
	case <-ctx.Done():
		_ = c.kill(cmd.name)
		return fmt.Errorf("running %s: %w", cmd.name, context.Cause(ctx))
	}
	if started.err != nil {
		return fmt.Errorf("running %s: %w", cmd.name, started.err)
	}
	return nil
}

func (c *children) forget(gone *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = slices.DeleteFunc(c.all, func(old *child) bool { return old == gone })
}

// kill kills the running child of that name, if there is one, and does not wait.
func (c *children) kill(name string) *child {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.all {
		if one.Name == name && one.Running {
			one.Stopped = true
			// Its PID cannot be another's: it is reaped under the same lock.
			if err := syscall.Kill(one.PID, syscall.SIGKILL); err != nil {
				c.log.Warn("killing a component", "component", name, "error", err)
			}
			return one
		}
	}
	return nil
}

// get returns the child of that name, or nil.
func (c *children) get(name string) *child {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.all {
		if one.Name == name {
			return one
		}
	}
	return nil
}

// list returns what is known of each child.
func (c *children) list() []Component {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Component, 0, len(c.all))
	for _, one := range c.all {
		list = append(list, one.Component)
	}
	slices.SortFunc(list, func(a, b Component) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// reap waits for processes until ctx ends.
func (c *children) reap(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		for c.reapOne() {
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
		}
	}
}

// reapOne reports whether a process was reaped.
func (c *children) reapOne() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	one, ok := c.byPID[pid]
	if !ok {
		return true // An orphan.
	}
	delete(c.byPID, pid)
	one.Running, one.Ended, one.Exit = false, time.Now(), describe(status)
	if status.ExitStatus() != 0 {
		one.err = errors.New(one.Exit)
	}
	close(one.done)
	c.log.Info("a process ended", "component", one.Name, "status", one.Exit, "expected", one.Stopped)
	return true
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by signal " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
