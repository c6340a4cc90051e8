package reconcile

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipelinectl/pipelinectl/internal/syncbuffer"
)

// metadataOf lists the metadata of the objects that a clientset has.
func metadataOf(kube kubernetes.Interface) *metadatafake.FakeMetadataClient {
	client := metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())
	client.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		var (
			ctx  = context.Background()
			list runtime.Object
			err  error
		)
		selected := metav1.ListOptions{}
		if listed, ok := action.(clienttesting.ListAction); ok {
			selected.FieldSelector = listed.GetListRestrictions().Fields.String()
		}
		switch action.GetResource().Resource {
		case "configmaps":
			list, err = kube.CoreV1().ConfigMaps(namespace).List(ctx, selected)
		case "jobs":
			list, err = kube.BatchV1().Jobs(namespace).List(ctx, selected)
		default:
			list, err = kube.CoreV1().Pods(namespace).List(ctx, selected)
		}
		if err != nil {
			return true, nil, err
		}
		out := &metav1.List{}
		return true, out, meta.EachListItem(list, func(item runtime.Object) error {
			if pod, ok := item.(*corev1.Pod); ok && !fields.ParseSelectorOrDie(selected.FieldSelector).Matches(fields.Set{"status.phase": string(pod.Status.Phase)}) {
				return nil
			}
			object, err := meta.Accessor(item)
			if err == nil {
				out.Items = append(out.Items, runtime.RawExtension{Object: meta.AsPartialObjectMetadata(object)})
			}
			return err
		})
	})
	return client
}

// punctual lists as an API server does, and client-go's fakes do not: no longer than its time is.
type (
	punctual       struct{ metadata.Interface }
	punctualGetter struct{ metadata.Getter }
	punctualList   struct{ metadata.ResourceInterface }
)

func (p punctual) Resource(resource schema.GroupVersionResource) metadata.Getter {
	return punctualGetter{p.Interface.Resource(resource)}
}

func (p punctualGetter) Namespace(namespace string) metadata.ResourceInterface {
	return punctualList{p.Getter.Namespace(namespace)}
}

func (p punctualList) List(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return p.ResourceInterface.List(ctx, options)
}

// logged is what was logged.
type logged struct{ syncbuffer.Buffer }

// lines are those that hold a text.
func (l *logged) lines(text string) int { return strings.Count(l.String(), text) }
