package k8sclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

const (
	kindConfigMap = "ConfigMap"
	kindSecret    = "Secret"
)

const (
	resourcePods       = "pods"
	resourceConfigMaps = "configmaps"
	resourceSecrets    = "secrets"
)

// Fields of every object, as a patch names them.
const (
	fieldMetadata        = "metadata"
	fieldUID             = "uid"
	fieldAnnotations     = "annotations"
	fieldResourceVersion = "resourceVersion"
)

// writeGrace is how long a write that was sent is waited for when its caller gives up: what the API server does not answer
// before that it may still do.
const writeGrace = 5 * time.Second

// object is any Kubernetes object.
type object interface {
	metav1.Object
	runtime.Object
}

// resourceClient is a client of one kind in the namespace, so that one piece of code serves all kinds. It is closer to
// the wire than the typed clients: an apply tells whether it made the object.
type resourceClient struct {
	kind      string
	resource  string
	namespace string
	rest      rest.Interface
	// transient is how often, and after how long, a call is repeated.
	transient wait.Backoff
	// grace is how long a write that was sent is waited for when its caller gives up.
	grace time.Duration
	// lost, where it is not nil, is set when an answer is lost: the write may have taken place, whatever its repetition says.
	lost      *bool
	newObject func() object
	newList   func() runtime.Object
}

func (c *Client) configMaps() resourceClient {
	return resourceClient{
		kind: "ConfigMap", resource: resourceConfigMaps, namespace: c.config.Namespace, rest: c.kube.CoreV1().RESTClient(), transient: c.transient, grace: c.grace,
		newObject: func() object { return &corev1.ConfigMap{} }, newList: func() runtime.Object { return &corev1.ConfigMapList{} },
	}
}

func (c *Client) secrets() resourceClient {
	return resourceClient{
		kind: kindSecret, resource: resourceSecrets, namespace: c.config.Namespace, rest: c.kube.CoreV1().RESTClient(), transient: c.transient, grace: c.grace,
		newObject: func() object { return &corev1.Secret{} }, newList: func() runtime.Object { return &corev1.SecretList{} },
	}
}

func (c *Client) cronJobs() resourceClient {
	return resourceClient{
		kind: "CronJob", resource: "cronjobs", namespace: c.config.Namespace, rest: c.kube.BatchV1().RESTClient(), transient: c.transient, grace: c.grace,
		newObject: func() object { return &batchv1.CronJob{} }, newList: func() runtime.Object { return &batchv1.CronJobList{} },
	}
}

func (c *Client) jobClient() resourceClient {
	return resourceClient{
		kind: "Job", resource: "jobs", namespace: c.config.Namespace, rest: c.kube.BatchV1().RESTClient(), transient: c.transient, grace: c.grace,
		newObject: func() object { return &batchv1.Job{} }, newList: func() runtime.Object { return &batchv1.JobList{} },
	}
}

func (c *Client) podClient() resourceClient {
	return resourceClient{
		kind: "Pod", resource: resourcePods, namespace: c.config.Namespace, rest: c.kube.CoreV1().RESTClient(), transient: c.transient,
		newObject: func() object { return &corev1.Pod{} }, newList: func() runtime.Object { return &corev1.PodList{} },
	}
}

func (r resourceClient) get(ctx context.Context, name string) (object, error) {
	out := r.newObject()
	err := r.retried(ctx, func() error {
		return r.rest.Get().Namespace(r.namespace).Resource(r.resource).Name(name).Do(ctx).Into(out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// list reads all pages.
func (r resourceClient) list(ctx context.Context, selector string) ([]object, error) {
	const page = 500
	var out []object
	options := metav1.ListOptions{LabelSelector: selector, Limit: page}
	for {
		list := r.newList()
		err := r.retried(ctx, func() error {
			return r.rest.Get().Namespace(r.namespace).Resource(r.resource).VersionedParams(&options, scheme.ParameterCodec).Do(ctx).Into(list)
		})
		if err != nil {
			return nil, err
		}
		err = meta.EachListItem(list, func(item runtime.Object) error {
			o, ok := item.(object)
			if !ok {
				return fmt.Errorf("a list of %ss holds a %T", r.kind, item)
			}
			out = append(out, o)
			return nil
		})
		if err != nil {
			return nil, err
		}
		accessor, err := meta.ListAccessor(list)
		if err != nil {
			return nil, err
		}
		if options.Continue = accessor.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}

// apply is a server-side apply, and says whether the object was made by it. Without force, fields of other managers are
// left alone, and the answer is a conflict.
func (r resourceClient) apply(ctx context.Context, manager, name string, patch []byte, force, dryRun bool) (out object, created bool, err error) {
	// A server that looks for unknown fields reads the YAML twice; its warnings would go nowhere.
	options := metav1.PatchOptions{FieldManager: manager, Force: &force, FieldValidation: metav1.FieldValidationIgnore}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	var code int
	out = r.newObject()
	err = r.written(ctx, func(ctx context.Context) error {
		return r.rest.Patch(types.ApplyPatchType).Namespace(r.namespace).Resource(r.resource).Name(name).
			VersionedParams(&options, scheme.ParameterCodec).Body(patch).Do(ctx).StatusCode(&code).Into(out)
	})
	return out, code == http.StatusCreated, err
}

// patch changes an object. A repetition of a JSON patch whose answer was lost may be refused as invalid by its own tests.
func (r resourceClient) patch(ctx context.Context, name string, kind types.PatchType, patch []byte) (object, error) {
	out := r.newObject()
	err := r.written(ctx, func(ctx context.Context) error {
		return r.rest.Patch(kind).Namespace(r.namespace).Resource(r.resource).Name(name).
			VersionedParams(&metav1.PatchOptions{FieldManager: FieldManager}, scheme.ParameterCodec).Body(patch).Do(ctx).Into(out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// create may answer that the object is there already where it has just made it, and the answer was lost.
func (r resourceClient) create(ctx context.Context, o object) (object, error) {
	out := r.newObject()
	err := r.written(ctx, func(ctx context.Context) error {
		return r.rest.Post().Namespace(r.namespace).Resource(r.resource).
			VersionedParams(&metav1.CreateOptions{FieldManager: FieldManager}, scheme.ParameterCodec).Body(o).Do(ctx).Into(out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// delete deletes an object, where it meets the preconditions. The propagation is always said: the default of batch/v1 Jobs
// would leave their pods running.
func (r resourceClient) delete(ctx context.Context, name string, propagation metav1.DeletionPropagation, preconditions *metav1.Preconditions) error {
	options := metav1.DeleteOptions{PropagationPolicy: &propagation, Preconditions: preconditions}
	return r.written(ctx, func(ctx context.Context) error {
		return r.rest.Delete().Namespace(r.namespace).Resource(r.resource).Name(name).Body(&options).Do(ctx).Error()
	})
}

// annotate sets an annotation, or removes it where the value is nil, of an object that is as it was read.
func (r resourceClient) annotate(ctx context.Context, o object, name string, value *string) error {
	return r.merge(ctx, o.GetName(), map[string]any{fieldMetadata: map[string]any{
		fieldUID: o.GetUID(), fieldResourceVersion: o.GetResourceVersion(), fieldAnnotations: map[string]*string{name: value},
	}})
}

// merge is a JSON merge patch.
func (r resourceClient) merge(ctx context.Context, name string, patch map[string]any) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode the patch of %s %s: %w", r.kind, name, err)
	}
	_, err = r.patch(ctx, name, types.MergePatchType, data)
	return err
}

// touch makes a write fail that names the version that was read and that the API server may still be working on: the object
// gets another version, and is as it was.
func (r resourceClient) touch(ctx context.Context, o object) error {
	if err := r.annotate(ctx, o, identity.AnnotationUndone, new(time.Now().UTC().Format(time.RFC3339))); err != nil {
		return err
	}
	err := r.merge(ctx, o.GetName(), map[string]any{fieldMetadata: map[string]any{
		fieldUID: o.GetUID(), fieldAnnotations: map[string]any{identity.AnnotationUndone: nil},
	}})
	return err
}

// appears waits for an object that may be made late.
func (r resourceClient) appears(ctx context.Context, name string, patience time.Duration) (object, error) {
	const looks = 10
	ticker := time.NewTicker(max(patience/looks, time.Millisecond))
	defer ticker.Stop()
	for range looks {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if out, err := r.get(ctx, name); !apierrors.IsNotFound(err) {
			return out, err
		}
	}
	return nil, apierrors.NewNotFound(batchResource(r.resource), name)
}

// written is retried for a write. One that was sent is not broken off with its caller at once: the API server would do it all
// the same, and nobody would know.
func (r resourceClient) written(ctx context.Context, call func(context.Context) error) error {
	return r.retried(ctx, func() error {
		if ctx.Err() != nil {
			return &notSentError{context.Cause(ctx)}
		}
		sent, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		stop := context.AfterFunc(ctx, func() {
			timer := time.NewTimer(r.grace)
			defer timer.Stop()
			select {
			case <-timer.C:
				cancel()
			case <-sent.Done():
			}
		})
		defer stop()
		return call(sent)
	})
}

// notSentError is a call that was not made, since its caller had given up.
type notSentError struct{ error }

func (e *notSentError) Unwrap() error { return e.error }

// retried makes a call that may be repeated up to as many times as OpenMetadata's own client does, where the failure may
// pass. A server that says when to come back is asked by client-go itself, and once more here.
func (r resourceClient) retried(ctx context.Context, call func() error) error {
	delay := r.transient
	for {
		err := inTime(ctx, call())
		if r.lost != nil && err != nil && uncertain(err) {
			*r.lost = true
		}
		if !transient(err) || delay.Steps <= 1 {
			return err
		}
		pause := delay.Step()
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			pause = max(pause, time.Duration(seconds)*time.Second)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// inTime names the end of the context where an answer broke off by it: what was read until then may look whole, and be none.
func inTime(ctx context.Context, err error) error {
	var status apierrors.APIStatus
	if err == nil || ctx.Err() == nil || errors.As(err, &status) || errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}

// transient says that a failure may pass.
func transient(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		switch status.Status().Code {
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		default:
			return false
		}
	}
	return utilnet.IsConnectionReset(err) || utilnet.IsConnectionRefused(err) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err)
}

// uncertain says that a write may have taken place in spite of its error: the server's own refusals come before it.
func uncertain(err error) bool {
	if _, ok := errors.AsType[*notSentError](err); ok {
		return false
	}
	var status apierrors.APIStatus
	return !errors.As(err, &status) || transient(err) && !apierrors.IsTooManyRequests(err)
}

// thisOne is the object that was read, whatever has changed in it; asRead is that object without any change.
func thisOne(o object) *metav1.Preconditions { return &metav1.Preconditions{UID: new(o.GetUID())} }

func asRead(o object) *metav1.Preconditions {
	return &metav1.Preconditions{UID: new(o.GetUID()), ResourceVersion: new(o.GetResourceVersion())}
}

// deleteOwned deletes an object of the pipeline and says whether it was there.
func (c *Client) deleteOwned(ctx context.Context, client resourceClient, name, fqn string) (bool, error) {
	existing, err := client.get(ctx, name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, c.failed(fmt.Sprintf("read %s %s", client.kind, name), err)
	}
	if err := checkOwner(client.kind, existing, fqn); err != nil {
		return false, err
	}
	if err := client.delete(ctx, name, metav1.DeletePropagationBackground, thisOne(existing)); err != nil && !apierrors.IsNotFound(err) {
		return false, c.failed(fmt.Sprintf("delete %s %s", client.kind, name), err)
	}
	return true, nil
}
