package harness

import (
	"context"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// Workflows are the user agents of both ingestion images, as a regular expression.
const Workflows = "ingestion-light|customdatabase_metadata"

var workflows = regexp.MustCompile(Workflows)

// OfWorkflow says that a write is the workflow's own, not one of those who start or watch it.
func OfWorkflow(write admin.Write) bool { return workflows.MatchString(write.UserAgent) }

// ContainerEnded says when the ingestion container of a run's newest pod ended, to the second, and whether no pod is left.
func (c *Cluster) ContainerEnded(ctx context.Context, namespace, runID string) (time.Time, bool, error) {
	pods, err := c.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: identity.LabelRunID + "=" + runID})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("list the pods of run %s in namespace %s: %w", runID, namespace, err)
	}
	var newest *corev1.Pod
	for i := range pods.Items {
		if pod := &pods.Items[i]; newest == nil || pod.CreationTimestamp.After(newest.CreationTimestamp.Time) {
			newest = pod
		}
	}
	if newest == nil {
		return time.Time{}, true, nil
	}
	for _, status := range newest.Status.ContainerStatuses {
		if status.Name == identity.ContainerName && status.State.Terminated != nil {
			return status.State.Terminated.FinishedAt.Time, false, nil
		}
	}
	return time.Time{}, false, nil
}
