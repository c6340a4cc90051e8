package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Exec runs a command in the cluster's namespaces, with this process's standard
// files, and returns its exit code.
func (c *Cluster) Exec(ctx context.Context, args []string) (int, error) {
	id, err := c.running()
	if err != nil {
		return 0, err
	}
	result := make(chan error, 1)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // Running a command is what it is for.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Dir = "/"
	go func() {
		// The thread keeps its namespaces, so it is not unlocked: it ends with the
		// goroutine.
		runtime.LockOSThread()
		if err := enter(id.PID); err != nil {
			result <- err
			return
		}
		result <- cmd.Run()
	}()
	err = <-result
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("running %s in the cluster's namespaces: %w", args[0], err)
	}
	return 0, nil
}

// enter moves the calling thread into the namespaces of a process.
func enter(pid int) error {
	// A thread that shares its root directory with others cannot change its mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("parting from the other threads: %w", err)
	}
	files := map[int]*os.File{}
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	order := []int{unix.CLONE_NEWPID, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWNET, unix.CLONE_NEWNS}
	names := map[int]string{
		unix.CLONE_NEWPID: "pid", unix.CLONE_NEWUTS: "uts", unix.CLONE_NEWIPC: "ipc",
		unix.CLONE_NEWNET: "net", unix.CLONE_NEWNS: "mnt",
	}
	for kind, name := range names {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			return fmt.Errorf("opening a namespace: %w", err)
		}
		files[kind] = file
	}
	for _, kind := range order {
		if err := unix.Setns(int(files[kind].Fd()), kind); err != nil {
			return fmt.Errorf("entering the %s namespace: %w", names[kind], err)
		}
	}
	return nil
}
