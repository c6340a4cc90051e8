// Package diagnostics collects what Kubernetes knows of a run (Job, pods, containers, logs, events), finds the cause of
// its end, and renders both.
package diagnostics

import (
	"context"
	"fmt"
	"io"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// Reader is the part of the Kubernetes API that diagnostics need, in one namespace.
type Reader interface {
	Job(ctx context.Context, name string) (*batchv1.Job, error)
	Pods(ctx context.Context, labelSelector string) ([]corev1.Pod, error)
	// Log streams a container's log; the caller closes it.
	Log(ctx context.Context, pod string, options *corev1.PodLogOptions) (io.ReadCloser, error)
	// Events are those of one object.
	Events(ctx context.Context, kind, name string) ([]corev1.Event, error)
}

// NewReader reads through plain REST clients of the two API groups, not through the clientset, which would
// triple the size of a small binary.
func NewReader(config *rest.Config, namespace string) (Reader, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register Kubernetes types: %w", err)
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme)
	parameters := runtime.NewParameterCodec(scheme)

	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("configure the Kubernetes client: %w", err)
	}
	client := func(path string, gv schema.GroupVersion) (*rest.RESTClient, error) {
		c := rest.CopyConfig(config)
		c.APIPath, c.GroupVersion, c.NegotiatedSerializer = path, &gv, codecs.WithoutConversion()
		// A handful of requests: no need to hold them back.
		c.QPS = -1
		return rest.RESTClientForConfigAndClient(c, httpClient)
	}
	core, err := client("/api", corev1.SchemeGroupVersion)
	if err != nil {
		return nil, fmt.Errorf("configure the Kubernetes client: %w", err)
	}
	batch, err := client("/apis", batchv1.SchemeGroupVersion)
	if err != nil {
		return nil, fmt.Errorf("configure the Kubernetes client: %w", err)
	}
	return &restReader{core: core, batch: batch, namespace: namespace, parameters: parameters}, nil
}

type restReader struct {
	core, batch rest.Interface
	namespace   string
	parameters  runtime.ParameterCodec
}

func (r *restReader) Job(ctx context.Context, name string) (*batchv1.Job, error) {
	var job batchv1.Job
	err := r.batch.Get().Namespace(r.namespace).Resource("jobs").Name(name).Do(ctx).Into(&job)
	return &job, err
}

func (r *restReader) Pods(ctx context.Context, labelSelector string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := r.core.Get().Namespace(r.namespace).Resource("pods").
		VersionedParams(&metav1.ListOptions{LabelSelector: labelSelector}, r.parameters).Do(ctx).Into(&list)
	return list.Items, err
}

func (r *restReader) Log(ctx context.Context, pod string, options *corev1.PodLogOptions) (io.ReadCloser, error) {
	return r.core.Get().Namespace(r.namespace).Resource("pods").Name(pod).SubResource("log").
		VersionedParams(options, r.parameters).Stream(ctx)
}

func (r *restReader) Events(ctx context.Context, kind, name string) ([]corev1.Event, error) {
	selector := fields.Set{"involvedObject.kind": kind, "involvedObject.name": name}.String()
	var list corev1.EventList
	err := r.core.Get().Namespace(r.namespace).Resource("events").
		VersionedParams(&metav1.ListOptions{FieldSelector: selector}, r.parameters).Do(ctx).Into(&list)
	return list.Items, err
}
