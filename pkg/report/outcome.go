package report

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
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

// Sight is what a reporter sees of a run.
type Sight struct {
	// Job is nil where it cannot be read, and was not seen before.
	Job *batchv1.Job
	// JobGone: the Job was deleted.
	JobGone bool
	// Pod is the attempt that counts: that of diagnostics.Attempt, for a reporter in a pod its own; nil for none.
	Pod *corev1.Pod
	// Standalone: the pod belongs to no Job, as one of OpenMetadata's operator.
	Standalone bool
	// Inside: the reporter is in the pod, whose end the Job's controller cannot have counted yet.
	Inside bool
}

// SightOf is what a reporter in the pod of the name sees of a run; if that is none of the run's, the attempt that counts,
// from outside.
func SightOf(run *diagnostics.Run, podName string) Sight {
	out := Sight{Job: run.Job, JobGone: run.JobGone, Standalone: run.Standalone}
	pods := make([]*corev1.Pod, len(run.Pods))
	for i := range run.Pods {
		pods[i] = run.Pods[i].Object
	}
	out.Pod = diagnostics.Attempt(pods)
	at := slices.IndexFunc(pods, func(pod *corev1.Pod) bool { return pod.Name == podName })
	out.Inside = at >= 0
	if out.Inside && !out.completed() {
		out.Pod = pods[at]
	}
	return out
}

// OutcomeOf is what a Job alone says of its run.
func OutcomeOf(job *batchv1.Job) Outcome { return Sight{Job: job}.Outcome() }

// Outcome is what becomes of the run; empty if that cannot be told from what is seen. What a Job has decided stands, except
// by a container that is not the run's. A Job that is deleted fails its run, unless the pod had done its work. Of a Job that
// has not decided, who sees the pod end from inside says what the Job's controller will make of it; others wait for the Job,
// unless it waits for such a container.
func (s Sight) Outcome() Outcome {
	outcome := decided(s.Job)
	if outcome == Failed && s.completed() && diagnostics.EndedApart(s.Job, s.Pod) {
		return Complete
	}
	if outcome.Final() {
		return outcome
	}
	main, ended := s.Main()
	switch {
	case s.jobDeleted():
		return s.afterDeletion()
	case s.Job == nil:
		return s.withoutJob()
	case s.completed():
		return Complete
	case !s.Inside && !s.held() || !s.Ending() || s.interrupted():
		return Undecided
	case ended && main.ExitCode == 0:
		return Complete
	default:
		return s.afterFailure()
	}
}

// injected says that the pod has containers that are not the run's: the Job goes by them too, the run does not.
func (s Sight) injected() bool { return s.Pod != nil && len(diagnostics.Injected(s.Pod)) > 0 }

// completed says that the run's container succeeded in a pod that may yet fail by what was injected into it.
func (s Sight) completed() bool { return s.Pod != nil && diagnostics.Completed(s.Pod) }

// held says that the run's container has ended and an injected one keeps the pod from ending: the Job has not counted it.
func (s Sight) held() bool {
	_, ended := s.Main()
	return ended && s.injected() && s.Pod.Status.Phase != corev1.PodFailed && s.Pod.Status.Phase != corev1.PodSucceeded
}

// jobDeleted says that the Job is deleted, or is about to be.
func (s Sight) jobDeleted() bool {
	return s.JobGone || s.Job != nil && s.Job.DeletionTimestamp != nil
}

// withoutJob is what a pod says that belongs to no Job: nobody tries again. Of others nobody knows what their Job says.
func (s Sight) withoutJob() Outcome {
	main, ended := s.Main()
	switch {
	case !s.Standalone || !ended:
		return ""
	case main.ExitCode == 0:
		return Complete
	case s.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return Failed
	default:
		return ""
	}
}

// afterDeletion: a Job takes its pods along.
func (s Sight) afterDeletion() Outcome {
	main, ended := s.Main()
	switch {
	case ended && main.ExitCode == 0:
		return Complete
	case s.Job != nil, ended, s.Pod != nil && metav1.GetControllerOf(s.Pod) != nil:
		return Failed
	default:
		return "" // There may never have been such a Job.
	}
}

// Ending says that the pod's main container has ended, or is about to as the pod is deleted.
func (s Sight) Ending() bool {
	_, ended := s.Main()
	return ended || s.Pod != nil && s.Pod.DeletionTimestamp != nil
}

// Ended is by when the run had ended: the end of its pod's main container. Where nobody tells that, it is the time of the
// Job's failure; that may be decided much later, as the controller or the API may be away. Zero where neither is known. It is
// never before the end of the attempt that it is of, so that no late word on that attempt supersedes a failure that stands.
func (s Sight) Ended() time.Time {
	if main, ok := s.Main(); ok && main.FinishedAt.Unix() > 0 {
		return by(main.FinishedAt)
	}
	var last time.Time
	if s.Job == nil {
		return last
	}
	for _, condition := range s.Job.Status.Conditions {
		if at := by(condition.LastTransitionTime); fails(condition) && at.After(last) {
			last = at
		}
	}
	return last
}

// by is the end of the second that Kubernetes tells, as it cuts times to whole ones: what came before is before, whatever
// fraction its time has. Zero for a time that is not told.
func by(at metav1.Time) time.Time {
	if at.Unix() <= 0 {
		return time.Time{}
	}
	return at.Add(time.Second)
}

// Superseded is for a finding of the outcome: a run's final state is of the pod's attempt; where another will come, none
// is by the attempt's end.
func (s Sight) Superseded() time.Time {
	switch outcome := s.Outcome(); {
	case outcome.Final() && s.Pod != nil:
		return diagnostics.MainStarted(s.Pod)
	case outcome == Undecided && s.Inside && s.Ending():
		return EndOf(s.Pod)
	default:
		return time.Time{}
	}
}

// EndOf is by when a pod's attempt had ended, in the pod's own time, which its workflow writes too; now, where that is not
// known. However late it is reported, it is not after what comes next.
func EndOf(pod *corev1.Pod) time.Time { return cmp.Or(Sight{Pod: pod}.Ended(), time.Now()) }

// Main is how the pod's main container ended; false where it has not.
func (s Sight) Main() (*corev1.ContainerStateTerminated, bool) {
	if s.Pod == nil {
		return nil, false
	}
	return diagnostics.MainEnded(s.Pod)
}

// decided reads a Job. FailureTarget and SuccessCriteriaMet count: they come when it is decided, while pods still end.
func decided(job *batchv1.Job) Outcome {
	switch {
	case job == nil:
		return Undecided
	case StopRequested(job):
		return Stopped
	case job.Labels[identity.LabelStart] == identity.StartInterrupted:
		return Failed // It never starts.
	}
	for _, condition := range job.Status.Conditions {
		switch {
		case fails(condition):
			return Failed
		case condition.Status == corev1.ConditionTrue && (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobSuccessCriteriaMet):
			return Complete
		}
	}
	return Undecided
}

func fails(condition batchv1.JobCondition) bool {
	return condition.Status == corev1.ConditionTrue && (condition.Type == batchv1.JobFailed || condition.Type == batchv1.JobFailureTarget)
}

// interrupted says that the pod ends because its Job was suspended, as Kueue does it: whatever its exit code, it counts for
// nothing, and the run goes on with another pod when the Job is resumed. That may have happened by now, but the Job's
// controller leaves a trace: it takes its finalizer from a pod that does not count before it deletes it; from one that
// counts only when all its containers have ended, which is not yet, or when the Job is decided.
func (s Sight) interrupted() bool {
	return Suspended(s.Job) || s.Pod.DeletionTimestamp != nil && !slices.Contains(s.Pod.Finalizers, batchv1.JobTrackingFinalizer)
}

// afterFailure is what the Job's controller will make of the pod's failure.
func (s Sight) afterFailure() Outcome {
	switch {
	case ignored(s.Job, s.Pod):
		return Undecided
	case failures(s.Job)+1 > backoffLimit(s.Job):
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
	if job.Spec.PodFailurePolicy == nil {
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
