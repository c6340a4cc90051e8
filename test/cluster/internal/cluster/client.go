package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

// client talks to a supervisor.
type client struct {
	http *http.Client
}

// inside is the path, as seen from here, of a path in a process's namespaces.
func inside(pid int, path string) string {
	return fmt.Sprintf("/proc/%d/root%s", pid, path)
}

func newClient(pid int) *client {
	return &client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", inside(pid, supervisor.ControlSocket))
		},
		DisableKeepAlives: true,
	}}}
}

func (c *client) status(ctx context.Context) (supervisor.Status, error) {
	var status supervisor.Status
	body, err := c.do(ctx, http.MethodGet, "/status")
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return status, fmt.Errorf("reading the supervisor's status: %w", err)
	}
	return status, nil
}

func (c *client) do(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the supervisor: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the supervisor: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the supervisor's answer: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("the supervisor: %s", strings.TrimSpace(string(body)))
	}
	return body, nil
}
