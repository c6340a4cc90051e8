// Command pipelinectl runs OpenMetadata's ingestion pipelines on Kubernetes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	_ "golang.org/x/crypto/x509roots/fallback" // An image from scratch has no certificate authorities of its own.

	"github.com/pipelinectl/pipelinectl/internal/liblog"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// Exit codes; usage errors are kong's.
const (
	exitError     = 1
	exitCancelled = 2
	exitRunFailed = 3
	exitAuth      = 4
	exitUsage     = 80
)

const description = `Runs OpenMetadata's ingestion pipelines on Kubernetes.

A pipeline is a ConfigMap, a Secret and, where it has a schedule, a CronJob; a run of it is a Job.
PIPELINE is a fully qualified name, such as mysql_prod.metadata.

Exit codes: 0 done, 1 error, 2 cancelled, 3 the run that was waited for did not succeed, 4 not allowed,
80 wrong arguments.`

type cli struct {
	globals

	Deploy     deployCmd   `cmd:"" group:"pipelines" help:"Deploy pipelines, or bring them up to date."`
	Render     renderCmd   `cmd:"" group:"pipelines" help:"Print the objects that a deploy would make; needs neither cluster nor server."`
	List       listCmd     `cmd:"" group:"pipelines" help:"List the deployed pipelines."`
	Enable     enableCmd   `cmd:"" group:"pipelines" help:"Put pipelines' schedules into force."`
	Disable    disableCmd  `cmd:"" group:"pipelines" help:"Take pipelines' schedules out of force; runs go on."`
	Toggle     toggleCmd   `cmd:"" group:"pipelines" help:"Turn pipelines' schedules on where they are off, and off where they are on."`
	History    historyCmd  `cmd:"" group:"pipelines" help:"Show a pipeline's configurations."`
	Rollback   rollbackCmd `cmd:"" group:"pipelines" help:"Go back to an earlier configuration; the connection to OpenMetadata stays as it is."`
	Delete     deleteCmd   `cmd:"" group:"pipelines" help:"Delete pipelines from the namespace, their runs too."`
	Run        runCmd      `cmd:"" group:"runs" help:"Run deployed pipelines now."`
	Status     statusCmd   `cmd:"" group:"runs" help:"Show pipelines' schedules and their latest runs."`
	Logs       logsCmd     `cmd:"" group:"runs" help:"Print the logs of a run."`
	Kill       killCmd     `cmd:"" group:"runs" help:"End pipelines' runs, gracefully, and wait until they have ended."`
	Diagnose   diagnoseCmd `cmd:"" group:"runs" help:"Find out how a run ended, or why it does not start."`
	Serve      serveCmd    `cmd:"" group:"setup" help:"Keep the state of every run in OpenMetadata true, until interrupted."`
	Automate   automateCmd `cmd:"" group:"runs" help:"Run an automation workflow, such as the test of a connection."`
	Health     healthCmd   `cmd:"" group:"setup" help:"Check the cluster, the permissions and OpenMetadata."`
	Parameters configCmd   `cmd:"" group:"setup" name:"config" help:"Show the parameters in force, and where each came from."`
	HostIP     hostIPCmd   `cmd:"" group:"setup" name:"host-ip" help:"Print where runs come from, for the firewall of a source."`
	Version    versionCmd  `cmd:"" group:"setup" help:"Print the version."`

	Completion kongcompletion.Completion `cmd:"" group:"setup" help:"Print how to complete commands in bash, zsh or fish."`
}

// usageError is a combination of arguments that the parser does not refuse itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// commandName is how the user called this program: kubectl finds it as a plugin where its file is kubectl-pipeline.
func commandName(file string) string {
	if plugin, ok := strings.CutPrefix(filepath.Base(file), "kubectl-"); ok {
		return "kubectl " + plugin
	}
	return "pipelinectl"
}

// asCalled makes commands in a text those that the user has. Packages do not know how they are called.
func asCalled(name, text string) string {
	return strings.NewReplacer("pipelinectl: ", name+": ", "pipelinectl ", name+" ").Replace(text)
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	liblog.SendTo(slog.DiscardHandler) // What libraries log is in the errors too, unless the user asks for it.
	ctx, stop := untilInterrupted()
	defer stop()
	stderr = &console{out: stderr}
	unsetEmpty()
	name := commandName(os.Args[0])
	c := cli{globals: globals{stderr: stderr}}
	exited := -1
	parser, err := kong.New(&c,
		kong.Name(name), kong.Description(description), kong.UsageOnError(), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ExplicitGroups([]kong.Group{{Key: "pipelines", Title: "Pipelines:"}, {Key: "runs", Title: "Runs:"}, {Key: "setup", Title: "Setup:"}}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c.globals), kong.Bind(streams{out: stdout, err: stderr}),
	)
	if err != nil {
		fmt.Fprintf(stderr, "pipelinectl: %v\n", err)
		return exitError
	}
	kongcompletion.Register(parser, kongcompletion.WithPredictor("pipeline", completePipelines(ctx)), kongcompletion.WithExitFunc(func(code int) { exited = code }))
	if exited >= 0 { // The shell asked for completions, and has them.
		return exited
	}
	parsed, err := parser.Parse(withoutEmpty(parser.Model, args))
	if exited >= 0 { // --help has printed all there is to say.
		return exited
	}
	if err != nil {
		fmt.Fprint(stderr, asCalled(name, fmt.Sprintf("pipelinectl: %v; see pipelinectl --help\n", err)))
		return exitUsage
	}
	if c.Verbose {
		logTo(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	err = parsed.Run()
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprint(stderr, asCalled(name, fmt.Sprintf("pipelinectl: %s\n", errorText(ctx, err))))
		return exitCode(ctx, err)
	}
	return 0
}

// logTo takes what libraries log, and requests.
func logTo(handler slog.Handler) {
	liblog.SendTo(handler)
	slog.SetDefault(slog.New(handler))
}

// overError is why a command's context has ended, in words. Its kind is context.Canceled or context.DeadlineExceeded.
type overError struct {
	text string
	kind error
}

func (e *overError) Error() string { return e.text }

func (e *overError) Unwrap() error { return e.kind }

var errInterrupted = &overError{"interrupted", context.Canceled}

// untilInterrupted gives a context that the first interrupt ends; the second one ends the process at once.
func untilInterrupted() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// errorText is an error as the user reads it. Some libraries give a context's error and not its cause, and what failed may be
// what was to be undone after the interrupt.
func errorText(ctx context.Context, err error) string {
	text := err.Error()
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		return text
	}
	text = strings.ReplaceAll(text, context.Canceled.Error(), errInterrupted.Error())
	if !strings.Contains(text, errInterrupted.Error()) {
		text = errInterrupted.Error() + ": " + text
	}
	return text
}

func exitCode(ctx context.Context, err error) int {
	var usage usageError
	switch {
	case ctx.Err() != nil:
		return exitCancelled
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errRunFailed):
		return exitRunFailed
	case errors.Is(err, omapi.ErrUnauthorized), errors.Is(err, omapi.ErrForbidden), k8sclient.IsNotAllowed(err):
		return exitAuth
	default:
		return exitError
	}
}
