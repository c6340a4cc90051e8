package k8sclient

import (
	"context"
	"fmt"
	"net/http"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

const kindSecret = "Secret"

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
	newObject func() object
	newList   func() runtime.Object
}

func (c *Client) configMaps() resourceClient {
	return resourceClient{
		kind: "ConfigMap", resource: "configmaps", namespace: c.config.Namespace, rest: c.kube.CoreV1().RESTClient(),
		newObject: func() object { return &corev1.ConfigMap{} }, newList: func() runtime.Object { return &corev1.ConfigMapList{} },
	}
}

func (c *Client) secrets() resourceClient {
	return resourceClient{
		kind: kindSecret, resource: "secrets", namespace: c.config.Namespace, rest: c.kube.CoreV1().RESTClient(),
		newObject: func() object { return &corev1.Secret{} }, newList: func() runtime.Object { return &corev1.SecretList{} },
	}
}

func (c *Client) cronJobs() resourceClient {
	return resourceClient{
		kind: "CronJob", resource: "cronjobs", namespace: c.config.Namespace, rest: c.kube.BatchV1().RESTClient(),
		newObject: func() object { return &batchv1.CronJob{} }, newList: func() runtime.Object { return &batchv1.CronJobList{} },
	}
}

func (c *Client) jobClient() resourceClient {
	return resourceClient{
		kind: "Job", resource: "jobs", namespace: c.config.Namespace, rest: c.kube.BatchV1().RESTClient(),
		newObject: func() object { return &batchv1.Job{} }, newList: func() runtime.Object { return &batchv1.JobList{} },
	}
}

func (r resourceClient) get(ctx context.Context, name string) (object, error) {
	out := r.newObject()
	err := r.rest.Get().Namespace(r.namespace).Resource(r.resource).Name(name).Do(ctx).Into(out)
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
		err := r.rest.Get().Namespace(r.namespace).Resource(r.resource).VersionedParams(&options, scheme.ParameterCodec).Do(ctx).Into(list)
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
func (r resourceClient) apply(ctx context.Context, name string, patch []byte, force, dryRun bool) (out object, created bool, err error) {
	// A server that looks for unknown fields reads the YAML twice; its warnings would go nowhere.
	options := metav1.PatchOptions{FieldManager: FieldManager, Force: &force, FieldValidation: metav1.FieldValidationIgnore}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	var code int
	out = r.newObject()
	err = r.rest.Patch(types.ApplyPatchType).Namespace(r.namespace).Resource(r.resource).Name(name).
		VersionedParams(&options, scheme.ParameterCodec).Body(patch).Do(ctx).StatusCode(&code).Into(out)
	return out, code == http.StatusCreated, err
}

// delete deletes an object; with a UID only the one that has it.
func (r resourceClient) delete(ctx context.Context, name string, uid types.UID) error {
	// The default of batch/v1 Jobs would leave their pods running.
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if uid != "" {
		options.Preconditions = metav1.NewUIDPreconditions(string(uid))
	}
	return r.rest.Delete().Namespace(r.namespace).Resource(r.resource).Name(name).Body(&options).Do(ctx).Error()
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
	if err := client.delete(ctx, name, existing.GetUID()); err != nil && !apierrors.IsNotFound(err) {
		return false, c.failed(fmt.Sprintf("delete %s %s", client.kind, name), err)
	}
	return true, nil
}
