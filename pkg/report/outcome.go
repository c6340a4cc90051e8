package report

import (
	"hash/fnv"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// Outcome is what the Job says of the run.
type Outcome string

// The outcomes.
const (
	// Waiting: no container of the run has started.
	Waiting Outcome = "waiting"
	// Undecided: the run goes on, or a retry will come.
	Undecided Outcome = "undecided"
	Complete  Outcome = "complete"
	Failed    Outcome = "failed"
	// Stopped by a person.
	Stopped Outcome = "stopped"
	// Lost: neither a Job nor a pod of the run is left that could tell how it ended.
	Lost Outcome = "lost"
)

// Final says whether no later state of the Job can change the outcome.
func (o Outcome) Final() bool { return o == Complete || o == Failed || o == Stopped || o == Lost }

// OutcomeOf reads a Job. FailureTarget and SuccessCriteriaMet count: they come when it is decided, while pods still end.
func OutcomeOf(job *batchv1.Job) Outcome {
	if job == nil {
		return Undecided
	}
	if job.Annotations[identity.AnnotationStopRequested] != "" {
		return Stopped
	}
	for _, condition := range job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete, batchv1.JobSuccessCriteriaMet:
			return Complete
		case batchv1.JobFailed, batchv1.JobFailureTarget:
			return Failed
		case batchv1.JobSuspended:
		}
	}
	if job.DeletionTimestamp != nil {
		return Failed
	}
	return Undecided
}

// OutcomeWith is OutcomeOf for a reporter that has seen one of the Job's pods end before the Job's controller has: it
// says what the controller will make of it. The pod's main container has ended with the code.
func OutcomeWith(job *batchv1.Job, pod *corev1.Pod, exitCode int32) Outcome {
	outcome := OutcomeOf(job)
	switch {
	case job == nil || outcome.Final():
		return outcome
	case exitCode == 0:
		return Complete
	case job.Spec.Suspend != nil && *job.Spec.Suspend, ignored(job, pod):
		return Undecided
	case failures(job)+1 > backoffLimit(job):
		return Failed
	default:
		return Undecided
	}
}

// failures counts as the Job's controller does: what it has counted, and what it is about to.
func failures(job *batchv1.Job) int32 {
	count := job.Status.Failed
	if uncounted := job.Status.UncountedTerminatedPods; uncounted != nil {
		count += int32(len(uncounted.Failed)) //nolint:gosec // A handful.
	}
	return count
}

func backoffLimit(job *batchv1.Job) int32 {
	const kubernetesDefault = 6
	if job.Spec.BackoffLimit == nil {
		return kubernetesDefault
	}
	return *job.Spec.BackoffLimit
}

// ignored says that the Job's podFailurePolicy does not count the pod's failure.
func ignored(job *batchv1.Job, pod *corev1.Pod) bool {
	if job.Spec.PodFailurePolicy == nil || pod == nil {
		return false
	}
	for _, rule := range job.Spec.PodFailurePolicy.Rules {
		for _, pattern := range rule.OnPodConditions {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == pattern.Type && condition.Status == pattern.Status {
					return rule.Action == batchv1.PodFailurePolicyActionIgnore
				}
			}
		}
	}
	return false
}

// TimestampOf is the timestamp that all records of the Job's run have, in milliseconds: the one that the client chose;
// of a scheduled run the Job's creation time, which has whole seconds, spread within its second by the run's id, as no
// two runs of a pipeline may have the same.
func TimestampOf(job *batchv1.Job) int64 {
	if ms, err := strconv.ParseInt(job.Annotations[identity.AnnotationTimestamp], 10, 64); err == nil {
		return ms
	}
	spread := fnv.New32a()
	_, _ = spread.Write([]byte(job.UID)) // It never fails.
	return job.CreationTimestamp.UnixMilli() + int64(spread.Sum32())%time.Second.Milliseconds()
}

// FindingOf is a finding with what the Job itself says of the run.
func FindingOf(job *batchv1.Job, outcome Outcome) Finding {
	return Finding{FQN: job.Annotations[identity.AnnotationFQN], RunID: RunIDOf(job), Timestamp: TimestampOf(job), Outcome: outcome}
}

// RunIDOf is the run's id: the label of an on-demand run's Job, the UID of a CronJob's.
func RunIDOf(job *batchv1.Job) string {
	if id := job.Labels[identity.LabelRunID]; id != "" {
		return id
	}
	return string(job.UID)
}
