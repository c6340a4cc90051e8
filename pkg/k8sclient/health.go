package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
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
	groups := make([][]Check, 8)
	var wg sync.WaitGroup
	wg.Go(func() { groups[0] = c.checkAPI(ctx, out) })
	wg.Go(func() { groups[1] = []Check{c.checkNamespace(ctx), c.checkServiceAccount(ctx), c.checkImage()} })
	wg.Go(func() { groups[2] = c.checkPermissions(ctx) })
	wg.Go(func() { groups[3] = c.checkAdmission(ctx) })
	wg.Go(func() { groups[7] = append(c.checkQueue(ctx), c.checkRuns(ctx)) })
	wg.Go(func() { groups[4] = c.checkOpenMetadata(ctx, out) })
	wg.Go(func() { groups[5] = c.checkHeld(ctx) })
	wg.Go(func() { groups[6] = []Check{c.checkComplete(ctx)} })
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
		return []Check{{name, CheckFailed, err.Error(), "check the kubeconfig, and that the API server is reachable"}}
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
	namespace, err := c.kube.CoreV1().Namespaces().Get(ctx, c.config.Namespace, metav1.GetOptions{})
	detail := c.config.Namespace
	if apierrors.IsForbidden(err) {
		// A Role cannot allow it. What can be made in the namespace tells whether it is there and stays.
		detail += ", which may not be read"
		err = c.tryConfigMap(ctx)
	}
	switch {
	case isTerminating(err), err == nil && (namespace.DeletionTimestamp != nil || namespace.Status.Phase == corev1.NamespaceTerminating):
		return Check{name, CheckFailed, terminatingText(c.config.Namespace, namespace), "wait until it is gone and create it again, or use another namespace"}
	case apierrors.IsNotFound(err):
		return Check{name, CheckFailed, fmt.Sprintf("namespace %s does not exist", c.config.Namespace), "kubectl create namespace " + c.config.Namespace}
	case err == nil, apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsAlreadyExists(err):
		return Check{Name: name, State: CheckOK, Detail: detail} // What else is missing the other checks say.
	default:
		return Check{name, CheckFailed, c.failed("read the namespace", err).Error(), "see the check kubernetes"}
	}
}

// terminatingText says what keeps a namespace that is being deleted, where that may be read.
func terminatingText(name string, namespace *corev1.Namespace) string {
	text := fmt.Sprintf("namespace %s is being deleted, so nothing can be created in it", name)
	if namespace == nil {
		return text
	}
	texts := make([]string, 0, 1+len(namespace.Status.Conditions))
	texts = append(texts, text)
	for _, condition := range namespace.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && condition.Message != "" {
			texts = append(texts, condition.Message)
		}
	}
	return strings.Join(texts, "; ")
}

// tryConfigMap lets the API server check, without making it, an object in the namespace.
func (c *Client) tryConfigMap(ctx context.Context) error {
	_, err := c.kube.CoreV1().ConfigMaps(c.config.Namespace).Create(ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "pipelinectl-health-"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
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
	if moves(image) {
		return Check{"ingestion image", CheckWarning, image + " " + movingImage, pinImage}
	}
	return Check{Name: "ingestion image", State: CheckOK, Detail: image}
}

// permission is what the client does to a resource.
type permission struct {
	group, resource, subresource string
	verbs                        []string
	// optional: without it less is known, but nothing fails.
	optional bool
	// what tells it from another of the resource.
	what string
}

const (
	verbGet    = "get"
	verbCreate = "create"
	verbDelete = "delete"
	verbList   = "list"
	verbPatch  = "patch"
	verbWatch  = "watch"
)

// permissions are all that this package asks of the API; deploy/ has a Role with them.
func permissions() []permission {
	all := []string{verbGet, verbList, verbCreate, verbPatch, verbDelete}
	return append([]permission{
		{resource: resourceConfigMaps, verbs: all},
		{resource: resourceSecrets, verbs: all},
		{group: batchv1.GroupName, resource: "cronjobs", verbs: all},
		{group: batchv1.GroupName, resource: "cronjobs", subresource: "status", verbs: []string{verbPatch}, optional: true},
		{group: batchv1.GroupName, resource: "jobs", verbs: append(slices.Clone(all), verbWatch)},
		{resource: "serviceaccounts", verbs: []string{verbGet}, optional: true},
		// To end pods that an injected container keeps running.
		{resource: resourcePods, verbs: []string{verbPatch}, optional: true, what: "to end"},
		{resource: resourcePods, subresource: "status", verbs: []string{verbPatch}, optional: true},
		{group: authorizationv1.GroupName, resource: "localsubjectaccessreviews", verbs: []string{verbCreate}, optional: true},
	}, readPermissions()...)
}

// readPermissions are what a diagnosis takes, from outside and in a pod.
func readPermissions() []permission {
	return []permission{
		{resource: resourcePods, verbs: []string{verbGet, verbList, verbWatch}},
		{resource: resourcePods, subresource: "log", verbs: []string{verbGet}},
		{resource: "events", verbs: []string{verbList}, optional: true},
	}
}

// podPermissions are what the reporters in a pod ask of the API; deploy/ has a Role with them for the pods' service account.
func podPermissions() []permission {
	return append([]permission{{group: batchv1.GroupName, resource: "jobs", verbs: []string{verbGet}}}, readPermissions()...)
}

func (p permission) String() string {
	if p.subresource != "" {
		return p.resource + "/" + p.subresource
	}
	return p.resource
}

// attributes are those of one verb in the namespace.
func (c *Client) attributes(p permission, verb string) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{Namespace: c.config.Namespace, Verb: verb, Group: p.group, Resource: p.resource, Subresource: p.subresource}
}

func (c *Client) checkPermissions(ctx context.Context) []Check {
	all := permissions()
	checks := make([]Check, len(all), len(all)+1)
	var account Check
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { checks[i] = c.checkPermission(ctx, p) })
	}
	wg.Go(func() { account = c.checkAccount(ctx, c.config.ServiceAccountName) })
	wg.Wait()
	return append(checks, account)
}

func (c *Client) checkPermission(ctx context.Context, p permission) Check {
	name := strings.TrimSpace("permission " + p.String() + " " + p.what)
	var missing []string
	for _, verb := range p.verbs {
		review, err := c.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: c.attributes(p, verb)},
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
		return Check{Name: name, State: CheckOK, Detail: strings.Join(p.verbs, ", ")}
	case p.optional:
		return Check{name, CheckWarning, "not allowed: " + strings.Join(missing, ", "), adviceRole}
	default:
		return Check{name, CheckFailed, "not allowed: " + strings.Join(missing, ", "), adviceRole}
	}
}

// checkAccount asks for the pods of a service account: without these rights their reporters see nothing, and serve reports
// alone.
func (c *Client) checkAccount(ctx context.Context, account string) Check {
	const name = "permissions of pods"
	missing, optional, err := c.accountPermissions(ctx, account)
	switch {
	case err != nil:
		return Check{name, CheckWarning, "those of service account " + account + " cannot be asked: " + err.Error(), adviceRole + ", or: kubectl auth can-i --list --as system:serviceaccount:" + c.config.Namespace + ":" + account}
	case len(missing) > 0:
		return Check{name, CheckFailed, "service account " + account + " may not: " + strings.Join(append(missing, optional...), ", "), "give it the Role in deploy/"}
	case len(optional) > 0:
		return Check{name, CheckWarning, "service account " + account + " may not: " + strings.Join(optional, ", "), "give it the Role in deploy/"}
	default:
		return Check{Name: name, State: CheckOK, Detail: "service account " + account}
	}
}

// accountPermissions says what the reporters in a pod of the service account lack, such as "list pods", and without what they
// only know less. An error where whoever asks may not ask it.
func (c *Client) accountPermissions(ctx context.Context, account string) (missing, optional []string, err error) {
	const prefix = "system:serviceaccounts"
	for _, p := range podPermissions() {
		for _, verb := range p.verbs {
			review, err := c.kube.AuthorizationV1().LocalSubjectAccessReviews(c.config.Namespace).Create(ctx, &authorizationv1.LocalSubjectAccessReview{
				ObjectMeta: metav1.ObjectMeta{Namespace: c.config.Namespace},
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User:   "system:serviceaccount:" + c.config.Namespace + ":" + account,
					Groups: []string{prefix, prefix + ":" + c.config.Namespace, "system:authenticated"}, ResourceAttributes: c.attributes(p, verb),
				},
			}, metav1.CreateOptions{})
			switch {
			case err != nil:
				return nil, nil, err
			case review.Status.Allowed:
			case p.optional:
				optional = append(optional, verb+" "+p.String())
			default:
				missing = append(missing, verb+" "+p.String())
			}
		}
	}
	return missing, optional, nil
}

func (c *Client) checkOpenMetadata(ctx context.Context, out *Health) []Check {
	const name, token = "openmetadata", "openmetadata token"
	if c.om == nil {
		return []Check{{name, CheckFailed, ErrNoServer.Error(), "set metadataApiEndpoint"}}
	}
	version, err := c.om.Version(ctx)
	if err != nil {
		return []Check{{name, CheckFailed, err.Error(), "see the server's log"}}
	}
	out.ServerVersion = version
	checks := []Check{{Name: name, State: CheckOK, Detail: "version " + version + " at " + c.om.URL()}}
	if c.config.VerifySSL == omapi.VerifyIgnore {
		checks = append(checks, Check{"openmetadata certificate", CheckWarning, "is not checked, as verifySSL is ignore: whoever is in between sees the token", "set verifySSL to validate, and sslConfig"})
	}
	// The version is told to anyone; the list of pipelines is not.
	err = c.om.CheckToken(ctx)
	switch {
	case err == nil && !c.om.HasToken():
		return append(checks, Check{Name: token, State: CheckOK, Detail: "none is given, and none is asked for"})
	case err == nil:
		return append(append(checks, Check{Name: token, State: CheckOK, Detail: "valid"}), c.checkTokenRights(ctx)...)
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
