package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// runInit starts a command with the whole configuration and stands in for the init of a container: the kernel gives
// process 1 no signal that it has no handler for, and all orphans.
func runInit(args, environ []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, "exithandler run: no command is given\n\n"+usage)
		return exitUsage
	}
	// Before the command starts: a signal that comes in between is not lost.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, forwarded()...)
	if announce(environ) {
		fmt.Fprintln(os.Stderr, "exithandler run: an earlier attempt has completed the run, so the command is not started")
		return exitOK
	}
	environ, err := commandEnvironment(environ)
	if err != nil {
		refuse(err)
		return exitError
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "exithandler run: %v\n", err)
		return lookupCode(err)
	}
	// Orphans come to this process also where it is not process 1.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	child, err := os.StartProcess(path, args, &os.ProcAttr{ //nolint:gosec // Running the command given is what it is for.
		Env:   environ,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		// A group of its own: a signal reaches all that the command started.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if errors.Is(err, syscall.E2BIG) {
		refuse(tooLarge(args, environ))
		return exitCannotExecute
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "exithandler run: %v\n", err)
		return exitCannotExecute
	}
	go forward(signals, child.Pid)
	code := reap(child.Pid)
	leaveMesh(context.Background(), environ, meshEndpoints())
	return code
}

// terminationLog becomes the message of the container's end, where every reporter finds it. In a container it is there.
const terminationLog = "/dev/termination-log"

// refuse says why the command is not started: its configuration is at fault. The error holds no secret.
func refuse(err error) {
	fmt.Fprintf(os.Stderr, "exithandler run: %v\n", err)
	if file, openErr := os.OpenFile(terminationLog, os.O_WRONLY|os.O_TRUNC, 0); openErr == nil {
		_, _ = file.WriteString(diagnostics.InvalidConfiguration(err.Error()))
		_ = file.Close()
	}
}

// tooLarge says what Linux refuses to execute for its size (E2BIG).
func tooLarge(args, environ []string) error {
	largest, total := "", 0
	for _, text := range slices.Concat(args, environ) {
		total += len(text) + 1
	}
	for _, pair := range environ {
		if len(pair) > len(largest) {
			largest = pair
		}
	}
	name, _, _ := strings.Cut(largest, "=")
	const hint = "shorten the pipeline's configuration or extraEnvVars, and deploy it again"
	if len(largest) > identity.MaxVariable {
		return fmt.Errorf("variable %s has %d bytes, and Linux gives a process at most %d in one variable; %s", name, len(largest), identity.MaxVariable, hint)
	}
	return fmt.Errorf("the variables and arguments have %d bytes together, more than Linux gives to a process, which is a quarter of its stack limit; the largest is %s with %d bytes; %s", total, name, len(largest), hint)
}

func lookupCode(err error) int {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EISDIR) {
		return exitCannotExecute
	}
	return exitNotFound
}

// forwarded are all signals but those that cannot be caught, SIGCHLD, which is this process's own affair, SIGURG, which the
// Go runtime sends itself all the time, and a terminal's, which belong to its owner.
func forwarded() []os.Signal {
	const last = 64
	var out []os.Signal
	for number := syscall.Signal(1); number <= last; number++ {
		switch number {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGTTIN, syscall.SIGTTOU:
		default:
			out = append(out, number)
		}
	}
	return out
}

func forward(signals <-chan os.Signal, group int) {
	for received := range signals {
		if number, ok := received.(syscall.Signal); ok {
			_ = syscall.Kill(-group, number)
		}
	}
}

// reap waits for all children, so that no zombie stays, until the command itself has ended.
func reap(command int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintf(os.Stderr, "exithandler run: wait for the command: %v\n", err)
			return exitError
		case pid != command:
		case status.Signaled():
			return exitSignalBase + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}
