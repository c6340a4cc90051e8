package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	// commandTimeout bounds a command that is to end by itself, against hanging only.
	commandTimeout = 10 * time.Minute
	// endPatience is how long a command that was told to end may take.
	endPatience = 10 * time.Second
)

// Parameters are the client's parameters that differ from one use to the next.
type Parameters struct {
	IngestionImage string
	BackoffLimit   int
}

// Command is the product's pipelinectl, set up for a namespace.
type Command struct {
	// Config is the file of its parameters.
	Config string
	// Stderr takes a copy of what commands that are run write to standard error; nil: what those that fail write is in
	// their errors.
	Stderr io.Writer

	path string
	dir  string
	env  []string
}

// Environment is what pipelinectl needs to find the cluster and the stand-in.
func (c *Cluster) Environment(s *StandIn) []string {
	env := []string{"OPENMETADATA_URL=" + s.URL, "OPENMETADATA_TOKEN=" + s.Token}
	if c.Kubeconfig != "" {
		env = append(env, "KUBECONFIG="+c.Kubeconfig)
	}
	return env
}

// NewCommand writes the parameters to a file of its own in dir, which is the caller's to remove, and gives the command.
func (c *Cluster) NewCommand(s *StandIn, dir, namespace string, parameters Parameters) (*Command, error) {
	config, err := yaml.Marshal(map[string]any{
		"namespace":           namespace,
		"ingestionImage":      parameters.IngestionImage,
		"backoffLimit":        parameters.BackoffLimit,
		"metadataApiEndpoint": s.PodURL,
		"resources": map[string]any{
			"requests": map[string]string{"cpu": "50m", "memory": "64Mi"},
			"limits":   map[string]string{"cpu": "2", "memory": "2Gi"},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the parameters for namespace %s: %w", namespace, err)
	}
	file, err := os.CreateTemp(dir, "pipelinectl-*.yaml")
	if err != nil {
		return nil, fmt.Errorf("keep the parameters for namespace %s: %w", namespace, err)
	}
	_, err = file.Write(config)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("keep the parameters for namespace %s: %w", namespace, err)
	}
	return &Command{
		Config: file.Name(),
		path:   filepath.Join(c.Root, "bin", "pipelinectl"),
		dir:    c.Root,
		env:    slices.Concat(os.Environ(), c.Environment(s), []string{"PIPELINECTL_CONFIG=" + file.Name()}),
	}, nil
}

// ExitError is a command that ended with a code that is not 0.
type ExitError struct {
	Args   []string
	Code   int
	Stderr string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("pipelinectl %s: exit code %d: %s", strings.Join(e.Args, " "), e.Code, strings.TrimSpace(e.Stderr))
}

// Run runs the command, for at most 10 minutes, and gives its standard output; an *ExitError where its code is not 0.
func (c *Command) Run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("not done within %s", commandTimeout))
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.path, args...) //nolint:gosec // Our own command.
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, &stdout, &stderr
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(&stderr, c.Stderr)
	}
	cmd.WaitDelay = endPatience
	err := cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		return stdout.String(), fmt.Errorf("pipelinectl %s: %w: %s", strings.Join(args, " "), cause, strings.TrimSpace(stderr.String()))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), &ExitError{Args: args, Code: exit.ExitCode(), Stderr: stderr.String()}
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("pipelinectl %s (make build makes it): %w", strings.Join(args, " "), err)
	}
	return stdout.String(), nil
}

// Start starts a command that goes on until the context ends; its standard error goes to log.
func (c *Command) Start(ctx context.Context, log io.Writer, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, c.path, args...) //nolint:gosec // Our own command.
	cmd.Dir, cmd.Env, cmd.Stderr = c.dir, c.env, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = endPatience
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("pipelinectl %s (make build makes it): %w", strings.Join(args, " "), err)
	}
	return cmd, nil
}

// RunJSON runs the command with -o json and reads its result.
func (c *Command) RunJSON(ctx context.Context, result any, args ...string) error {
	out, err := c.Run(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), result); err != nil {
		return fmt.Errorf("read what pipelinectl %s answered: %w", strings.Join(args, " "), err)
	}
	return nil
}
