package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	artifacts "github.com/pipelinectl/pipelinectl/test/cluster"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/cgroup"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/image"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/pki"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/poll"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

const (
	// grace is what this side waits longer than the supervisor, which tells more.
	grace = 30 * time.Second
	// SuperviseCommand is the argument with which this program is the supervisor.
	SuperviseCommand = "supervise"
	// firstFile is the first descriptor after the standard ones.
	firstFile = 3
)

// Up starts the cluster, or waits for one that is starting, or finds it running.
// On an error nothing runs; the logs remain until the next Up or Down. The
// timeout bounds the start of the components.
func (c *Cluster) Up(ctx context.Context, port int, timeout time.Duration) error {
	begin := time.Now()
	cfg, err := c.upRequirements()
	if err != nil {
		return err
	}
	cfg.StartTimeout = timeout
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout+grace, fmt.Errorf("not done within %s", timeout+grace))
	defer cancel()

	id, err := c.running()
	if err == nil {
		err = c.attach(ctx, id, cfg.Binary, begin)
	}
	// The supervisor may also end only now: a crash takes its time.
	if !errors.Is(err, ErrNotRunning) {
		return err
	}
	if err := c.clean(ctx); err != nil {
		return fmt.Errorf("cleaning up after an earlier cluster: %w", err)
	}
	id, err = c.start(cfg, port)
	if err == nil {
		err = c.waitReady(ctx, id, c.progress())
	}
	if err != nil {
		return errors.Join(err, c.abandon(ctx))
	}
	c.sayf("up in %.1f s: Kubernetes %s on https://127.0.0.1:%d", time.Since(begin).Seconds(), artifacts.KubernetesVersion(), id.Port)
	c.sayf("export KUBECONFIG=%s", c.Dir.Kubeconfig())
	return nil
}

func (c *Cluster) upRequirements() (supervisor.Config, error) {
	if err := c.Dir.Make(); err != nil {
		return supervisor.Config{}, err
	}
	return c.requirements()
}

// attach is Up for a cluster whose supervisor runs.
func (c *Cluster) attach(ctx context.Context, id state.Identity, binary string, begin time.Time) error {
	switch err := c.waitReady(ctx, id, func(supervisor.Status) {}); {
	case errors.Is(err, ErrNotRunning):
		return err
	case err != nil:
		return fmt.Errorf("the running cluster is not healthy, end it with `cluster down`: %w", err)
	}
	if id.Binary != binary {
		c.sayf("the running cluster was started with another binary, %s; `cluster down` first to use %s", id.Binary, binary)
	}
	c.sayf("already up since %s, healthy (%.1f s)", id.StartedAt.Format(time.TimeOnly), time.Since(begin).Seconds())
	return nil
}

// start starts the supervisor and returns when it is recorded.
func (c *Cluster) start(cfg supervisor.Config, port int) (state.Identity, error) {
	none := state.Identity{}
	listener, err := listen(port)
	if err != nil {
		return none, err
	}
	defer func() { _ = listener.Close() }()
	port = listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // A TCP listener has no other.
	for _, dir := range []string{c.Dir.Logs(), c.Dir.Config()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return none, fmt.Errorf("making a directory: %w", err)
		}
	}
	if err := c.writeCertificates(port); err != nil {
		return none, err
	}
	cfg.PauseArchive = filepath.Join(c.Dir.Run(), "pause.tar")
	if err := image.Pack(cfg.Binary+artifacts.PauseSuffix, cfg.PauseArchive, supervisor.PauseImage); err != nil {
		return none, fmt.Errorf("the pause program (test/cluster/build.sh builds it): %w", err)
	}
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return none, fmt.Errorf("looking for cgroups: %w", err)
	}
	if err := cgroup.Create(hierarchies, c.Dir.CgroupName()); err != nil {
		return none, fmt.Errorf("making the pods' cgroup: %w", err)
	}
	return c.spawn(cfg, listener, port)
}

// listen prefers the given port, which makes kubeconfigs of successive clusters
// alike, to any other.
func listen(port int) (*net.TCPListener, error) {
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	listener, err := net.ListenTCP("tcp4", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		address.Port = 0
		listener, err = net.ListenTCP("tcp4", address)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a port for the API server: %w", err)
	}
	return listener, nil
}

// spawn starts this program again in new namespaces. The child waits for its
// configuration, and gets it only after its identity is on disk: if this process
// is killed, either nothing was started or `down` finds it.
func (c *Cluster) spawn(cfg supervisor.Config, listener *net.TCPListener, port int) (state.Identity, error) {
	none := state.Identity{}
	self, err := os.Executable()
	if err != nil {
		return none, fmt.Errorf("finding this program: %w", err)
	}
	socket, err := listener.File()
	if err != nil {
		return none, fmt.Errorf("passing the API server's port on: %w", err)
	}
	defer func() { _ = socket.Close() }()
	read, write, err := os.Pipe()
	if err != nil {
		return none, fmt.Errorf("making a pipe: %w", err)
	}
	defer func() { _ = errors.Join(read.Close(), write.Close()) }()
	log, err := os.OpenFile(c.Dir.Log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return none, fmt.Errorf("opening the supervisor's log: %w", err)
	}
	defer func() { _ = log.Close() }()

	cmd := exec.Command(self, SuperviseCommand) //nolint:gosec,noctx // It outlives this process.
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.ExtraFiles = []*os.File{read, socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return none, fmt.Errorf("starting the supervisor: %w", err)
	}
	// A child that ends while this process still runs must not stay as a zombie.
	go func() { _ = cmd.Wait() }()
	id, err := state.IdentityOf(cmd.Process.Pid)
	if err != nil {
		return none, errors.Join(err, cmd.Process.Kill())
	}
	id.Port, id.Binary, id.Ctr, id.Snapshotter = port, cfg.Binary, cfg.Ctr, cfg.Snapshotter
	if err := c.Dir.Record(id); err != nil {
		return none, errors.Join(err, cmd.Process.Kill())
	}
	if err := json.NewEncoder(write).Encode(cfg); err != nil {
		return none, fmt.Errorf("configuring the supervisor: %w\n%s", err, c.tail("supervisor"))
	}
	return id, nil
}

// Inherited returns what spawn passes to the supervisor.
func Inherited() (supervisor.Config, net.Listener, error) {
	var cfg supervisor.Config
	for fd := firstFile; fd < firstFile+2; fd++ {
		syscall.CloseOnExec(fd)
	}
	pipe := os.NewFile(firstFile, "configuration")
	socket := os.NewFile(firstFile+1, "listener")
	if pipe == nil || socket == nil {
		return cfg, nil, errors.New("the supervisor is started by the command up")
	}
	defer func() { _ = errors.Join(pipe.Close(), socket.Close()) }()
	if err := json.NewDecoder(pipe).Decode(&cfg); err != nil {
		return cfg, nil, fmt.Errorf("reading the configuration from the command up: %w", err)
	}
	listener, err := net.FileListener(socket)
	if err != nil {
		return cfg, nil, fmt.Errorf("taking over the API server's port: %w", err)
	}
	return cfg, listener, nil
}

func (c *Cluster) writeCertificates(port int) error {
	ca, err := pki.NewAuthority(c.Dir.PKI(), "ca")
	if err != nil {
		return err
	}
	// Nobody speaks for others here, but without this CA the controller manager and
	// the scheduler complain all the time.
	if _, err := pki.NewAuthority(c.Dir.PKI(), "front-proxy-ca"); err != nil {
		return err
	}
	const loopback = "127.0.0.1"
	for _, subject := range []pki.Subject{
		{File: "apiserver", CommonName: "kube-apiserver", Hosts: []string{
			loopback, "localhost", supervisor.NodeIP, supervisor.ServiceIP,
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}},
		{File: "admin", CommonName: "admin", Organization: []string{"system:masters"}},
		{File: "controller-manager", CommonName: "system:kube-controller-manager", Hosts: []string{loopback}},
		{File: "scheduler", CommonName: "system:kube-scheduler", Hosts: []string{loopback}},
		{
			File: "kubelet", CommonName: "system:node:" + supervisor.NodeName, Organization: []string{"system:nodes"},
			Hosts: []string{supervisor.NodeIP, supervisor.NodeName},
		},
		{File: "apiserver-kubelet", CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}},
	} {
		if err := ca.Issue(subject); err != nil {
			return err
		}
	}
	if err := ca.SigningKey("sa"); err != nil {
		return err
	}
	for _, user := range []string{"admin", "controller-manager", "scheduler", "kubelet"} {
		path := filepath.Join(c.Dir.Config(), user+".kubeconfig")
		if err := writeKubeconfig(ca, path, "https://"+loopback+":443", user); err != nil {
			return err
		}
	}
	return writeKubeconfig(ca, c.Dir.Kubeconfig(), "https://"+net.JoinHostPort(loopback, strconv.Itoa(port)), "admin")
}

func writeKubeconfig(ca *pki.Authority, path, server, user string) error {
	data, err := ca.Kubeconfig(server, user)
	if err != nil {
		return err
	}
	return state.WriteFile(path, data, 0o600)
}

// waitReady waits until the cluster is ready and each of its components runs. It
// calls show with each status on the way.
func (c *Cluster) waitReady(ctx context.Context, id state.Identity, show func(supervisor.Status)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := newClient(id.PID)
	var failure error
	err := poll.Until(ctx, 25*time.Millisecond, "the cluster to be ready", func(ctx context.Context) error {
		status, err := client.status(ctx)
		show(status)
		switch {
		case err != nil && id.Alive():
			return err
		case err != nil:
			failure = fmt.Errorf("%w: the supervisor ended\n%s", ErrNotRunning, c.tail("supervisor"))
		case status.Phase == supervisor.Starting:
			return errors.New("it is starting")
		default:
			failure = c.failure(status)
		}
		if failure != nil {
			cancel()
		}
		return failure
	})
	if failure != nil {
		return failure
	}
	return err
}

// failure returns why a cluster is not healthy with the end of the logs that may
// tell more, or nil.
func (c *Cluster) failure(status supervisor.Status) error {
	reason := problem(status)
	if reason == nil {
		return nil
	}
	text := []string{reason.Error()}
	for _, component := range status.Components {
		if component.Died() || strings.Contains(status.Error, component.Name) {
			text = append(text, c.tail(component.Name))
		}
	}
	return errors.New(strings.Join(text, "\n"))
}

// abandon ends a cluster that did not come up, and leaves its logs.
func (c *Cluster) abandon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	if err := c.end(ctx); err != nil {
		return err
	}
	c.sayf("the logs are in %s", c.Dir.Logs())
	return nil
}

// progress returns a function that prints the steps that are new.
func (c *Cluster) progress() func(supervisor.Status) {
	shown := 0
	return func(status supervisor.Status) {
		for ; shown < len(status.Steps); shown++ {
			step := status.Steps[shown]
			c.sayf("%6.1f s  %s", step.After.Seconds(), step.Name)
		}
	}
}
