package k8sclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// FieldManager is what the managers of fields that this client writes begin with.
const FieldManager = "pipelinectl"

// attempts is how often a call is made that fails for a reason that may pass, as by OpenMetadata's own client.
const attempts = 3

// settleTime is how long a deploy waits for what another process, or the API server, may still be doing.
const settleTime = 5 * time.Second

// What callers act on; test with errors.Is.
var (
	// ErrNotDeployed: the pipeline has no objects in the namespace.
	ErrNotDeployed = errors.New("the pipeline is not deployed")
	// ErrNotOurs: an object of the wanted name belongs to another pipeline, or to no pipeline.
	ErrNotOurs = errors.New("the object is not this pipeline's")
	// ErrStale: the pipeline was deployed with other parameters than those in force.
	ErrStale = errors.New("the deployed pipeline does not fit the parameters")
	// ErrNoServer: the client was made without one of OpenMetadata, and the operation needs it.
	ErrNoServer = errors.New("no OpenMetadata server is configured")
	// ErrNothingToKill: the pipeline has no run that could be ended.
	ErrNothingToKill = errors.New("no run to kill")
)

// Client is the pipeline service client. It is safe for concurrent use.
type Client struct {
	kube   kubernetes.Interface
	om     *omapi.Client
	config Config
	// locks are for deploys of one pipeline, or of pipelines that would have the same names.
	locks    locks
	services serviceSecrets
	// sidecar is SidecarAlways or SidecarNever once the cluster was asked; sidecarMu guards it.
	sidecarMu sync.Mutex
	sidecar   SidecarMode
	// origin is the namespace's once the cluster was asked; originMu guards it.
	originMu sync.Mutex
	origin   identity.Origin
	// conflicts is how long a deploy waits before it tries again; transient how often, and after how long, a call is repeated
	// that failed for a reason that may pass.
	conflicts, transient wait.Backoff
	// grace is how long a write that was sent is waited for when its caller gives up, settle how long an object that is
	// another's, or not there, may become otherwise.
	grace, settle time.Duration
	killReserve   time.Duration
	// undoTimeout bounds the way back of a run that could not be started.
	undoTimeout    time.Duration
	followPatience time.Duration
	// heldPatience is how long the reporters of a pod that an injected container keeps running have.
	heldPatience time.Duration
}

// New checks the configuration and makes a client; it does not connect. It needs a real client of Kubernetes, such as that of
// kubernetes.NewForConfig: client-go's fake clientset has no REST client. The client of OpenMetadata may be nil; operations
// that need it then answer ErrNoServer.
func New(kube kubernetes.Interface, om *omapi.Client, config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	conflicts := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 1.5, Jitter: 1, Steps: 1 << 10, Cap: time.Second}
	transient := wait.Backoff{Duration: 200 * time.Millisecond, Factor: 4, Jitter: 0.2, Steps: attempts}
	return &Client{
		kube: kube, om: om, config: config, conflicts: conflicts, transient: transient, grace: writeGrace, settle: settleTime,
		killReserve: killReserve, undoTimeout: undoTimeout, followPatience: followPatience, heldPatience: heldPatience,
	}, nil
}

// Error is a call to Kubernetes that failed.
type Error struct {
	// Op is what was asked for, as it reads after "cannot".
	Op        string
	Namespace string
	Err       error
}

func (e *Error) Error() string {
	cause := e.Err.Error()
	request, ok := errors.AsType[*url.Error](e.Err)
	switch {
	case noAnswer(e.Err):
		cause = "no answer from the Kubernetes API: " + cause
	case ok && errors.Is(request, context.Canceled):
		cause = request.Err.Error() // It was the caller who did not wait: where for does not matter.
	}
	text := fmt.Sprintf("cannot %s in namespace %s: %s", e.Op, e.Namespace, cause)
	if hint := e.hint(); hint != "" {
		text += "; " + hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// noAnswer says that the API server did not answer, or not to the end. An interrupt says nothing about the server.
func noAnswer(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	_, request := errors.AsType[*url.Error](err)
	_, network := errors.AsType[net.Error](err)
	_, stream := errors.AsType[http2.StreamError](err)
	return request || network || stream || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.ErrUnexpectedEOF) || utilnet.IsProbableEOF(err) || utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err)
}

func (e *Error) hint() string {
	switch {
	case isNamespaceMissing(e.Err):
		return "create it with: kubectl create namespace " + e.Namespace
	case isTerminating(e.Err):
		return "the namespace is being deleted: wait until it is gone and create it again, or use another one"
	case apierrors.IsUnauthorized(e.Err):
		return "log in to the cluster again, or check the kubeconfig"
	case IsNotAllowed(e.Err):
		return "ask for a Role that allows it; deploy/ has one"
	case apierrors.IsForbidden(e.Err):
		return "no permission is missing: a quota or an admission policy of the namespace refuses it; change what the message names"
	case apierrors.IsNotFound(e.Err):
		return "check the namespace and the name: pipelinectl list -n " + e.Namespace
	case apierrors.IsConflict(e.Err), apierrors.IsAlreadyExists(e.Err):
		return "somebody else has changed it at the same time; try again"
	case apierrors.IsInvalid(e.Err), apierrors.IsBadRequest(e.Err):
		return "the object is not valid; look for the parameter that the message names: pipelinectl config"
	case apierrors.IsTooManyRequests(e.Err):
		return "the API server limits requests, try again later"
	case strings.Contains(e.Err.Error(), "getting credentials"): // client-go has no type for it.
		return "check the user of the kubeconfig: the command that gives its credentials has failed"
	case errors.Is(e.Err, context.DeadlineExceeded):
		return "" // It was the command that did not wait any longer.
	case noAnswer(e.Err):
		return "check that the API server is reachable: kubectl get namespace " + e.Namespace
	default:
		return ""
	}
}

func isTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// rbacRefusal is how the API server says that a permission is missing; quotas and admission policies answer 403 too (forbiddenMessage
// in k8s.io/apiserver/pkg/endpoints/handlers/responsewriters).
// client-go says "unknown" where it cannot read the answer, as of /version, which no quota counts.
var rbacRefusal = regexp.MustCompile(`cannot \S+ (resource|path) "|\bunknown$`)

// IsNotAllowed says that Kubernetes does not know the user, or that he lacks a permission.
func IsNotAllowed(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) && errors.As(err, &status) && rbacRefusal.MatchString(status.Status().Message)
}

func isNamespaceMissing(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces"
}

func (c *Client) failed(op string, err error) error {
	return &Error{Op: op, Namespace: c.config.Namespace, Err: err}
}

// pipelineSelector finds a pipeline's objects; which of them are its own the annotation says.
func pipelineSelector(names identity.ObjectNames) string {
	return labels.Set{identity.LabelPipeline: names.Label}.String()
}

func checkOwner(kind string, object metav1.Object, fqn string) error {
	owner := object.GetAnnotations()[identity.AnnotationFQN]
	if owner == fqn {
		return nil
	}
	if owner == "" {
		return fmt.Errorf("%w: %s %s has no annotation %s; delete or rename it", ErrNotOurs, kind, object.GetName(), identity.AnnotationFQN)
	}
	return fmt.Errorf("%w: %s %s belongs to pipeline %s; rename one of the two pipelines", ErrNotOurs, kind, object.GetName(), owner)
}

// Deployed reads back the pipeline that was deployed under a fully qualified name, without its secrets.
func (c *Client) Deployed(ctx context.Context, fqn string) (*omapi.IngestionPipeline, error) {
	pipeline, _, err := c.deployed(ctx, fqn)
	return pipeline, err
}

// Find fails where nothing of a pipeline is in the namespace.
func (c *Client) Find(ctx context.Context, fqn string) error {
	_, err := c.namesLeft(ctx, fqn)
	return err
}

// deployed is Deployed with the names of the pipeline's objects.
func (c *Client) deployed(ctx context.Context, fqn string) (*omapi.IngestionPipeline, identity.ObjectNames, error) {
	configMap, names, err := c.configMap(ctx, fqn)
	if err != nil {
		return nil, names, err
	}
	pipeline, err := pipelineOf(configMap)
	return pipeline, names, err
}

func (c *Client) configMap(ctx context.Context, fqn string) (*corev1.ConfigMap, identity.ObjectNames, error) {
	var foreign error
	for _, names := range identity.Candidates(nameOf(fqn), fqn) {
		configMap, err := c.kube.CoreV1().ConfigMaps(c.config.Namespace).Get(ctx, names.ConfigMap, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, names, c.failed("read ConfigMap "+names.ConfigMap, err)
		case owned(configMap, fqn):
			return configMap, names, nil
		case !taken(configMap, fqn):
			foreign = checkOwner("ConfigMap", configMap, fqn)
		}
	}
	if foreign != nil {
		return nil, identity.ObjectNames{}, foreign
	}
	return nil, identity.ObjectNames{}, c.notDeployed(ctx, fqn)
}

// nameOf is the pipeline's own name, the last part of its fully qualified name.
func nameOf(fqn string) string {
	parts := omapi.SplitFQN(fqn)
	return parts[len(parts)-1]
}

// notDeployed says whether it is the pipeline or the whole namespace that is missing: a read tells no difference.
func (c *Client) notDeployed(ctx context.Context, fqn string) error {
	if err := c.needNamespace(ctx, "find pipeline "+fqn); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s in namespace %s; %sdeploy it first: pipelinectl deploy -f FILE", ErrNotDeployed, fqn, c.config.Namespace, c.meant(ctx, fqn))
}

// meant asks whether another deployed pipeline was meant, of which the name is a part or which is spelt nearly so. It is a
// hint, worth one call: empty where none is found.
func (c *Client) meant(ctx context.Context, name string) string {
	const first, most = 500, 3
	configMaps, err := c.kube.CoreV1().ConfigMaps(c.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: deployedLabels, Limit: first})
	if err != nil {
		return ""
	}
	var names, meant []string
	for i := range configMaps.Items {
		fqn := configMaps.Items[i].Annotations[identity.AnnotationFQN]
		names = append(names, fqn)
		if slices.Contains(omapi.SplitFQN(fqn), name) {
			meant = append(meant, fqn)
		}
	}
	if best := nearest(name, names, near); len(meant) == 0 && best != "" {
		meant = []string{best}
	}
	switch {
	case len(meant) == 0:
		return ""
	case len(meant) > most:
		return fmt.Sprintf("did you mean one of the %d in pipelinectl list? Else ", len(meant))
	default:
		slices.Sort(meant)
		return "did you mean " + strings.Join(meant, " or ") + "? Else "
	}
}

// needNamespace fails where the namespace is not there. Any other answer is no news: a Role may not allow the question.
func (c *Client) needNamespace(ctx context.Context, op string) error {
	_, err := c.kube.CoreV1().Namespaces().Get(ctx, c.config.Namespace, metav1.GetOptions{})
	if isNamespaceMissing(err) {
		return c.failed(op, err)
	}
	return nil
}

func pipelineOf(configMap *corev1.ConfigMap) (*omapi.IngestionPipeline, error) {
	var pipeline omapi.IngestionPipeline
	// Not as YAML, which does not allow all that a name may have.
	if err := json.Unmarshal([]byte(configMap.Data[pipelineKey]), &pipeline); err != nil || pipeline.Name == "" {
		return nil, fmt.Errorf("ConfigMap %s: its key %q does not hold a pipeline; deploy the pipeline again", configMap.Name, pipelineKey)
	}
	return &pipeline, nil
}

// namesLeft are the names of a pipeline's objects, also of one whose ConfigMap is gone: then those under which anything of
// it is left.
func (c *Client) namesLeft(ctx context.Context, fqn string) (identity.ObjectNames, error) {
	_, names, notDeployed := c.configMap(ctx, fqn)
	if !errors.Is(notDeployed, ErrNotDeployed) && !errors.Is(notDeployed, ErrNotOurs) {
		return names, notDeployed
	}
	for _, names := range identity.Candidates(nameOf(fqn), fqn) {
		for _, client := range []resourceClient{c.cronJobs(), c.jobClient(), c.secrets()} {
			found, err := client.list(ctx, pipelineSelector(names))
			if err != nil {
				return names, c.failed("list the "+client.kind+"s of pipeline "+fqn, err)
			}
			if slices.ContainsFunc(found, func(o object) bool { return owned(o, fqn) }) {
				return names, nil
			}
		}
	}
	return identity.ObjectNames{}, notDeployed
}

// jobs lists the pipeline's Jobs, those of its CronJob too.
func (c *Client) jobs(ctx context.Context, fqn string, names identity.ObjectNames) ([]batchv1.Job, error) {
	return c.jobsBy(ctx, fqn, metav1.ListOptions{LabelSelector: pipelineSelector(names)})
}

func (c *Client) jobsBy(ctx context.Context, fqn string, options metav1.ListOptions) ([]batchv1.Job, error) {
	list, err := c.kube.BatchV1().Jobs(c.config.Namespace).List(ctx, options)
	if err != nil {
		return nil, c.failed("list the Jobs of pipeline "+fqn, err)
	}
	own := list.Items[:0]
	for _, job := range list.Items {
		if job.Annotations[identity.AnnotationFQN] == fqn {
			own = append(own, job)
		}
	}
	return own, nil
}
