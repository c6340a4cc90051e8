package k8sclient

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// resourceClient is a typed client without its type, so that one piece of code serves all kinds.
type resourceClient struct {
	kind   string
	get    func(ctx context.Context, name string) (metav1.Object, error)
	patch  func(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions) error
	update func(ctx context.Context, object metav1.Object) error
	delete func(ctx context.Context, name string) error
}

// typed is what the typed clients of all kinds have in common.
type typed[T metav1.Object] interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
	Update(ctx context.Context, object T, opts metav1.UpdateOptions) (T, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (T, error)
}

func newResourceClient[T metav1.Object](kind string, client typed[T]) resourceClient {
	return resourceClient{
		kind: kind,
		get: func(ctx context.Context, name string) (metav1.Object, error) {
			return client.Get(ctx, name, metav1.GetOptions{})
		},
		patch: func(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions) error {
			_, err := client.Patch(ctx, name, pt, data, opts)
			return err
		},
		update: func(ctx context.Context, object metav1.Object) error {
			typedObject, ok := object.(T)
			if !ok {
				return fmt.Errorf("%s %s is a %T", kind, object.GetName(), object)
			}
			_, err := client.Update(ctx, typedObject, metav1.UpdateOptions{FieldManager: FieldManager})
			return err
		},
		delete: func(ctx context.Context, name string) error {
			// The default of batch/v1 Jobs would leave their pods running.
			background := metav1.DeletePropagationBackground
			return client.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
		},
	}
}

func (c *Client) configMaps() resourceClient {
	return newResourceClient("ConfigMap", c.kube.CoreV1().ConfigMaps(c.config.Namespace))
}

func (c *Client) secrets() resourceClient {
	return newResourceClient("Secret", c.kube.CoreV1().Secrets(c.config.Namespace))
}

func (c *Client) cronJobs() resourceClient {
	return newResourceClient("CronJob", c.kube.BatchV1().CronJobs(c.config.Namespace))
}

func (c *Client) jobClient() resourceClient {
	return newResourceClient("Job", c.kube.BatchV1().Jobs(c.config.Namespace))
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
	if err := client.delete(ctx, name); err != nil && !apierrors.IsNotFound(err) {
		return false, c.failed(fmt.Sprintf("delete %s %s", client.kind, name), err)
	}
	return true, nil
}
