package supervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
)

func testConfig(t *testing.T) *Config {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir.Logs(), 0o700))
	return &Config{
		StateDir: dir.Root(), Binary: "/opt/allinone", Containerd: "/usr/bin/containerd", Runc: `/opt/a "b"/runc`,
		CNIBin: "/usr/lib/cni", Snapshotter: "overlayfs", dir: dir,
	}
}

func TestContainerdConfig(t *testing.T) {
	cases := []struct {
		reason string
		change func(*Config)
		want   string
	}{
		{reason: "a path is quoted", want: `BinaryName = "/opt/a \"b\"/runc"`},
		{reason: "a machine with all rights", want: "restrict_oom_score_adj = false"},
		{reason: "a machine without", change: func(c *Config) { c.RestrictOOMScore = true }, want: "restrict_oom_score_adj = true"},
		{reason: "the snapshotter", change: func(c *Config) { c.Snapshotter = "native" }, want: `snapshotter = "native"`},
		{reason: "our own pause image", want: `sandbox_image = "` + PauseImage + `"`},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			cfg := testConfig(t)
			if c.change != nil {
				c.change(cfg)
			}
			data, err := containerdConfig(cfg)
			require.NoError(t, err)
			assert.Contains(t, string(data), c.want)
		})
	}
}

func TestKubeletConfig(t *testing.T) {
	cfg := testConfig(t)
	data, err := kubeletConfig(cfg)
	require.NoError(t, err)
	var read kubelet.KubeletConfiguration
	require.NoError(t, yaml.UnmarshalStrict(data, &read))
	assert.Equal(t, "/"+cfg.dir.CgroupName(), read.CgroupRoot, "never the cgroups of another kubelet")
	require.NotNil(t, read.FailCgroupV1)
	assert.False(t, *read.FailCgroupV1)
	require.NotNil(t, read.ImageGCHighThresholdPercent)
	assert.EqualValues(t, 100, *read.ImageGCHighThresholdPercent, "100 turns image garbage collection off")
}

func TestComponentsUseTheirOwnFiles(t *testing.T) {
	cfg := testConfig(t)
	commands := components(cfg)
	require.Len(t, commands, len(Components()))
	for _, name := range Components() {
		command, ok := commands[name]
		require.True(t, ok, name)
		for _, arg := range command.args {
			_, path, _ := strings.Cut(arg, "=/")
			if path == "" || strings.HasPrefix(path, "var/lib/") {
				continue // The latter is mounted over.
			}
			assert.True(t, within("/"+path, cfg.dir.Root()), "%s: %s is outside of the state directory", name, arg)
		}
	}
}

func TestWithin(t *testing.T) {
	cases := []struct {
		reason, path, above string
		want                bool
	}{
		{"below", "/var/lib/x", "/var/lib", true},
		{"the same", "/var/lib", "/var/lib", true},
		{"only the same beginning", "/var/library", "/var/lib", false},
		{"above", "/var", "/var/lib", false},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) { assert.Equal(t, c.want, within(c.path, c.above)) })
	}
}

func TestNodeUsable(t *testing.T) {
	ready := func(status corev1.ConditionStatus, taints ...string) *corev1.Node {
		node := &corev1.Node{}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure}, {Type: corev1.NodeReady, Status: status}}
		for _, taint := range taints {
			node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: taint})
		}
		return node
	}
	cases := []struct {
		reason string
		node   *corev1.Node
		usable bool
	}{
		{reason: "ready", node: ready(corev1.ConditionTrue), usable: true},
		{reason: "a taint of someone else", node: ready(corev1.ConditionTrue, "someone/else"), usable: true},
		{reason: "just registered", node: &corev1.Node{}},
		{reason: "not ready", node: ready(corev1.ConditionFalse)},
		{reason: "lost", node: ready(corev1.ConditionUnknown)},
		{reason: "ready, but no pod would come", node: ready(corev1.ConditionTrue, corev1.TaintNodeNotReady)},
		{reason: "ready again, but the taint is still there", node: ready(corev1.ConditionTrue, corev1.TaintNodeUnreachable)},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			err := nodeUsable(c.node)
			assert.Equal(t, c.usable, err == nil, "error: %v", err)
		})
	}
}

// The reaper waits for every child of this process, so the tests of this package
// start none in another way.
func TestChildren(t *testing.T) {
	cfg := testConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	all := newChildren(cfg.dir, []string{"PATH=/usr/bin:/bin", "GREETING=hello"}, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); all.reap(ctx) }()
	shell := func(name, script string) command {
		return command{name: name, path: "/bin/sh", args: []string{"-c", script}}
	}

	require.NoError(t, all.run(ctx, shell("greet", "echo $GREETING")))
	log, err := os.ReadFile(cfg.dir.Log("greet"))
	require.NoError(t, err)
	assert.Equal(t, "hello\n", string(log))
	require.ErrorContains(t, all.run(ctx, shell("fail", "exit 3")), "exit status 3")
	_, err = all.start(command{name: "none", path: "/nonexistent"})
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.Empty(t, all.list(), "commands that end are forgotten")

	died, err := all.start(shell("died", "kill -9 $$"))
	require.NoError(t, err)
	<-died.done
	stopped, err := all.start(shell("stopped", "sleep 600"))
	require.NoError(t, err)
	assert.Same(t, stopped, all.kill("stopped"))
	<-stopped.done
	assert.Nil(t, all.kill("stopped"), "it is gone")
	_, err = all.start(shell("runs", "sleep 600"))
	require.NoError(t, err)
	list := all.list()
	require.Len(t, list, 3)
	assert.True(t, list[0].Died())
	assert.Equal(t, "killed by signal killed", list[0].Exit)
	assert.True(t, list[1].Running)
	assert.False(t, list[2].Died(), "it was told to end")

	short, stop := context.WithTimeoutCause(ctx, 50*time.Millisecond, errors.New("enough"))
	defer stop()
	require.ErrorContains(t, all.run(short, shell("slow", "exec sleep 600")), "enough")
	gone := all.kill("runs")
	<-gone.done
	cancel()
	<-done
}

func TestForward(t *testing.T) {
	var listen net.ListenConfig
	target, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		for {
			conn, err := target.Accept()
			if err != nil {
				return
			}
			// Answers only when the question has ended, so half of the connection
			// must be closed on its own.
			question, _ := io.ReadAll(conn)
			_, _ = conn.Write([]byte("you said " + string(question)))
			_ = conn.Close()
		}
	}()
	front, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- forward(ctx, front, target.Addr().String(), slog.New(slog.DiscardHandler)) }()

	ask := func() string {
		conn := dial(t, front)
		defer func() { _ = conn.Close() }()
		_, err = conn.Write([]byte("hello"))
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		return string(answer)
	}
	assert.Equal(t, "you said hello", ask())
	open := dial(t, front) // Stays open: the end must not wait for it.
	_, err = open.Write([]byte("x"))
	require.NoError(t, err)

	require.NoError(t, target.Close())
	answer, _ := io.ReadAll(dial(t, front))
	assert.Empty(t, answer, "without a target the connection just ends")
	cancel()
	require.NoError(t, <-done)
	_, err = io.ReadAll(open)
	assert.True(t, err == nil || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "reset"), "error: %v", err)
}

func dial(t *testing.T, to net.Listener) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", to.Addr().String()) //nolint:noctx // A test.
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	tcp, ok := conn.(*net.TCPConn)
	require.True(t, ok)
	return tcp
}

func TestWaitEndsWithItsComponent(t *testing.T) {
	cfg := testConfig(t)
	s := &supervisor{cfg: cfg, children: newChildren(cfg.dir, nil, slog.New(slog.DiscardHandler))}
	dead := &child{Component: Component{Name: "kubelet", Exit: "exit status 1"}, done: make(chan struct{})}
	close(dead.done)
	s.children.all = append(s.children.all, dead)
	errNot := errors.New("not yet")
	err := s.wait(t.Context(), "the node", []string{"etcd", "kubelet"}, func(context.Context) error { return errNot })
	require.ErrorContains(t, err, "kubelet ended: exit status 1")
	require.ErrorIs(t, err, errNot)
	require.NoError(t, s.wait(t.Context(), "the node", []string{"kubelet"}, func(context.Context) error { return nil }))
}

func TestExisting(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o700))
	require.NoError(t, os.Symlink("run", filepath.Join(dir, "link")))
	assert.Equal(t, []string{filepath.Join(dir, "run")}, existing(filepath.Join(dir, "link"), filepath.Join(dir, "run"), filepath.Join(dir, "none")))
}
