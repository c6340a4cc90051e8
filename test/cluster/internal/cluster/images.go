package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/image"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

// Load imports image archives, of Docker's or of the OCI's format, and prints
// the names by which pods refer to the images. The timeout is for each archive.
func (c *Cluster) Load(ctx context.Context, archives []string, timeout time.Duration) error {
	id, err := c.running()
	if err != nil {
		return err
	}
	for _, archive := range archives {
		begin := time.Now()
		names, err := load(ctx, id, archive, timeout)
		if err != nil {
			return fmt.Errorf("loading %s: %w", archive, err)
		}
		for _, one := range names {
			c.sayf("%s  %.1f s", one, time.Since(begin).Seconds())
		}
	}
	return nil
}

func load(ctx context.Context, id state.Identity, archive string, timeout time.Duration) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %s", timeout))
	defer cancel()
	file, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	names, err := image.Names(file)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if _, err := ctr(ctx, id, file, "images", "import", "--snapshotter", id.Snapshotter, "-"); err != nil {
		return nil, err
	}
	list, err := ctr(ctx, id, nil, "images", "list", "--quiet")
	if err != nil {
		return nil, err
	}
	for _, one := range names {
		if !strings.Contains("\n"+list+"\n", "\n"+one+"\n") {
			return nil, fmt.Errorf("containerd has imported it but does not know %s", one)
		}
	}
	return names, nil
}

// ctr runs containerd's own client against the cluster's containerd.
func ctr(ctx context.Context, id state.Identity, stdin io.Reader, args ...string) (string, error) {
	socket := inside(id.PID, supervisor.ContainerdSocket)
	cmd := exec.CommandContext(ctx, id.Ctr, append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...) //nolint:gosec // The path was found in the system's directories.
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args[:2], " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
