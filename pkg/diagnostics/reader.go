// Package diagnostics collects what Kubernetes knows of a run (Job, pods, containers, logs, events), finds the cause of
// its end, and renders both.
package diagnostics

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion/queryparams"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// Reader is the part of the Kubernetes API that diagnostics need, in one namespace.
type Reader interface {
	Job(ctx context.Context, name string) (*batchv1.Job, error)
	Pod(ctx context.Context, name string) (*corev1.Pod, error)
	// WatchPod calls changed with each state of a pod, from the present one on, until that is true, the pod is gone, the
	// context ends, or the watch breaks off.
	WatchPod(ctx context.Context, name string, changed func(*corev1.Pod) bool) error
	Pods(ctx context.Context, labelSelector string) ([]corev1.Pod, error)
	// Log streams a container's log; the caller closes it.
	Log(ctx context.Context, pod string, options *corev1.PodLogOptions) (io.ReadCloser, error)
	// Events are those of one object.
	Events(ctx context.Context, kind, name string) ([]corev1.Event, error)
}

// Denied says that an error of the Kubernetes API is a refusal: to ask again is of no use.
func Denied(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// NewReader reads through plain REST clients of the two API groups, not through the clientset, and with a scheme that
// knows errors only: both hold every type that Kubernetes has, which is most of a small binary and of its start.
func NewReader(config *rest.Config, namespace string) (Reader, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme)

	config = rest.CopyConfig(config)
	config.Wrap(newSharing)
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("configure the Kubernetes client: %w", err)
	}
	client := func(path string, gv schema.GroupVersion) (*rest.RESTClient, error) {
		c := rest.CopyConfig(config)
		c.APIPath, c.GroupVersion, c.NegotiatedSerializer = path, &gv, codecs.WithoutConversion()
		c.AcceptContentTypes, c.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
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
	return &restReader{core: core, batch: batch, namespace: namespace, protobuf: protobuf.NewSerializer(scheme, scheme)}, nil
}

type restReader struct {
	core, batch rest.Interface
	namespace   string
	protobuf    *protobuf.Serializer
}

// get asks for protobuf, as encoding/json takes a short-lived process longer to get to know the types of a Pod than the
// requests take.
func (r *restReader) get(ctx context.Context, request *rest.Request, into runtime.Object) error {
	result := request.SetHeader("Accept", runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON).Do(ctx)
	if err := result.Error(); err != nil { // Raw's own error lacks what the server says.
		return err
	}
	data, err := result.Raw()
	if err != nil {
		return err
	}
	if ok, _, _ := r.protobuf.RecognizesData(data); ok {
		_, _, err = r.protobuf.Decode(data, nil, into)
		return err
	}
	return json.Unmarshal(data, into)
}

func (r *restReader) Job(ctx context.Context, name string) (*batchv1.Job, error) {
	var job batchv1.Job
	err := r.get(ctx, r.batch.Get().Namespace(r.namespace).Resource("jobs").Name(name), &job)
	return &job, err
}

func (r *restReader) Pod(ctx context.Context, name string) (*corev1.Pod, error) {
	var pod corev1.Pod
	err := r.get(ctx, r.core.Get().Namespace(r.namespace).Resource("pods").Name(name), &pod)
	return &pod, err
}

func (r *restReader) WatchPod(ctx context.Context, name string, changed func(*corev1.Pod) bool) error {
	pod, err := r.Pod(ctx, name)
	if err != nil {
		return err
	}
	if changed(pod) {
		return nil
	}
	stream, err := r.core.Get().Namespace(r.namespace).Resource("pods").Param("watch", "true").
		Param("fieldSelector", fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()).
		Param("resourceVersion", pod.ResourceVersion).Stream(ctx)
	if Denied(err) {
		return r.pollPod(ctx, name, changed) // OpenMetadata's own Role allows to read pods, not to watch them.
	}
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	events := json.NewDecoder(stream)
	for {
		var event metav1.WatchEvent
		if err := events.Decode(&event); err != nil {
			return fmt.Errorf("the watch of pod %s broke off: %w", name, cmp.Or(ctx.Err(), err))
		}
		if done, err := watched(event, changed); done || err != nil {
			return err
		}
	}
}

// pollInterval is how often a pod is read that may not be watched.
const pollInterval = 2 * time.Second

// pollPod is WatchPod without a watch.
func (r *restReader) pollPod(ctx context.Context, name string, changed func(*corev1.Pod) bool) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		pod, err := r.Pod(ctx, name)
		if err != nil {
			return err
		}
		if changed(pod) {
			return nil
		}
	}
}

func watched(event metav1.WatchEvent, changed func(*corev1.Pod) bool) (done bool, err error) {
	switch watch.EventType(event.Type) {
	case watch.Added, watch.Modified:
		var pod corev1.Pod
		if err := json.Unmarshal(event.Object.Raw, &pod); err != nil {
			return false, fmt.Errorf("decode the pod that is watched: %w", err)
		}
		return changed(&pod), nil
	case watch.Deleted:
		var pod corev1.Pod
		err := json.Unmarshal(event.Object.Raw, &pod)
		return false, cmp.Or(err, error(apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)))
	case watch.Error:
		var status apierrors.StatusError
		err := json.Unmarshal(event.Object.Raw, &status.ErrStatus)
		return false, cmp.Or(err, error(&status))
	case watch.Bookmark:
	}
	return false, nil
}

func (r *restReader) Pods(ctx context.Context, labelSelector string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := r.get(ctx, r.core.Get().Namespace(r.namespace).Resource("pods").Param("labelSelector", labelSelector), &list)
	return list.Items, err
}

func (r *restReader) Log(ctx context.Context, pod string, options *corev1.PodLogOptions) (io.ReadCloser, error) {
	request := r.core.Get().Namespace(r.namespace).Resource("pods").Name(pod).SubResource("log")
	parameters, err := queryparams.Convert(options)
	if err != nil {
		return nil, fmt.Errorf("encode the options of the log of pod %s: %w", pod, err)
	}
	for name := range parameters {
		request.Param(name, parameters.Get(name))
	}
	return request.Stream(ctx)
}

func (r *restReader) Events(ctx context.Context, kind, name string) ([]corev1.Event, error) {
	selector := fields.Set{"involvedObject.kind": kind, "involvedObject.name": name}.String()
	var list corev1.EventList
	err := r.get(ctx, r.core.Get().Namespace(r.namespace).Resource("events").Param("fieldSelector", selector), &list)
	return list.Items, err
}
