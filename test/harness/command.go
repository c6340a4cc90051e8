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
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// Parameters are the client's parameters that differ from one use to the next.
type Parameters struct {
	IngestionImage string
	BackoffLimit   int
}

// Command is the product's pipelinectl, set up for a namespace.
type Command struct {
	path string
	dir  string
	env  []string
}

// ConfigPath is where NewCommand keeps the configuration for a namespace.
func ConfigPath(namespace string) string {
	return filepath.Join(os.TempDir(), "pipelinectl-"+namespace+".yaml")
}

// Environment is what pipelinectl needs to find the cluster and the stand-in.
func (c *Cluster) Environment(s *StandIn) []string {
	env := []string{"OPENMETADATA_URL=" + s.URL, "OPENMETADATA_TOKEN=" + s.Token}
	if c.Kubeconfig != "" {
		env = append(env, "KUBECONFIG="+c.Kubeconfig)
	}
	return env
}

// NewCommand writes the configuration and gives the command.
func (c *Cluster) NewCommand(s *StandIn, namespace string, parameters Parameters) (*Command, error) {
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
		return nil, err
	}
	const private = 0o600
	if err := os.WriteFile(ConfigPath(namespace), config, private); err != nil {
		return nil, err
	}
	return &Command{
		path: filepath.Join(c.Root, "bin", "pipelinectl"),
		dir:  c.Root,
		env:  append(append(os.Environ(), c.Environment(s)...), "PIPELINECTL_CONFIG="+ConfigPath(namespace)),
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

// Run runs the command and gives its standard output.
func (c *Command) Run(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.path, args...) //nolint:gosec // Our own command.
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), &ExitError{Args: args, Code: exit.ExitCode(), Stderr: stderr.String()}
	}
	return stdout.String(), err
}

// Start starts a command that goes on until the context ends; its standard error goes to log.
func (c *Command) Start(ctx context.Context, log io.Writer, args ...string) (*exec.Cmd, error) {
	const patience = 10 * time.Second
	cmd := exec.CommandContext(ctx, c.path, args...) //nolint:gosec // Our own command.
	cmd.Dir, cmd.Env, cmd.Stderr = c.dir, c.env, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	return cmd, cmd.Start()
}

// RunJSON runs the command with -o json and reads its result.
func (c *Command) RunJSON(ctx context.Context, result any, args ...string) error {
	out, err := c.Run(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), result)
}

// ContainerEnded says when the ingestion container of a run's newest pod ended, to the second, and whether no pod is left.
func (c *Cluster) ContainerEnded(ctx context.Context, namespace, runID string) (time.Time, bool, error) {
	pods, err := c.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: identity.LabelRunID + "=" + runID})
	if err != nil {
		return time.Time{}, false, err
	}
	var newest *corev1.Pod
	for i := range pods.Items {
		if pod := &pods.Items[i]; newest == nil || pod.CreationTimestamp.After(newest.CreationTimestamp.Time) {
			newest = pod
		}
	}
	if newest == nil {
		return time.Time{}, true, nil
	}
	for _, status := range newest.Status.ContainerStatuses {
		if status.Name == identity.ContainerName && status.State.Terminated != nil {
			return status.State.Terminated.FinishedAt.Time, false, nil
		}
	}
	return time.Time{}, false, nil
}
