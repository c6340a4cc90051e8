// Command pipelinectl runs OpenMetadata's ingestion pipelines on Kubernetes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// Exit codes; usage errors are kong's.
const (
	exitError     = 1
	exitCancelled = 2
	exitAuth      = 4
	exitUsage     = 80
)

const description = `Runs OpenMetadata's ingestion pipelines on Kubernetes.

A pipeline is a ConfigMap, a Secret and, where it has a schedule, a CronJob; a run of it is a Job.
PIPELINE is a fully qualified name, such as mysql_prod.metadata.

Exit codes: 0 done, 1 error, 2 cancelled, 4 not allowed, 80 wrong arguments.`

type cli struct {
	globals

	Deploy     deployCmd  `cmd:"" help:"Deploy pipelines, or bring them up to date."`
	Run        runCmd     `cmd:"" help:"Run a deployed pipeline now."`
	Kill       killCmd    `cmd:"" help:"End a pipeline's runs, gracefully, and wait until they have ended."`
	Delete     deleteCmd  `cmd:"" help:"Delete a pipeline from the namespace, its runs too."`
	Status     statusCmd  `cmd:"" help:"Show a pipeline's schedule and its latest runs."`
	Parameters configCmd  `cmd:"" name:"config" help:"Show the parameters in force, and where each came from."`
	Version    versionCmd `cmd:"" help:"Print the version."`
}

func main() {
	// What client-go would log is in the errors.
	klog.SetLogger(klog.NewKlogr().V(0))
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)

	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("pipelinectl"), kong.Description(description), kong.UsageOnError(), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c.globals), kong.Bind(streams{out: stdout, err: stderr}),
	)
	if err != nil {
		fmt.Fprintf(stderr, "pipelinectl: %v\n", err)
		return exitError
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help has printed all there is to say.
		return exited
	}
	if err != nil {
		fmt.Fprintf(stderr, "pipelinectl: %v; see pipelinectl --help\n", err)
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		fmt.Fprintf(stderr, "pipelinectl: %v\n", err)
		return exitCode(ctx, err)
	}
	return 0
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case ctx.Err() != nil:
		return exitCancelled
	case errors.Is(err, omapi.ErrUnauthorized), errors.Is(err, omapi.ErrForbidden), apierrors.IsUnauthorized(err), apierrors.IsForbidden(err):
		return exitAuth
	default:
		return exitError
	}
}
