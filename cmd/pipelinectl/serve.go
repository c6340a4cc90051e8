package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/metadata"

	"github.com/pipelinectl/pipelinectl/internal/version"
	"github.com/pipelinectl/pipelinectl/pkg/reconcile"
)

var errServe = errors.New("--workers, --sweep-interval and --repair-age must be positive")

// repairLooks is how often a pipeline is looked at before it is repaired.
const repairLooks = 5

type serveCmd struct {
	Workers       int           `default:"4" help:"How many runs are worked on at the same time. Default: ${default}." placeholder:"N"`
	SweepInterval time.Duration `default:"5m" help:"How often OpenMetadata is asked for runs that go on there and have no Job. Default: ${default}." placeholder:"DURATION"`
	SweepAge      time.Duration `default:"2m" help:"How old such a run is before it is ended: its record is written before its Job is made. Default: ${default}." placeholder:"DURATION"`
	RepairAge     time.Duration `default:"5m" help:"How long a pipeline of which a deploy or a delete was cut off is left alone before it is finished or removed. Default: ${default}." placeholder:"DURATION"`
}

// Run keeps the state of every run true until it is interrupted.
func (cmd *serveCmd) Run(ctx context.Context, g *globals, s streams) error {
	if cmd.Workers < 1 || cmd.SweepInterval <= 0 || cmd.SweepAge < 0 || cmd.RepairAge <= 0 {
		return usageError{errServe}
	}
	handler := serveHandler(s.err, g.Verbose)
	logTo(handler.WithAttrs([]slog.Attr{slog.String("logger", "libraries")}))
	c, ctx, cancel, err := g.connectWith(ctx, need{server: true, endless: true})
	if err != nil {
		return err
	}
	defer cancel()
	reader, err := c.reader()
	if err != nil {
		return err
	}
	objects, err := metadata.NewForConfig(c.rest)
	if err != nil {
		return fmt.Errorf("the Kubernetes client cannot be configured: %w", err)
	}
	log := slog.New(handler)
	log.Info("starting", "version", version.String(), "namespace", c.namespace, "openmetadata", c.om.URL())
	var repairs sync.WaitGroup
	repairCtx, stopRepairs := context.WithCancel(ctx)
	defer repairs.Wait()
	defer stopRepairs()
	repairs.Go(func() {
		c.pipelines.NewRepairer(log, cmd.RepairAge).Run(repairCtx, max(cmd.RepairAge/repairLooks, time.Second))
	})
	err = reconcile.New(reconcile.Options{
		Kube: c.kube, Metadata: objects, Reader: reader, Server: c.om, Namespace: c.namespace, Origin: c.pipelines.Origin, Secrets: c.pipelines.SecretValues, Log: log,
		Workers: cmd.Workers, SweepInterval: cmd.SweepInterval, SweepAge: cmd.SweepAge,
	}).Run(ctx)
	log.Info("stopped")
	return err
}

// serveHandler writes one JSON object a line; requests are of level DEBUG.
func serveHandler(out io.Writer, verbose bool) slog.Handler {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level})
}
