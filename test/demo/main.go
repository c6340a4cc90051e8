// Command demo shows the product at work on a real cluster: a run that succeeds, one that fails, and one that is killed,
// and what OpenMetadata was told of each.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/pipelinectl/pipelinectl/test/harness"
)

// usualPort is the page's, as an OpenMetadata has it.
const usualPort = 8585

// pagePort is the usual port, or 0 for any that is free where something has it, such as an OpenMetadata.
func pagePort(ctx context.Context, usual int) int {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(usual)))
	if err != nil {
		return 0
	}
	_ = listener.Close()
	return usual
}

type cli struct {
	Namespace string        `default:"pipelinectl-demo" help:"Namespace of the demo; it is emptied first where the demo has made it."`
	Image     string        `default:"pipelinectl.local/ingestion-light:dev" help:"Ingestion image."`
	Timeout   time.Duration `default:"10m" help:"Bound on the whole; a page has none."`

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

// within bounds do by the timeout, and says so where that has ended it.
func (c *cli) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("not done within %s; --timeout gives more", c.Timeout))
	defer cancel()
	err := do(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

type loadCmd struct {
	Images []string `arg:"" help:"Names of test/images/build.sh."`
}

// Run loads the images.
func (cmd *loadCmd) Run(ctx context.Context, c *cli) error {
	return c.within(ctx, func(ctx context.Context) error {
		cluster, err := harness.NewCluster(ctx)
		if err != nil {
			return err
		}
		return cluster.Load(ctx, cmd.Images...)
	})
}

type pageCmd struct{}

// Run forwards the page's port.
func (*pageCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := harness.NewCluster(ctx)
	if err != nil {
		return err
	}
	standIn, err := cluster.ConnectStandIn(ctx, c.Namespace, pagePort(ctx, usualPort))
	if err != nil {
		return err
	}
	// What the other shell is told to set is good for as long as the page is there.
	dir, err := os.MkdirTemp("", "pipelinectl-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the parameters: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	command, err := cluster.NewCommand(standIn, dir, c.Namespace, harness.Parameters{IngestionImage: c.Image})
	if err != nil {
		return err
	}
	fmt.Printf("OpenMetadata's page: %s   (Ctrl-C ends it)\n\nTo try things in another shell, until then:\n", standIn.Page)
	for _, variable := range append(cluster.Environment(standIn), "PIPELINECTL_CONFIG="+command.Config) {
		fmt.Printf("  export %s\n", variable)
	}
	fmt.Println("  bin/pipelinectl status orders.orders-metadata")
	select {
	case <-ctx.Done():
		return nil
	case err := <-standIn.Lost:
		return fmt.Errorf("the connection to the OpenMetadata stand-in is lost, run make page again: %w", err)
	}
}

type runCmd struct{}

// Run is the demo.
func (*runCmd) Run(ctx context.Context, c *cli) error { return c.within(ctx, c.demo) }

func (c *cli) demo(ctx context.Context) error {
	cluster, err := harness.NewCluster(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pipelinectl-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the parameters: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := &demo{cluster: cluster, namespace: c.Namespace, image: c.Image}
	if err := d.prepare(ctx, dir); err != nil {
		return err
	}
	for _, show := range []func(context.Context) error{d.succeeds, d.fails, d.killed} {
		if err := show(ctx); err != nil {
			return err
		}
	}
	return d.farewell(ctx)
}
