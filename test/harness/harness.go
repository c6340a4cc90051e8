// Package harness gives the demo and the end-to-end tests what they stand on: a cluster, an OpenMetadata in it, and the
// product's own command.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ownLabel marks the namespaces that this package made.
const ownLabel = "pipelinectl.test/own"

const (
	pollInterval  = 200 * time.Millisecond
	loadTimeout   = 10 * time.Minute
	deleteTimeout = 5 * time.Minute
)

// Cluster is a Kubernetes cluster to try things on.
type Cluster struct {
	// Kubeconfig is the path of a kubeconfig; empty for kubectl's defaults.
	Kubeconfig string
	// Local says that it is this project's own.
	Local  bool
	Config *rest.Config
	Kube   kubernetes.Interface
	// Root is the repository's folder.
	Root string
}

// NewCluster finds the cluster that CLUSTER names: local, which must be up, or current.
func NewCluster(ctx context.Context) (*Cluster, error) {
	root, err := repositoryRoot()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Root: root}
	switch which := os.Getenv("CLUSTER"); which {
	case "current":
	case "", "local":
		c.Local = true
		if c.Kubeconfig, err = localKubeconfig(ctx, root); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("CLUSTER is %q: set it to local, the cluster of make cluster-up, or current, the one that kubectl uses now", which)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	if c.Config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig(); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	c.Config.QPS, c.Config.Burst = 100, 200
	if c.Kube, err = kubernetes.NewForConfig(c.Config); err != nil {
		return nil, fmt.Errorf("configure the Kubernetes client: %w", err)
	}
	return c, nil
}

func localKubeconfig(ctx context.Context, root string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(root, "bin", "cluster"), "kubeconfig").Output() //nolint:gosec // Our own command.
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("the local cluster cannot be used, start it with make cluster-up: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// repositoryRoot is the nearest folder above the working directory with the product's commands.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "pipelinectl")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("the working directory is not in the repository: change to it")
}

// Load brings images from the archives of test/images/build.sh into the cluster, each within 10 minutes.
func (c *Cluster) Load(ctx context.Context, names ...string) error {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("find the images: %w", err)
		}
		cache = filepath.Join(home, ".cache")
	}
	load, err := c.loadCommand()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := loadArchive(ctx, load, filepath.Join(cache, "pipelinectl", "images", name+".tar")); err != nil {
			return fmt.Errorf("load image %s (make images IMAGES=%s builds it): %w", name, name, err)
		}
	}
	return nil
}

func loadArchive(ctx context.Context, load []string, archive string) error {
	if _, err := os.Stat(archive); err != nil { //nolint:gosec // The cache is the user's own.
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, loadTimeout, fmt.Errorf("not done within %s", loadTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, load[0], append(slices.Clone(load[1:]), archive)...) //nolint:gosec // The user's own LOAD.
	cmd.WaitDelay = endPatience
	out, err := cmd.CombinedOutput()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(load, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// loadCommand is what brings an archive's image into the cluster; LOAD says it where the context's name does not.
func (c *Cluster) loadCommand() ([]string, error) {
	if c.Local {
		return []string{filepath.Join(c.Root, "bin", "cluster"), "load"}, nil
	}
	if own := strings.Fields(os.Getenv("LOAD")); len(own) > 0 {
		return own, nil
	}
	config, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig for its context's name: %w", err)
	}
	name := config.CurrentContext
	switch {
	case strings.HasPrefix(name, "kind-"):
		return []string{"kind", "load", "image-archive", "--name", strings.TrimPrefix(name, "kind-")}, nil
	case strings.HasPrefix(name, "k3d-"):
		return []string{"k3d", "image", "import", "--cluster", strings.TrimPrefix(name, "k3d-")}, nil
	case name == "minikube":
		return []string{"minikube", "image", "load"}, nil
	default:
		return nil, fmt.Errorf("how do images come into the cluster of context %q? Set LOAD to a command that takes a docker archive, such as LOAD='kind load image-archive'", name)
	}
}

// Namespace makes an empty namespace with the roles of ingestion pods. One that is there is deleted first where this package
// made it; where it did not, confirm is asked, and it is used as it is.
func (c *Cluster) Namespace(ctx context.Context, name string, confirm func(question string) bool) error {
	exists, own, err := c.namespace(ctx, name)
	switch {
	case err != nil:
		return err
	case exists && own:
		if err := c.DeleteNamespace(ctx, name); err != nil {
			return err
		}
		exists = false
	case exists && !confirm(fmt.Sprintf("Namespace %s was made by someone else. Use it?", name)):
		return fmt.Errorf("namespace %s was made by someone else, and is left alone; choose another", name)
	}
	if !exists {
		_, err = c.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{ownLabel: "true"}},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create namespace %s: %w", name, err)
		}
	}
	return c.applyFile(ctx, name, filepath.Join(c.Root, "deploy", "ingestion.yaml"), nil)
}

// Deployment applies deploy/serve.yaml to a namespace, with the Secret that it reads, and waits until its pod runs. The image
// is the one that the tests build, as a user's kustomization.yaml would name theirs.
func (c *Cluster) Deployment(ctx context.Context, namespace string, s *StandIn) error {
	const image = "pipelinectl.local/pipelinectl:dev"
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pipelinectl"},
		StringData: map[string]string{"OPENMETADATA_URL": s.PodURL, "OPENMETADATA_TOKEN": s.Token},
	}
	if _, err := c.Kube.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the Secret of pipelinectl serve in namespace %s: %w", namespace, err)
	}
	err := c.applyFile(ctx, namespace, filepath.Join(c.Root, "deploy", "serve.yaml"), strings.NewReplacer("image: pipelinectl\n", "image: "+image+"\n"))
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		deployment, err := c.Kube.AppsV1().Deployments(namespace).Get(ctx, "pipelinectl-serve", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return deployment.Status.AvailableReplicas == 1, nil
	})
	if err != nil {
		return fmt.Errorf("pipelinectl serve does not become available; see kubectl -n %s describe pods: %w", namespace, err)
	}
	return nil
}

// Owns says whether this package made the namespace.
func (c *Cluster) Owns(ctx context.Context, name string) (bool, error) {
	_, own, err := c.namespace(ctx, name)
	return own, err
}

func (c *Cluster) namespace(ctx context.Context, name string) (exists, own bool, err error) {
	found, err := c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("read namespace %s: %w", name, err)
	}
	return true, found.Labels[ownLabel] != "", nil
}

// DeleteNamespace deletes a namespace and waits until it is gone.
func (c *Cluster) DeleteNamespace(ctx context.Context, name string) error {
	namespaces := c.Kube.CoreV1().Namespaces()
	// Pods would take their whole grace period.
	now := int64(0)
	_ = c.Kube.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	err := wait.PollUntilContextTimeout(ctx, pollInterval, deleteTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("namespace %s does not go, see kubectl get namespace %s -o yaml: %w", name, name, err)
	}
	return nil
}
