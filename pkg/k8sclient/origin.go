package k8sclient

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

const (
	// rootCA is the ConfigMap that Kubernetes keeps in every namespace since 1.20. Whoever may read the ConfigMaps of pipelines
	// may read it, which is more than can be said of the Namespace.
	rootCA = "kube-root-ca.crt"
	// originTimeout bounds the requests for the namespace's origin: no run waits for it for longer.
	originTimeout = 5 * time.Second
)

// Origin is what ids of runs tell of this namespace. It is empty where the cluster does not tell: then nobody can know later
// that a run without a Job was of this namespace.
func (c *Client) Origin(ctx context.Context) (identity.Origin, error) {
	c.originMu.Lock()
	defer c.originMu.Unlock()
	if c.origin != "" {
		return c.origin, nil
	}
	ctx, cancel := context.WithTimeout(ctx, originTimeout)
	defer cancel()
	uid, err := c.namespaceUID(ctx)
	if err != nil || uid == "" {
		return "", err
	}
	c.origin = identity.OriginOf(uid)
	return c.origin, nil
}

func (c *Client) namespaceUID(ctx context.Context) (string, error) {
	configMap, err := c.kube.CoreV1().ConfigMaps(c.config.Namespace).Get(ctx, rootCA, metav1.GetOptions{})
	if err == nil {
		return string(configMap.UID), nil
	}
	if !apierrors.IsNotFound(err) && !diagnostics.Denied(err) {
		return "", c.failed("read ConfigMap "+rootCA, err)
	}
	namespace, err := c.kube.CoreV1().Namespaces().Get(ctx, c.config.Namespace, metav1.GetOptions{})
	switch {
	case err == nil:
		return string(namespace.UID), nil
	case apierrors.IsNotFound(err), diagnostics.Denied(err):
		return "", nil
	default:
		return "", c.failed("read the Namespace", err)
	}
}

// newRunID makes a run's id, which tells its origin where that is known. No run fails for it.
func (c *Client) newRunID(ctx context.Context) string {
	origin, _ := c.Origin(ctx) // The next request tells what is wrong with the cluster.
	return identity.NewRunID(origin)
}
