package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/poll"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
)

const pollInterval = 50 * time.Millisecond

type supervisor struct {
	cfg      *Config
	log      *slog.Logger
	children *children
	commands map[string]command
	client   kubernetes.Interface
	ca       *x509.CertPool
	begin    time.Time

	nodeMu sync.Mutex // Held while the node is stopped or started.

	mu    sync.Mutex
	phase Phase
	err   error
	steps []Step
}

// Run is the life of the first process of new namespaces. It returns when ctx
// ends, or with the error that kept it from answering commands; the kernel then
// ends all that it has started. The API server is reached through listener.
func Run(ctx context.Context, cfg Config, listener net.Listener, log *slog.Logger) error {
	if os.Getpid() != 1 {
		return errors.New("the supervisor is started by the command up")
	}
	s := &supervisor{cfg: &cfg, log: log, begin: time.Now(), phase: Starting}
	if err := s.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.children.reap(ctx); return nil })
	group.Go(func() error { return s.serveControl(ctx) })
	group.Go(func() error {
		return forward(ctx, listener, net.JoinHostPort("127.0.0.1", apiPort), log)
	})
	group.Go(func() error {
		s.finish(s.startAll(ctx))
		if ctx.Err() == nil && s.status().Phase == Ready {
			keepFakeNode(ctx, s.client, log)
		}
		return nil
	})
	return group.Wait()
}

// prepare sets up the namespaces and the files.
func (s *supervisor) prepare() error {
	cfg := s.cfg
	dir, err := state.Open(cfg.StateDir)
	if err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	cfg.dir = dir
	if err := unix.Sethostname([]byte(NodeName)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	unix.Umask(0o022) // Whatever the caller's is: pods' users are to reach their files.
	if err := mountAll(cfg); err != nil {
		return err
	}
	if err := setUpNetwork(); err != nil {
		return err
	}
	if err := writeConfigs(cfg); err != nil {
		return err
	}
	tmp := filepath.Join(dir.Run(), "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return fmt.Errorf("making a directory for temporary files: %w", err)
	}
	// Nothing of the caller's environment: a proxy's address, for one, would lead
	// the components out of their namespace.
	s.children = newChildren(dir, []string{
		"PATH=" + strings.Join(cfg.Path, ":"), "HOME=" + tmp, "TMPDIR=" + tmp,
	}, s.log)
	s.commands = components(cfg)
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir.Config(), "admin.kubeconfig"))
	if err != nil {
		return fmt.Errorf("reading the administrator's kubeconfig: %w", err)
	}
	config.QPS = -1
	config.Timeout = 10 * time.Second
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	pem, err := os.ReadFile(filepath.Join(dir.PKI(), "ca.crt"))
	if err != nil {
		return fmt.Errorf("reading the CA: %w", err)
	}
	s.ca = x509.NewCertPool()
	s.ca.AppendCertsFromPEM(pem)
	s.step("namespaces")
	return nil
}

// startAll starts all components, each as soon as what it needs is there.
func (s *supervisor) startAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.StartTimeout, fmt.Errorf("not done within %s", s.cfg.StartTimeout))
	defer cancel()
	if err := s.startBase(ctx); err != nil {
		return err
	}
	return s.startRest(ctx)
}

func (s *supervisor) startBase(ctx context.Context) error {
	for _, name := range []string{etcd, apiServer, containerd} {
		if err := s.startComponent(name); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startContainerd(ctx) })
	group.Go(func() error { return s.waitAPI(ctx) })
	return group.Wait()
}

// startRest starts what needs the API server. Not before: the controller manager
// ends when its roles are missing, and the kubelet backs off when it cannot
// register.
func (s *supervisor) startRest(ctx context.Context) error {
	for _, name := range []string{controllerManager, scheduler, kubeletName} {
		if err := s.startComponent(name); err != nil {
			return err
		}
	}
	if err := renewFakeNode(ctx, s.client); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.waitServiceAccount(ctx) })
	group.Go(func() error { return s.waitHealthz(ctx, controllerManager, "10257") })
	group.Go(func() error { return s.waitHealthz(ctx, scheduler, "10259") })
	group.Go(func() error {
		if err := s.waitNode(ctx); err != nil {
			return err
		}
		s.step("node ready")
		return nil
	})
	return group.Wait()
}

func (s *supervisor) startComponent(name string) error {
	_, err := s.children.start(s.commands[name])
	return err
}

func (s *supervisor) isRunning(name string) bool {
	for _, one := range s.children.list() {
		if one.Name == name {
			return one.Running
		}
	}
	return false
}

func (s *supervisor) startContainerd(ctx context.Context) error {
	if err := s.waitContainerd(ctx); err != nil {
		return err
	}
	err := s.children.run(ctx, command{name: "pause-image", path: s.cfg.Ctr, args: []string{
		"--address", ContainerdSocket, "--namespace", "k8s.io",
		"images", "import", "--snapshotter", s.cfg.Snapshotter, s.cfg.PauseArchive,
	}})
	if err != nil {
		return fmt.Errorf("loading the pause image: %w", err)
	}
	s.step("containerd and the pause image")
	return nil
}

func (s *supervisor) waitContainerd(ctx context.Context) error {
	return s.wait(ctx, "containerd to listen", []string{containerd}, func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", ContainerdSocket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (s *supervisor) waitAPI(ctx context.Context) error {
	err := s.wait(ctx, apiServer+" to be ready", []string{apiServer, etcd}, func(ctx context.Context) error {
		_, err := s.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
	if err == nil {
		s.step("API server ready")
	}
	return err
}

func (s *supervisor) waitServiceAccount(ctx context.Context) error {
	err := s.wait(ctx, controllerManager+" to make the default ServiceAccount", []string{controllerManager, apiServer}, func(ctx context.Context) error {
		_, err := s.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err == nil {
		s.step("default ServiceAccount")
	}
	return err
}

func (s *supervisor) waitHealthz(ctx context.Context, component, port string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.ca, MinVersion: tls.VersionTLS13}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	return s.wait(ctx, component+" to be healthy", []string{component}, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:"+port+"/healthz", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(response.Body, 1024))
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %s", response.StatusCode, body)
		}
		return nil
	})
}

// wait waits for check to pass, but not after one of the components on which it
// depends has ended.
func (s *supervisor) wait(ctx context.Context, what string, needs []string, check func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return poll.Until(ctx, pollInterval, what, func(ctx context.Context) error {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, name := range needs {
			if one := s.children.get(name); one != nil {
				select {
				case <-one.done:
					cancel(fmt.Errorf("%s ended: %s", name, one.Exit))
				default:
				}
			}
		}
		return err
	})
}

func (s *supervisor) step(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, Step{Name: name, After: time.Since(s.begin)})
}

func (s *supervisor) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.err = Ready, err
	if err != nil {
		s.phase = Failed
		s.log.Error("starting the cluster", "error", err)
	}
}

func (s *supervisor) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{Phase: s.phase, Steps: s.steps, Components: s.children.list()}
	if s.err != nil {
		status.Error = s.err.Error()
	}
	return status
}
