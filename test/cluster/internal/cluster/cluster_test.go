package cluster

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

func TestLastLines(t *testing.T) {
	cases := []struct {
		reason string
		text   string
		lines  int
		want   string
	}{
		{reason: "fewer than there are", text: "a\nb\nc\n", lines: 2, want: "b\nc\n"},
		{reason: "as many as there are", text: "a\nb\n", lines: 2, want: "a\nb\n"},
		{reason: "more than there are", text: "a\nb\n", lines: 9, want: "a\nb\n"},
		{reason: "the last line has no end yet", text: "a\nb", lines: 1, want: "b"},
		{reason: "none", text: "a\nb\n", lines: 0, want: ""},
		{reason: "all", text: "a\nb\n", lines: -1, want: "a\nb\n"},
		{reason: "an empty log", text: "", lines: 3, want: ""},
		{reason: "empty lines count", text: "a\n\n\n", lines: 2, want: "\n\n"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			assert.Equal(t, c.want, string(lastLines([]byte(c.text), c.lines)))
		})
	}
}

func TestProblem(t *testing.T) {
	running := supervisor.Component{Name: "etcd", Running: true}
	cases := []struct {
		reason string
		status supervisor.Status
		want   string
	}{
		{reason: "all is well", status: supervisor.Status{Phase: supervisor.Ready, Components: []supervisor.Component{running}}},
		{reason: "not ready yet", status: supervisor.Status{Phase: supervisor.Starting}, want: "starting"},
		{reason: "the start failed", status: supervisor.Status{Phase: supervisor.Failed, Error: "no bridge"}, want: "failed no bridge"},
		{
			reason: "a component died",
			status: supervisor.Status{Phase: supervisor.Ready, Components: []supervisor.Component{running, {Name: "kubelet", Exit: "exit status 1"}}},
			want:   "kubelet ended by itself: exit status 1",
		},
		{
			reason: "a component was stopped",
			status: supervisor.Status{Phase: supervisor.Ready, Components: []supervisor.Component{{Name: "kubelet", Stopped: true}}},
			want:   "kubelet is stopped",
		},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			err := problem(c.status)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestFailureShowsTheLog(t *testing.T) {
	c := newCluster(t, &bytes.Buffer{})
	long := strings.Repeat("x", 2*tailWidth)
	require.NoError(t, os.WriteFile(c.Dir.Log("kubelet"), []byte(strings.Repeat("old\n", 50)+long+"\nlast\n"), 0o600))
	err := c.failure(supervisor.Status{Phase: supervisor.Ready, Components: []supervisor.Component{{Name: "kubelet", Exit: "exit status 1"}}})
	require.ErrorContains(t, err, "\nlast\n")
	assert.Equal(t, tailLines-2, strings.Count(err.Error(), "old\n"))
	assert.NotContains(t, err.Error(), long)
}

func TestFindPrograms(t *testing.T) {
	bin, cni, empty := t.TempDir(), t.TempDir(), t.TempDir()
	for _, program := range []string{"containerd", "ctr", "containerd-shim-runc-v2", "runc"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, program), nil, 0o700))
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		require.NoError(t, os.WriteFile(filepath.Join(cni, plugin), nil, 0o700))
	}
	noHostLocal := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(noHostLocal, "bridge"), nil, 0o700))
	cases := []struct {
		reason  string
		dirs    []string
		cni     []string
		missing string
		install string
	}{
		{reason: "all there, in the second place", dirs: []string{empty, bin}, cni: []string{empty, cni}},
		{reason: "nothing there", dirs: []string{empty}, cni: []string{empty}, missing: "containerd, ctr, containerd-shim-runc-v2, runc, bridge", install: "containerd runc containernetworking-plugins"},
		{reason: "no plugins", dirs: []string{bin}, cni: []string{empty}, missing: "bridge", install: "containernetworking-plugins"},
		{reason: "some plugins", dirs: []string{bin}, cni: []string{noHostLocal}, missing: "host-local, loopback", install: "containernetworking-plugins"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			var cfg supervisor.Config
			err := findPrograms(&cfg, c.dirs, c.cni)
			if c.missing == "" {
				require.NoError(t, err)
				assert.Equal(t, filepath.Join(bin, "runc"), cfg.Runc)
				assert.Equal(t, cni, cfg.CNIBin)
				return
			}
			require.ErrorContains(t, err, "missing: "+c.missing+";")
			assert.True(t, strings.HasSuffix(err.Error(), "--no-install-recommends "+c.install), err)
		})
	}
}

func TestListenTakesAnotherPort(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // A test.
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	address, ok := taken.Addr().(*net.TCPAddr)
	require.True(t, ok)
	listener, err := listen(address.Port)
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	assert.NotEqual(t, taken.Addr().String(), listener.Addr().String())
}

func TestNotRunning(t *testing.T) {
	c := newCluster(t, &bytes.Buffer{})
	for name, do := range map[string]func() error{
		"status": func() error { return c.Status(t.Context()) },
		"load":   func() error { return c.Load(t.Context(), []string{"x"}, time.Second) },
		"stop":   func() error { return c.StopNode(t.Context(), true) },
		"exec":   func() error { _, err := c.Exec(t.Context(), []string{"true"}); return err },
	} {
		require.ErrorIs(t, do(), ErrNotRunning, name)
	}
}

func TestLogsFollow(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	c := newCluster(t, &bytes.Buffer{})
	c.Out = write
	require.Error(t, c.Logs(t.Context(), "", -1, false), "no logs yet")
	require.NoError(t, os.WriteFile(c.Dir.Log("etcd"), []byte("one\ntwo\n"), 0o600))
	require.Error(t, c.Logs(t.Context(), "nonsense", -1, false))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Logs(ctx, "etcd", 1, true) }()
	require.NoError(t, read.SetReadDeadline(time.Now().Add(time.Minute)))
	buffer := make([]byte, 64)
	n, err := read.Read(buffer)
	require.NoError(t, err)
	assert.Equal(t, "two\n", string(buffer[:n]))
	log, err := os.OpenFile(c.Dir.Log("etcd"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = log.WriteString("three\n")
	require.NoError(t, err)
	require.NoError(t, log.Close())
	n, err = read.Read(buffer)
	require.NoError(t, err)
	assert.Equal(t, "three\n", string(buffer[:n]))
	cancel()
	require.NoError(t, <-done)
}

func newCluster(t *testing.T, out *bytes.Buffer) *Cluster {
	t.Helper()
	c, err := Open(t.TempDir(), "/nonexistent", out)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(c.Dir.Logs(), 0o700))
	return c
}
