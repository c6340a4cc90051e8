package k8sclient

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// QueuedRun is a run whose main container has not started.
type QueuedRun struct {
	RunID string              `json:"runId"`
	State omapi.PipelineState `json:"pipelineState"`
	// StartDate and Timestamp are milliseconds since 1970.
	StartDate int64  `json:"startDate"`
	Timestamp int64  `json:"timestamp"`
	JobName   string `json:"jobName"`
	// Reason is why it has not started, as far as Kubernetes says.
	Reason string `json:"reason,omitempty"`
}

// QueuedRuns are the runs that wait, newest first: for their pod, a node, an image, or an object that is missing.
func (c *Client) QueuedRuns(ctx context.Context, fqn string) ([]QueuedRun, error) {
	_, names, err := c.deployed(ctx, fqn)
	if err != nil {
		return nil, err
	}
	jobs, err := c.jobs(ctx, fqn, names)
	if err != nil {
		return nil, err
	}
	var out []QueuedRun
	for i := range jobs {
		job := &jobs[i]
		if finished(job) || job.DeletionTimestamp != nil {
			continue
		}
		started, reason, err := c.waiting(ctx, job)
		if err != nil {
			return nil, err
		}
		if started {
			continue
		}
		timestamp := report.TimestampOf(job)
		out = append(out, QueuedRun{
			RunID: report.RunIDOf(job), State: omapi.StateQueued, StartDate: timestamp, Timestamp: timestamp,
			JobName: job.Name, Reason: reason,
		})
	}
	slices.SortFunc(out, func(a, b QueuedRun) int { return cmp.Compare(b.Timestamp, a.Timestamp) })
	return out, nil
}

// waiting says whether a main container of the Job's has ever started, and if not, why: its sidecar starts before it.
func (c *Client) waiting(ctx context.Context, job *batchv1.Job) (started bool, reason string, err error) {
	pods, err := c.podsOf(ctx, job)
	if err != nil {
		return false, "", err
	}
	for i := range pods {
		if !diagnostics.MainStarted(&pods[i]).IsZero() {
			return true, "", nil
		}
	}
	if len(pods) > 0 {
		return false, c.podReason(ctx, &pods[len(pods)-1]), nil
	}
	if report.Suspended(job) {
		return false, suspendedText(job), nil
	}
	if warning := c.newestWarning(ctx, job.UID); warning != "" {
		return false, warning, nil // A quota, or an admission policy.
	}
	return false, "its pod is not made yet", nil
}

// suspendedText says what a suspended Job waits for.
func suspendedText(job *batchv1.Job) string {
	queue := job.Labels[identity.LabelQueue]
	switch {
	case report.StopRequested(job):
		return fmt.Sprintf("it was stopped at %s, but its Job is suspended, and keeps the schedule from starting another run; end it: pipelinectl kill", job.Annotations[identity.AnnotationStopRequested])
	case report.Abandoned(job):
		return "the command that was starting it was interrupted; it does not start, and the next pipelinectl run, kill, deploy or delete of the pipeline, or pipelinectl serve, removes its Job"
	case report.StartPending(job):
		return "a command is starting it"
	case queue != "":
		return "suspended: waiting for admission by queue " + queue
	default:
		return "the Job is suspended"
	}
}

func (c *Client) podReason(ctx context.Context, pod *corev1.Pod) string {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := status.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
			return strings.TrimSuffix(fmt.Sprintf("%s: %s", w.Reason, w.Message), ": ")
		}
		if t := status.State.Terminated; t != nil && t.Reason != "Completed" { // An init container, or one that could not be started.
			return strings.TrimSuffix(fmt.Sprintf("%s: %s", t.Reason, t.Message), ": ")
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return fmt.Sprintf("%s: %s", condition.Reason, condition.Message)
		}
	}
	if pod.Spec.NodeName == "" {
		return "waits for a node"
	}
	// What stands in the way of the containers, such as a volume or the network, is in no condition.
	if warning := c.newestWarning(ctx, pod.UID, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"); warning != "" {
		return warning
	}
	return "starts on node " + pod.Spec.NodeName
}

// newestWarning is the newest of an object's warnings, of some reasons where they are given. Events are a help only: it is
// empty where there are none, or where they cannot be read.
func (c *Client) newestWarning(ctx context.Context, uid types.UID, reasons ...string) string {
	list, err := c.kube.CoreV1().Events(c.config.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(uid), "type": corev1.EventTypeWarning}.String(),
	})
	if err != nil {
		return ""
	}
	warnings := slices.DeleteFunc(list.Items, func(event corev1.Event) bool {
		return len(reasons) > 0 && !slices.Contains(reasons, event.Reason)
	})
	if len(warnings) == 0 {
		return ""
	}
	newest := slices.MaxFunc(warnings, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	return fmt.Sprintf("%s: %s", newest.Reason, newest.Message)
}
