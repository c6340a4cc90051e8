// Package podend ends pods that a container somebody else added keeps running after the run's own containers have ended.
package podend

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
)

// fieldManager is whose changes these are.
const fieldManager = "pipelinectl"

// Held says that an injected container keeps the pod from ending, and that nobody has ended it yet.
func Held(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && len(diagnostics.InTheWay(pod)) > 0
}

// Step takes the next step to end a held pod, and says whether it was the last: the kubelet does the rest. It goes by the
// pod alone, so whoever has seen the pod change takes the next one, and two at a time do no harm.
//
// The pod is not deleted, as its log would go too and its Job would count a failure. Its activeDeadlineSeconds ends all its
// containers in order, with their grace period; it ends as failed, which is right for a run that failed: the Job counts it
// and tries again. A run that succeeded is counted before that: the Job goes by the phase, and the kubelet, which corrects
// that within seconds, ends nothing by it.
func Step(ctx context.Context, kube kubernetes.Interface, pod *corev1.Pod) (last bool, err error) {
	if !Held(pod) {
		return true, nil
	}
	main, _ := diagnostics.MainEnded(pod)
	if main.ExitCode == 0 && slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer) {
		if pod.Status.Phase == corev1.PodSucceeded {
			return false, nil // The Job is about to count it.
		}
		return false, patch(ctx, kube, pod, map[string]any{"status": map[string]any{"phase": corev1.PodSucceeded}}, "status")
	}
	if deadline := pod.Spec.ActiveDeadlineSeconds; deadline != nil && *deadline <= 1 {
		return true, nil
	}
	return true, patch(ctx, kube, pod, map[string]any{"spec": map[string]any{"activeDeadlineSeconds": 1}})
}

func patch(ctx context.Context, kube kubernetes.Interface, pod *corev1.Pod, change map[string]any, subresources ...string) error {
	change["metadata"] = map[string]any{"uid": pod.UID} // This very pod.
	data, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode the patch of pod %s: %w", pod.Name, err)
	}
	_, err = kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager}, subresources...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end pod %s, which container %s keeps running: %w", pod.Name, diagnostics.InTheWay(pod)[0], err)
	}
	return nil
}
