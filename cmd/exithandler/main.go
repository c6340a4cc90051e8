// Command exithandler reports how a run of an ingestion pipeline ends. It lives in the run's pod: as the ingestion
// container's init process and preStop hook, and as a sidecar.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/pipelinectl/pipelinectl/internal/liblog"
	"github.com/pipelinectl/pipelinectl/internal/version"
)

const usage = `exithandler reports how a run of an OpenMetadata ingestion pipeline ends.

Usage:
  exithandler                    report the run's state; the preStop hook of the container "ingestion"
  exithandler watch              report how the pod's main container ends; a sidecar's command
  exithandler run -- COMMAND...  run COMMAND as the container's init: with its secrets, signals and exit code
  exithandler install [-script] DIR
                                 copy this program to DIR/exithandler, for an init container; with -script also a
                                 script DIR/exit_handler.py that starts it
  exithandler version            print the version

The environment is that of OpenMetadata's exit_handler.py: config, pipelineRunId, ingestionPipelineFQN, jobName,
namespace, pipelineStatus. configSecret holds the values that config has <from-secret> for.

Exit codes: 0 the report is made, or nothing was missing; 1 it is not, the log says why; 2 wrong arguments.
run: the command's own; 128+n where signal n ended it; 126 it cannot be executed; 127 it is not found.
`

const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2

	// As a shell has them.
	exitCannotExecute = 126
	exitNotFound      = 127
	exitSignalBase    = 128
)

// memoryLimit is what the runtime keeps below, unless GOMEMLIMIT says otherwise: more than a report takes without any
// garbage collection, and less than what long logs would leave behind.
const memoryLimit = 12 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		return hook(context.Background(), os.Environ())
	}
	switch args[0] {
	case "watch":
		return watchRun(context.Background(), os.Environ())
	case "run":
		return runInit(args[1:], os.Environ())
	case "install":
		return install(args[1:])
	case "version", "--version":
		fmt.Println("exithandler " + version.String())
		return exitOK
	case "help", "-h", "--help":
		fmt.Print(usage)
		return exitOK
	default:
		fmt.Fprintf(os.Stderr, "exithandler: unknown command %q\n\n%s", args[0], usage)
		return exitUsage
	}
}

// newLogger writes to the container's log: the output of a preStop hook goes nowhere, so it is written where the
// container's first process writes; and to the terminal of who runs it by hand. What libraries log goes there too.
func newLogger() (*slog.Logger, func()) {
	var out io.Writer = os.Stderr
	closeLog := func() {}
	if file, err := os.OpenFile("/proc/1/fd/2", os.O_WRONLY|os.O_APPEND, 0); err == nil {
		out, closeLog = file, func() { _ = file.Close() }
		if byHand(os.Stderr, file) {
			out = io.MultiWriter(file, os.Stderr)
		}
	}
	handler := slog.NewJSONHandler(out, nil)
	liblog.SendTo(handler.WithAttrs([]slog.Attr{slog.String("logger", "libraries")}))
	return slog.New(handler).With("logger", "exithandler"), closeLog
}

// byHand says that standard error is a terminal, and not what the container's first process writes to.
func byHand(stderr, first *os.File) bool {
	own, err := stderr.Stat()
	if err != nil || own.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	container, err := first.Stat()
	return err != nil || !os.SameFile(own, container)
}
