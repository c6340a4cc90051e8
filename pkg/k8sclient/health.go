package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// How a check went.
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckFailed  = "failed"
)

// Check is one question about the cluster or OpenMetadata.
type Check struct {
	Name string `json:"name"`
	// State is ok, warning or failed.
	State  string `json:"state"`
	Detail string `json:"detail"`
	// Advice says what to do where it is not ok.
	Advice string `json:"advice,omitempty"`
}

// Health is the answer of a health check.
type Health struct {
	Healthy   bool   `json:"healthy"`
	Namespace string `json:"namespace"`
	// Version is the API server's.
	Version string `json:"version,omitempty"`
	// ServerVersion is OpenMetadata's.
	ServerVersion string  `json:"openMetadataVersion,omitempty"`
	Checks        []Check `json:"checks"`
}

// Health asks all that a pipeline needs. It is no error that something is unhealthy: the checks say so.
func (c *Client) Health(ctx context.Context) *Health {
	out := &Health{Namespace: c.config.Namespace}
	groups := make([][]Check, 4)
	var wg sync.WaitGroup
	wg.Go(func() { groups[0] = c.checkAPI(ctx, out) })
	wg.Go(func() { groups[1] = []Check{c.checkNamespace(ctx), c.checkServiceAccount(ctx), c.checkImage()} })
	wg.Go(func() { groups[2] = c.checkPermissions(ctx) })
	wg.Go(func() { groups[3] = c.checkOpenMetadata(ctx, out) })
	wg.Wait()
	out.Healthy = true
	for _, group := range groups {
		for _, check := range group {
			out.Checks = append(out.Checks, check)
			out.Healthy = out.Healthy && check.State != CheckFailed
		}
	}
	return out
}

func (c *Client) checkAPI(ctx context.Context, out *Health) []Check {
	const name, sidecar = "kubernetes", "sidecar"
	info, err := c.serverVersion(ctx)
	if err != nil {
		return []Check{{name, CheckFailed, err.Error(), "check the kubeconfig, and that the cluster is reachable"}}
	}
	out.Version = info.GitVersion
	checks := []Check{{Name: name, State: CheckOK, Detail: "API server " + info.GitVersion}}
	const later = "an end that the preStop hook does not see is reported by pipelinectl serve only"
	switch {
	case c.config.Sidecar == SidecarNever:
		return append(checks, Check{sidecar, CheckWarning, "off by parameter sidecar", later})
	case hasSidecars(info.GitVersion):
		return append(checks, Check{Name: sidecar, State: CheckOK, Detail: "on"})
	case c.config.Sidecar == SidecarAlways:
		return append(checks, Check{sidecar, CheckFailed, "Kubernetes " + info.GitVersion + " has no native sidecars, so no pod can start", "set parameter sidecar to auto"})
	default:
		return append(checks, Check{sidecar, CheckWarning, "off: Kubernetes " + info.GitVersion + " has no native sidecars", later})
	}
}

func (c *Client) checkNamespace(ctx context.Context) Check {
	const name = "namespace"
	_, err := c.kube.CoreV1().Namespaces().Get(ctx, c.config.Namespace, metav1.GetOptions{})
	switch {
	case err == nil:
		return Check{Name: name, State: CheckOK, Detail: c.config.Namespace}
	case apierrors.IsNotFound(err):
		return Check{name, CheckFailed, fmt.Sprintf("namespace %s does not exist", c.config.Namespace), "kubectl create namespace " + c.config.Namespace}
	case apierrors.IsForbidden(err):
		// A Role cannot allow it; the permissions below say whether the namespace can be worked in.
		return Check{Name: name, State: CheckOK, Detail: c.config.Namespace + ", which may not be read"}
	default:
		return Check{name, CheckFailed, err.Error(), "check that the cluster is reachable"}
	}
}

func (c *Client) checkServiceAccount(ctx context.Context) Check {
	const name = "service account"
	account := c.config.ServiceAccountName
	_, err := c.kube.CoreV1().ServiceAccounts(c.config.Namespace).Get(ctx, account, metav1.GetOptions{})
	switch {
	case err == nil:
		return Check{Name: name, State: CheckOK, Detail: account}
	case apierrors.IsNotFound(err):
		return Check{name, CheckFailed, fmt.Sprintf("service account %s does not exist in namespace %s, so no pod can start", account, c.config.Namespace), "apply deploy/, or set serviceAccountName"}
	default:
		return Check{name, CheckWarning, "cannot be read: " + err.Error(), "pods start only where it exists"}
	}
}

func (c *Client) checkImage() Check {
	image := c.config.IngestionImage
	if last := image[strings.LastIndex(image, "/")+1:]; !strings.Contains(image, "@") && (!strings.Contains(last, ":") || strings.HasSuffix(last, ":latest")) {
		return Check{"ingestion image", CheckWarning, image + " is whatever is newest when a node pulls it", "name the version of the OpenMetadata server, or a digest"}
	}
	return Check{Name: "ingestion image", State: CheckOK, Detail: image}
}

// permission is what the client does to a resource.
type permission struct {
	group, resource, subresource string
	// verbs are separated as they are printed.
	verbs string
	// optional: without it less is known, but nothing fails.
	optional bool
}

func (p permission) name() string {
	if p.subresource == "" {
		return p.resource
	}
	return p.resource + "/" + p.subresource
}

func (p permission) attributes(namespace, verb string) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: p.group, Resource: p.resource, Subresource: p.subresource}
}

// permissions are all that this package asks of the API; deploy/ has a Role with them.
func permissions() []permission {
	const all = "get, list, create, patch, delete"
	return append([]permission{
		{resource: "configmaps", verbs: all},
		{resource: "secrets", verbs: all},
		{group: batchv1.GroupName, resource: "cronjobs", verbs: all},
		{group: batchv1.GroupName, resource: "jobs", verbs: all + ", watch"},
		{resource: "serviceaccounts", verbs: "get", optional: true},
		{group: authorizationv1.GroupName, resource: "localsubjectaccessreviews", verbs: "create", optional: true},
	}, podPermissions()...)
}

// reporterPermissions are what the reporters in a pod ask of the API; deploy/ has a Role with them.
func reporterPermissions() []permission {
	return append([]permission{{group: batchv1.GroupName, resource: "jobs", verbs: "get"}}, podPermissions()...)
}

func podPermissions() []permission {
	return []permission{
		{resource: "pods", verbs: "get, list, watch"},
		{resource: "pods", subresource: "log", verbs: "get"},
		{resource: "events", verbs: "list", optional: true},
	}
}

func (c *Client) checkPermissions(ctx context.Context) []Check {
	all := permissions()
	checks := make([]Check, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { checks[i] = c.checkPermission(ctx, p) })
	}
	wg.Wait()
	return checks
}

func (c *Client) checkPermission(ctx context.Context, p permission) Check {
	name := "permission " + p.name()
	var missing []string
	for verb := range strings.SplitSeq(p.verbs, ", ") {
		review, err := c.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: p.attributes(c.config.Namespace, verb)},
		}, metav1.CreateOptions{})
		if err != nil {
			return Check{name, CheckFailed, "cannot be asked: " + err.Error(), "check the login to the cluster"}
		}
		if !review.Status.Allowed {
			missing = append(missing, verb)
		}
	}
	switch {
	case len(missing) == 0:
		return Check{Name: name, State: CheckOK, Detail: p.verbs}
	case p.optional:
		return Check{name, CheckWarning, "not allowed: " + strings.Join(missing, ", "), "ask for the Role in deploy/"}
	default:
		return Check{name, CheckFailed, "not allowed: " + strings.Join(missing, ", "), "ask for the Role in deploy/"}
	}
}

func (c *Client) checkOpenMetadata(ctx context.Context, out *Health) []Check {
	const name, token = "openmetadata", "openmetadata token"
	version, err := c.om.Version(ctx)
	if err != nil {
		return []Check{{name, CheckFailed, err.Error(), ""}}
	}
	out.ServerVersion = version
	checks := []Check{{Name: name, State: CheckOK, Detail: "version " + version + " at " + c.om.URL()}}
	// The version is told to anyone; the list of pipelines is not.
	err = c.om.CheckToken(ctx)
	switch {
	case err == nil:
		return append(checks, Check{Name: token, State: CheckOK, Detail: "valid"})
	case errors.Is(err, omapi.ErrUnauthorized), errors.Is(err, omapi.ErrForbidden):
		return append(checks, Check{token, CheckFailed, err.Error(), "set OPENMETADATA_TOKEN to a valid token of the ingestion bot"})
	default:
		return append(checks, Check{token, CheckFailed, err.Error(), "check the server's log"})
	}
}

// HostIP says where runs come from, for the firewall of a source: the address that is configured, else a description,
// as pods have no address of their own that lasts. Empty where the configuration does not allow to tell.
func (c *Client) HostIP() string {
	pod := os.Getenv("HOSTNAME")
	switch {
	case !c.config.IngestionIPInfoEnabled:
		return ""
	case c.config.HostIP != "":
		return c.config.HostIP
	case pod != "" && os.Getenv("KUBERNETES_SERVICE_HOST") != "":
		return fmt.Sprintf("Pod: %s in namespace: %s", pod, c.config.Namespace)
	default:
		return "Kubernetes cluster - namespace: " + c.config.Namespace
	}
}
