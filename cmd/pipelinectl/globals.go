package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // Credential plugins of the user's kubeconfig.
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pipelinectl/pipelinectl/internal/version"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// streams are where a command writes: data to out, all else to err.
type streams struct{ out, err io.Writer }

// globals are the flags of every command.
type globals struct {
	Kubeconfig string         `help:"Path of the kubeconfig. Default: KUBECONFIG, else ~/.kube/config, else the pod's own." placeholder:"FILE" type:"path"`
	Context    string         `help:"Context of the kubeconfig." placeholder:"NAME"`
	Namespace  string         `short:"n" help:"Namespace in which pipelines run. Default: K8S_NAMESPACE, else the configuration's, else openmetadata-pipelines." placeholder:"NAME"`
	Config     string         `env:"PIPELINECTL_CONFIG" help:"YAML file with the parameters of the pipeline service client." placeholder:"FILE" type:"path"`
	Set        []string       `help:"A parameter of the pipeline service client; it wins over its variable K8S_… and the file. Repeat it for more." placeholder:"NAME=VALUE" sep:"none"`
	URL        string         `name:"openmetadata-url" env:"OPENMETADATA_URL" help:"OpenMetadata's address as seen from here, with /api. Default: metadataApiEndpoint of the configuration." placeholder:"URL"`
	Token      string         `name:"openmetadata-token" env:"OPENMETADATA_TOKEN" help:"Token for OpenMetadata; better given by the variable, so that it is not in the process list." placeholder:"TOKEN"`
	CA         string         `name:"openmetadata-ca" env:"OPENMETADATA_CA" help:"PEM file with OpenMetadata's certificate authority. Default: sslConfig of the configuration, where verifySSL is validate." placeholder:"FILE" type:"path"`
	Headers    []string       `name:"openmetadata-header" env:"OPENMETADATA_HEADERS" sep:"none" help:"Header for each request to OpenMetadata from here, as a proxy in front of it may need. Repeat it for more; one a line in the variable, which keeps them out of the process list. Default: extraHeaders of the configuration." placeholder:"NAME:VALUE"`
	Verbose    bool           `short:"v" help:"Also print to standard error each request to Kubernetes and OpenMetadata, without headers and bodies, and what libraries log."`
	Timeout    *time.Duration `help:"Bound on the whole command, 0 for none. Default: 3m, none where a run is waited for or followed." placeholder:"DURATION"`

	// stderr takes warnings; nil for none.
	stderr      io.Writer
	warnedLocal bool
}

// defaultTimeout bounds a command that does not wait for a run.
const defaultTimeout = 3 * time.Minute

// connect makes the client of a command, and a context that ends in time.
func (g *globals) connect(ctx context.Context) (*connection, context.Context, context.CancelFunc, error) {
	return g.connectWith(ctx, need{server: true})
}

// connectCluster is connect for a command that does not speak to OpenMetadata.
func (g *globals) connectCluster(ctx context.Context) (*connection, context.Context, context.CancelFunc, error) {
	return g.connectWith(ctx, need{})
}

// need is what a command takes beside the cluster.
type need struct {
	// server: it speaks to OpenMetadata.
	server bool
	// endless: it ends in time only where the user says so.
	endless bool
	// makes: it makes objects by the parameters, so that the warnings about them are of interest.
	makes bool
}

func (g *globals) connectWith(ctx context.Context, need need) (*connection, context.Context, context.CancelFunc, error) {
	if g.Timeout != nil && *g.Timeout < 0 {
		return nil, nil, nil, usageError{errTimeout}
	}
	loaded, err := g.load()
	if err != nil {
		return nil, nil, nil, err
	}
	config := loaded.Config
	if !config.Enabled {
		return nil, nil, nil, errDisabled
	}
	om, err := g.server(&config, need)
	if err != nil {
		return nil, nil, nil, err
	}
	kube, restConfig, err := g.kube(&config)
	if err != nil {
		return nil, nil, nil, err
	}
	client, err := k8sclient.New(kube, om, config)
	if err != nil {
		return nil, nil, nil, err
	}
	if need.makes {
		g.warn(loaded.Warnings...)
	}
	c := &connection{pipelines: client, om: om, config: config, namespace: config.Namespace, kube: kube, rest: restConfig}
	timeout := defaultTimeout
	if g.Timeout != nil {
		timeout = *g.Timeout
	}
	if timeout == 0 || need.endless && g.Timeout == nil {
		ctx, cancel := context.WithCancel(ctx)
		return c, ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &overError{fmt.Sprintf("the command's --timeout of %s is over", timeout), context.DeadlineExceeded})
	return c, ctx, cancel, nil
}

var errTimeout = errors.New("--timeout is less than 0; 0 is no bound")

// warn writes what the user should know beside the result.
func (g *globals) warn(warnings ...string) {
	if g.stderr != nil {
		streams{err: g.stderr}.warn(warnings...)
	}
}

// server is the client of OpenMetadata; nil for a command that does not need it, where it is not known how to reach it.
func (g *globals) server(config *k8sclient.Config, need need) (*omapi.Client, error) {
	url := cmp.Or(g.URL, config.MetadataAPIEndpoint)
	if url == "" && !need.server {
		return nil, nil //nolint:nilnil // No client is none of the errors.
	}
	if url == "" {
		return nil, errors.New("OpenMetadata's address is not known: give --openmetadata-url, OPENMETADATA_URL, or metadataApiEndpoint in the configuration")
	}
	om := workflow.Server(connectionFor(config, url, g.Token))
	om.UserAgent, om.Wrap = "pipelinectl/"+version.Short(), logRequests("OpenMetadata")
	if err := g.addHeaders(&om); err != nil {
		return nil, err
	}
	if g.CA != "" {
		om.VerifySSL, om.CACertificate = omapi.VerifyValidate, g.CA
	}
	client, err := omapi.New(om)
	switch {
	case errors.Is(err, fs.ErrNotExist) && g.CA == "" && !need.server:
		return nil, nil //nolint:nilnil // The configuration has the path in the pods.
	case errors.Is(err, fs.ErrNotExist) && g.CA == "":
		return nil, fmt.Errorf("%w; where the file lies elsewhere than in the pods, give --openmetadata-ca", err)
	}
	return client, err
}

// authNone is the provider of a server that wants no token.
const authNone = "no-auth"

// serverConnection is what pods get to reach OpenMetadata by, where their pipeline brings nothing of its own.
func (g *globals) serverConnection(config *k8sclient.Config, token string) map[string]any {
	endpoint := cmp.Or(config.MetadataAPIEndpoint, g.URL)
	if isLocal(endpoint) && !g.warnedLocal {
		g.warnedLocal = true
		g.warn(endpoint + " is this machine, and to a pod the pod itself; set metadataApiEndpoint to the address that pods have for OpenMetadata")
	}
	return connectionFor(config, endpoint, token)
}

// connectionFor is a connection by the parameters, as OpenMetadata's schema openMetadataConnection has it.
func connectionFor(config *k8sclient.Config, endpoint, token string) map[string]any {
	out := map[string]any{"type": "OpenMetadata", "hostPort": endpoint, "authProvider": "openmetadata"}
	if config.AuthProvider == authNone {
		out["authProvider"] = authNone
	} else {
		// Whatever people log in with, a bot's token is OpenMetadata's own.
		out["securityConfig"] = map[string]any{"jwtToken": token}
	}
	if config.VerifySSL == omapi.VerifyIgnore || config.VerifySSL == omapi.VerifyValidate {
		out["verifySSL"] = string(config.VerifySSL)
	}
	if config.VerifySSL == omapi.VerifyValidate {
		out["sslConfig"] = map[string]any{"caCertificate": config.CACertificate}
	}
	if len(config.ExtraHeaders) > 0 {
		extra := make(map[string]any, len(config.ExtraHeaders))
		for name, value := range config.ExtraHeaders {
			extra[name] = value
		}
		out["extraHeaders"] = extra
	}
	return out
}

// addHeaders takes the headers of the flag in place of the parameter's.
func (g *globals) addHeaders(om *omapi.Config) error {
	own := map[string]string{}
	for header := range strings.SplitSeq(strings.Join(g.Headers, "\n"), "\n") {
		name, value, found := strings.Cut(header, ":")
		if name = strings.TrimSpace(name); name == "" && strings.TrimSpace(value) == "" {
			continue // An empty line, or an empty variable.
		}
		if !found {
			return usageError{errors.New("--openmetadata-header has no colon between name and value; give NAME:VALUE")}
		}
		own[name] = strings.TrimSpace(value)
	}
	if len(own) > 0 {
		om.Headers = own
	}
	if err := omapi.CheckHeaders(om.Headers); err != nil {
		return fmt.Errorf("the headers for OpenMetadata: %w", err)
	}
	return nil
}

func isLocal(address string) bool {
	parsed, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(parsed.Hostname())
	return parsed.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// noCluster names the files that were looked for: those of KUBECONFIG, or kubectl's own.
func noCluster() error {
	files := clientcmd.NewDefaultClientConfigLoadingRules().GetLoadingPrecedence()
	return fmt.Errorf("no Kubernetes cluster is configured: there is no kubeconfig in %s, and this is no pod; set KUBECONFIG or give --kubeconfig", strings.Join(files, ", "))
}

var errDisabled = errors.New("the pipeline service client is disabled: enabled is false in the configuration")

// load reads the parameters from all their sources.
func (g *globals) load() (*k8sclient.Loaded, error) {
	flags := g.Set
	if g.Namespace != "" {
		flags = append(slices.Clone(flags), "namespace="+g.Namespace)
	}
	loaded, err := k8sclient.LoadConfig(k8sclient.Sources{Path: g.Config, Environ: os.Environ(), Flags: flags})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; it is named by --config or PIPELINECTL_CONFIG", err)
	}
	return loaded, err
}

// connection is what a command works with.
type connection struct {
	pipelines *k8sclient.Client
	om        *omapi.Client
	config    k8sclient.Config
	namespace string
	kube      kubernetes.Interface
	rest      *rest.Config
}

// reader is for diagnostics.
func (c *connection) reader() (diagnostics.Reader, error) {
	return diagnostics.NewReader(c.rest, c.namespace)
}

// kube makes the client of Kubernetes: by the flags, else by the parameters, else as kubectl does.
func (g *globals) kube(parameters *k8sclient.Config) (kubernetes.Interface, *rest.Config, error) {
	config, err := g.restConfig(parameters)
	if clientcmd.IsEmptyConfig(err) {
		return nil, nil, noCluster()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("no Kubernetes cluster is configured: %w; set KUBECONFIG or give --kubeconfig", err)
	}
	config.UserAgent = "pipelinectl/" + version.Short()
	// As kubectl: the API server's own priority and fairness says who has to wait.
	config.QPS = -1
	// A server writes it in a fraction of the time.
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.Wrap(logRequests("Kubernetes"))
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("the Kubernetes client cannot be configured: %w", err)
	}
	return kube, config, nil
}

func (g *globals) restConfig(parameters *k8sclient.Config) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cmp.Or(g.Kubeconfig, parameters.KubeconfigPath)
	overrides := &clientcmd.ConfigOverrides{CurrentContext: g.Context, ClusterInfo: clientcmdapi.Cluster{}}
	if g.Kubeconfig == "" && parameters.KubeConfigContent != "" {
		content, err := clientcmd.Load([]byte(parameters.KubeConfigContent))
		if err != nil {
			return nil, fmt.Errorf("kubeConfigContent is no kubeconfig: %w", err)
		}
		return clientcmd.NewNonInteractiveClientConfig(*content, g.Context, overrides, nil).ClientConfig()
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
}
