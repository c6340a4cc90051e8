package diagnostics

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// Category is a stable name for the cause of an end.
type Category string

// The categories; their values do not change.
const (
	CategorySucceeded        Category = "Succeeded"
	CategoryKilled           Category = "Killed"
	CategoryDeleted          Category = "Deleted"
	CategoryDisrupted        Category = "Disrupted"
	CategoryDeadlineExceeded Category = "DeadlineExceeded"
	CategoryOOMKilled        Category = "OOMKilled"
	CategoryImagePull        Category = "ImagePull"
	CategoryConfigMissing    Category = "ConfigMissing"
	CategoryStartError       Category = "StartError"
	CategoryApplicationError Category = "ApplicationError"
	CategoryUnknown          Category = "Unknown"
)

// Verdict is the cause of a run's end, or of its standstill.
type Verdict struct {
	Category Category `json:"category"`
	// Summary is one sentence that says what happened to which object.
	Summary string `json:"summary"`
	// Advice is one sentence that says what to do.
	Advice string `json:"advice,omitempty"`
}

// Judge finds the cause. The Job is asked first, as it decides; then the newest attempt.
func (r *Run) Judge() Verdict {
	if v, ok := r.judgeJob(); ok {
		return v
	}
	if len(r.Pods) == 0 {
		return Verdict{CategoryUnknown, fmt.Sprintf("Job %s has no pod that could be read", r.JobName), "look at the problems listed, and at the Job's events"}
	}
	pod := &r.Pods[0]
	// The ingestion container last: when an init container failed, it tells nothing.
	taken := pod.Disruption != "" || pod.Deleted != nil
	for _, container := range pod.Containers {
		if taken && container.wasEnded() {
			continue // The signal is how the pod was taken away, not why it ended.
		}
		if v, ok := judgeContainer(pod, &container); ok {
			return v
		}
	}
	switch {
	case pod.Disruption != "":
		return Verdict{CategoryDisrupted, fmt.Sprintf("pod %s was disrupted: %s", pod.Name, pod.Disruption), "nothing to do where the Job tries again; otherwise run the pipeline again"}
	case pod.Deleted != nil:
		return Verdict{CategoryDeleted, fmt.Sprintf("pod %s is being deleted", pod.Name), "see the events for who deletes it"}
	default:
		return Verdict{CategoryUnknown, fmt.Sprintf("pod %s is in phase %s", pod.Name, pod.Phase), "see the events and the log"}
	}
}

func (r *Run) judgeJob() (Verdict, bool) {
	if r.Job == nil {
		return Verdict{}, false
	}
	if at := r.Job.Annotations[identity.AnnotationStopRequested]; at != "" {
		return Verdict{CategoryKilled, fmt.Sprintf("Job %s was stopped by a person at %s", r.JobName, at), "run the pipeline again when wanted"}, true
	}
	for _, condition := range r.Job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch {
		case condition.Type == batchv1.JobComplete:
			return Verdict{Category: CategorySucceeded, Summary: fmt.Sprintf("Job %s completed", r.JobName)}, true
		case condition.Reason == batchv1.JobReasonDeadlineExceeded:
			return Verdict{
				CategoryDeadlineExceeded, fmt.Sprintf("Job %s ran longer than its activeDeadlineSeconds%s", r.JobName, deadlineOf(r.Job)),
				"raise activeDeadlineSeconds, or find in the log what took so long",
			}, true
		}
	}
	if r.Job.DeletionTimestamp != nil {
		return Verdict{CategoryDeleted, fmt.Sprintf("Job %s is being deleted", r.JobName), "run the pipeline again when wanted"}, true
	}
	return Verdict{}, false
}

func deadlineOf(job *batchv1.Job) string {
	if job.Spec.ActiveDeadlineSeconds == nil {
		return ""
	}
	return fmt.Sprintf(" of %d s", *job.Spec.ActiveDeadlineSeconds)
}

func judgeContainer(pod *Pod, c *Container) (Verdict, bool) {
	where := fmt.Sprintf("container %s of pod %s", c.Name, pod.Name)
	switch {
	case c.State == stateWaiting && slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}, c.Reason):
		return Verdict{CategoryImagePull, fmt.Sprintf("%s cannot start: %s: %s", where, c.Reason, c.Message), "check the image's name, its registry and the pull secrets"}, true
	case c.State == stateWaiting && c.Reason == "CreateContainerConfigError":
		return Verdict{CategoryConfigMissing, fmt.Sprintf("%s cannot start: %s", where, c.Message), "deploy the pipeline again"}, true
	case c.State != stateTerminated || c.ExitCode == 0 && c.Reason != "OOMKilled":
		return Verdict{}, false
	case c.Reason == "OOMKilled":
		return Verdict{CategoryOOMKilled, where + " used more memory than its limit and was killed", "raise resources.limits.memory"}, true
	case c.Reason == "StartError" || c.Reason == "ContainerCannotRun":
		return Verdict{CategoryStartError, fmt.Sprintf("%s cannot start: %s", where, c.Message), "check the image: its command, and exithandler on its PATH"}, true
	default:
		return Verdict{CategoryApplicationError, fmt.Sprintf("%s ended with exit code %d%s", where, c.ExitCode, signalOf(c.ExitCode)), "find the error in the log"}, true
	}
}

// wasEnded says that the container ended by a signal that the kubelet sends.
func (c *Container) wasEnded() bool {
	return c.State == stateTerminated && c.Reason != "OOMKilled" && (c.ExitCode == 128+9 || c.ExitCode == 128+15)
}

// signalOf reads the shell's convention 128+n.
func signalOf(code int32) string {
	const base, last = 128, 128 + 64
	if code <= base || code > last {
		return ""
	}
	return fmt.Sprintf(" (signal %d)", code-base)
}
