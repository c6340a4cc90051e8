// Command demo shows the product at work on a real cluster: a run that succeeds, one that fails, and one that is killed,
// and what OpenMetadata was told of each.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/pipelinectl/pipelinectl/test/harness"
)

const pagePort = 8585

type cli struct {
	Namespace string        `default:"pipelinectl-demo" help:"Namespace of the demo; it is emptied first."`
	Image     string        `default:"pipelinectl.local/ingestion-light:dev" help:"Ingestion image."`
	Timeout   time.Duration `default:"10m" help:"Bound on the whole."`

	Run  runCmd  `cmd:"" default:"1" help:"Run the demo."`
	Page pageCmd `cmd:"" help:"Bring OpenMetadata's page to this machine until interrupted."`
	Load loadCmd `cmd:"" help:"Bring built images into the cluster."`
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	parsed := kong.Parse(&c, kong.Name("demo"), kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c))
	if err := parsed.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}

type loadCmd struct {
	Images []string `arg:"" help:"Names of test/images/build.sh."`
}

// Run loads the images.
func (cmd *loadCmd) Run(ctx context.Context) error {
	cluster, err := harness.NewCluster(ctx)
	if err != nil {
		return err
	}
	return cluster.Load(ctx, cmd.Images...)
}

type pageCmd struct{}

// Run forwards the page's port.
func (*pageCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := harness.NewCluster(ctx)
	if err != nil {
		return err
	}
	standIn, err := cluster.ConnectStandIn(ctx, c.Namespace, pagePort)
	if err != nil {
		return err
	}
	fmt.Printf("OpenMetadata's page: %s   (Ctrl-C ends it)\n\nTo try things in another shell:\n", standIn.Page)
	for _, variable := range cluster.Environment(standIn) {
		fmt.Printf("  export %s\n", variable)
	}
	fmt.Printf("  export PIPELINECTL_CONFIG=%s\n  bin/pipelinectl status orders.orders-metadata\n", harness.ConfigPath(c.Namespace))
	select {
	case <-ctx.Done():
		return nil
	case err := <-standIn.Lost:
		return fmt.Errorf("the connection to the OpenMetadata stand-in is lost: %w", err)
	}
}

type runCmd struct{}

// Run is the demo.
func (*runCmd) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, errors.New("the demo took too long"))
	defer cancel()
	cluster, err := harness.NewCluster(ctx)
	if err != nil {
		return err
	}
	d := &demo{cluster: cluster, namespace: c.Namespace, image: c.Image}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, show := range []func(context.Context) error{d.succeeds, d.fails, d.killed} {
		if err := show(ctx); err != nil {
			return err
		}
	}
	d.farewell()
	return nil
}
