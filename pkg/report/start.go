package report

import (
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// StartTimeout is how long a Job may wait for the command that starts its run. After that somebody else ends it.
const StartTimeout = time.Minute

// StartPending says that the Job waits for the command that starts its run. It has no record yet, or one of which the
// timestamp may still change; nobody else writes it.
func StartPending(job *batchv1.Job) bool {
	return job.Labels[identity.LabelStart] == identity.StartPending && !StopRequested(job)
}

// Abandoned says that the Job's run never starts, or that the command that was to start it has taken too long.
func Abandoned(job *batchv1.Job) bool {
	interrupted := job.Labels[identity.LabelStart] == identity.StartInterrupted && !StopRequested(job)
	return interrupted || StartPending(job) && time.Since(job.CreationTimestamp.Time) > StartTimeout
}

// StopRequested says that a person asked for the Job's run to end.
func StopRequested(job *batchv1.Job) bool {
	return job.Annotations[identity.AnnotationStopRequested] != ""
}

// Suspended says that the Job has no pods until somebody resumes it.
func Suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

// InterruptPatch is the JSON patch that ends a pending start for good: the Job is resumed with its time over, so that its
// controller fails it without a pod. It only goes through while the start is pending, as does the patch that starts the run.
func InterruptPatch() []byte {
	label := "/metadata/labels/" + strings.ReplaceAll(identity.LabelStart, "/", "~1")
	return []byte(`[
		{"op": "test", "path": "` + label + `", "value": "` + identity.StartPending + `"},
		{"op": "add", "path": "` + label + `", "value": "` + identity.StartInterrupted + `"},
		{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 0},
		{"op": "add", "path": "/spec/suspend", "value": false}
	]`)
}
