// Package cli is the command line of the local cluster.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	artifacts "github.com/pipelinectl/pipelinectl/test/cluster"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/cluster"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

type commands struct {
	State string `default:"${state}" env:"PIPELINECTL_CLUSTER_STATE" help:"The cluster's directory; each directory is a cluster of its own." type:"path"`
	Bin   string `default:"${bin}"   env:"PIPELINECTL_CLUSTER_BIN"   help:"The Kubernetes binary that build.sh builds."                     type:"path"`

	Up         upCmd         `cmd:"" help:"Start the cluster, or find it running."`
	Down       downCmd       `cmd:"" help:"End the cluster and remove all that it has made."`
	Status     statusCmd     `cmd:"" help:"Show the components; exit code 1 if one is not healthy, 3 if the cluster is not running."`
	Logs       logsCmd       `cmd:"" help:"Print the logs of the components."`
	Load       loadCmd       `cmd:"" help:"Load image archives (docker-archive or OCI archive, also gzipped)."`
	Kubeconfig kubeconfigCmd `cmd:"" help:"Print the path of the administrator's kubeconfig."`
	Kubectl    kubectlCmd    `cmd:"" help:"Run kubectl as the cluster's administrator." passthrough:""`
	Node       nodeCmd       `cmd:"" help:"Lose the node, and bring it back."`
	Exec       execCmd       `cmd:"" help:"Run a command in the cluster's namespaces." passthrough:""`
	Artifact   artifactCmd   `cmd:"" help:"Print the path at which the Kubernetes binary is expected."`
	Supervise  superviseCmd  `cmd:"" hidden:""`
}

type upCmd struct {
	Port    int           `default:"16443" help:"The API server's port on 127.0.0.1; if it is taken, any free one."`
	Timeout time.Duration `default:"3m"    help:"How long the components may take to start."`
}

func (u *upCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	return c.Up(ctx, u.Port, u.Timeout)
}

type downCmd struct{}

func (*downCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	return c.Down(ctx)
}

type statusCmd struct{}

func (*statusCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	return c.Status(ctx)
}

type logsCmd struct {
	Component string `arg:""       help:"One component only." optional:""`
	Follow    bool   `help:"Go on until interrupted."    short:"f"`
	Tail      int    `default:"-1" help:"Print the last lines only; -1 prints all."`
}

func (l *logsCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	return c.Logs(ctx, l.Component, l.Tail, l.Follow)
}

type loadCmd struct {
	Archives []string      `arg:""       help:"Image archives." type:"existingfile"`
	Timeout  time.Duration `default:"5m" help:"How long one archive may take."`
}

func (l *loadCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	return c.Load(ctx, l.Archives, l.Timeout)
}

type kubeconfigCmd struct {
	Raw bool `help:"Print the content."`
}

func (k *kubeconfigCmd) Run(c *cluster.Cluster) error {
	if err := c.Running(); err != nil {
		return err
	}
	data, err := os.ReadFile(c.Dir.Kubeconfig())
	if err != nil {
		return fmt.Errorf("no kubeconfig, start the cluster with `cluster up`: %w", err)
	}
	if k.Raw {
		_, err = c.Out.Write(data)
	} else {
		_, err = fmt.Fprintln(c.Out, c.Dir.Kubeconfig())
	}
	return err
}

type kubectlCmd struct {
	Args []string `arg:"" help:"kubectl's arguments." optional:"" passthrough:""`
}

func (k *kubectlCmd) Run(c *cluster.Cluster) error {
	if err := c.Running(); err != nil {
		return err
	}
	args := slices.Concat([]string{
		c.Binary, "kubectl", "--kubeconfig", c.Dir.Kubeconfig(),
		// The next cluster may have the same address, and should not find this one's
		// answers in the user's cache.
		"--cache-dir", filepath.Join(c.Dir.Run(), "kubectl-cache"),
	}, withoutDashes(k.Args))
	if err := syscall.Exec(c.Binary, args, os.Environ()); err != nil { //nolint:gosec // Running kubectl is what it is for.
		return fmt.Errorf("running kubectl (test/cluster/build.sh builds it): %w", err)
	}
	return nil
}

type nodeCmd struct {
	Stop  nodeStopCmd  `cmd:"" help:"Kill the kubelet and containerd; pods' processes go on, as on a node without network."`
	Start nodeStartCmd `cmd:"" help:"Start the kubelet and containerd and wait until the node is ready."`
}

type nodeStopCmd struct {
	Kill bool `help:"Kill the pods' processes too, as a loss of power does."`
}

func (n *nodeStopCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	return c.StopNode(ctx, n.Kill)
}

type nodeStartCmd struct{}

func (*nodeStartCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	return c.StartNode(ctx)
}

type execCmd struct {
	Command []string `arg:"" help:"The command and its arguments." passthrough:""`
}

func (e *execCmd) Run(ctx context.Context, c *cluster.Cluster) error {
	command := withoutDashes(e.Command)
	if len(command) == 0 {
		return errors.New("no command: cluster exec -- COMMAND [ARGUMENT...]")
	}
	code, err := c.Exec(ctx, command)
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

// exitError is the exit code of a command that has told its error itself.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// withoutDashes removes the mark before the arguments of another command.
func withoutDashes(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

type artifactCmd struct{}

func (*artifactCmd) Run(c *cluster.Cluster) error {
	_, err := fmt.Fprintln(c.Out, c.Binary)
	return err
}

type superviseCmd struct{}

func (*superviseCmd) Run(ctx context.Context) error {
	cfg, listener, err := cluster.Inherited()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return supervisor.Run(ctx, cfg, listener, log)
}

const (
	exitUsage      = 2
	exitNotRunning = 3 // As of an init script's status.
)

// Main runs the command that args name and returns the exit code: 1 for an error,
// 2 for wrong arguments, 3 where a cluster is needed and none runs. --help ends
// the process.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, args, stdout, stderr)
	var (
		code  exitError
		usage *kong.ParseError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	_, _ = fmt.Fprintln(stderr, "cluster:", err)
	switch {
	case errors.As(err, &usage):
		_, _ = fmt.Fprintln(stderr, "`cluster --help` shows the commands and their flags")
		return exitUsage
	case errors.Is(err, cluster.ErrNotRunning):
		return exitNotRunning
	}
	return 1
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("finding the cache directory (set HOME or XDG_CACHE_HOME): %w", err)
	}
	cache = filepath.Join(cache, "pipelinectl")
	var cli commands
	parser, err := kong.New(&cli,
		kong.Name("cluster"),
		kong.Description("A real Kubernetes cluster with one real node, on this machine, for tests."),
		kong.Vars{
			"state": filepath.Join(cache, "cluster"),
			"bin":   filepath.Join(cache, "bin", artifacts.AllinoneName()),
		},
		kong.Writers(stdout, stderr),
	)
	if err != nil {
		return fmt.Errorf("building the command line: %w", err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return err
	}
	c, err := cluster.Open(cli.State, cli.Bin, stdout)
	if err != nil {
		return err
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(c)
	return parsed.Run()
}
