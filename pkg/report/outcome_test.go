package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	condition := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: status}
	}
	now := metav1.Now()
	stopped := map[string]string{identity.AnnotationStopRequested: "2026-01-02T03:04:05Z"}
	cases := map[string]struct {
		reason     string
		meta       metav1.ObjectMeta
		conditions []batchv1.JobCondition
		want       Outcome
	}{
		"New":             {reason: "nothing is decided yet", want: Undecided},
		"Complete":        {reason: "it is over", conditions: []batchv1.JobCondition{condition(batchv1.JobComplete, corev1.ConditionTrue)}, want: Complete},
		"SuccessCriteria": {reason: "it is decided while pods still end", conditions: []batchv1.JobCondition{condition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue)}, want: Complete},
		"Failed":          {reason: "it is over", conditions: []batchv1.JobCondition{condition(batchv1.JobFailed, corev1.ConditionTrue)}, want: Failed},
		"FailureTarget":   {reason: "it is decided while pods still end", conditions: []batchv1.JobCondition{condition(batchv1.JobFailureTarget, corev1.ConditionTrue)}, want: Failed},
		"NotTrue": {
			reason:     "a condition that is false or unknown says nothing",
			conditions: []batchv1.JobCondition{condition(batchv1.JobFailed, corev1.ConditionFalse), condition(batchv1.JobComplete, corev1.ConditionUnknown)}, want: Undecided,
		},
		"Suspended":    {reason: "a Job that waits goes on later", conditions: []batchv1.JobCondition{condition(batchv1.JobSuspended, corev1.ConditionTrue)}, want: Undecided},
		"Deleted":      {reason: "no retry will come", meta: metav1.ObjectMeta{DeletionTimestamp: &now}, want: Failed},
		"DeletedAfter": {reason: "its end came first", meta: metav1.ObjectMeta{DeletionTimestamp: &now}, conditions: []batchv1.JobCondition{condition(batchv1.JobComplete, corev1.ConditionTrue)}, want: Complete},
		"Interrupted":  {reason: "it will never start", meta: metav1.ObjectMeta{Labels: map[string]string{identity.LabelStart: identity.StartInterrupted}}, want: Failed},
		"Pending":      {reason: "it may yet start", meta: metav1.ObjectMeta{Labels: map[string]string{identity.LabelStart: identity.StartPending}}, want: Undecided},
		"StoppedPending": {
			reason: "a run can be stopped before it has started",
			meta:   metav1.ObjectMeta{Labels: map[string]string{identity.LabelStart: identity.StartPending}, Annotations: stopped}, want: Stopped,
		},
		"Stopped": {reason: "a kill that an earlier version made suspends the Job", meta: metav1.ObjectMeta{Annotations: stopped}, conditions: []batchv1.JobCondition{condition(batchv1.JobSuspended, corev1.ConditionTrue)}, want: Stopped},
		"StoppedFailed": {
			reason: "the pods of a killed run fail, which does not make it a failure",
			meta:   metav1.ObjectMeta{Annotations: stopped}, conditions: []batchv1.JobCondition{condition(batchv1.JobFailed, corev1.ConditionTrue)}, want: Stopped,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := &batchv1.Job{ObjectMeta: tc.meta, Status: batchv1.JobStatus{Conditions: tc.conditions}}
			assert.Equal(t, tc.want, OutcomeOf(job), tc.reason)
		})
	}
	assert.Empty(t, OutcomeOf(nil), "a Job that cannot be read decides nothing")
}

// TestOutcome: what every reporter makes of the Job and a pod, each in its place.
func TestOutcome(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	job := func(edits ...func(*batchv1.Job)) *batchv1.Job {
		out := &batchv1.Job{Spec: batchv1.JobSpec{BackoffLimit: new(int32(1))}}
		for _, edit := range edits {
			edit(out)
		}
		return out
	}
	conditioned := func(kind batchv1.JobConditionType) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue}}
		}
	}
	stopped := func(job *batchv1.Job) {
		job.Annotations = map[string]string{identity.AnnotationStopRequested: "2026-01-02T03:04:05Z"}
	}
	deleted := func(job *batchv1.Job) { job.DeletionTimestamp = &now }
	suspended := func(job *batchv1.Job) { job.Spec.Suspend = new(true) }
	last := func(job *batchv1.Job) { job.Status.Failed = 1 }
	uncounted := func(job *batchv1.Job) {
		job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Failed: []types.UID{"other"}}
	}
	byDefault := func(job *batchv1.Job) { job.Spec.BackoffLimit, job.Status.Failed = nil, 5 }
	ignoring := func(job *batchv1.Job) {
		last(job)
		job.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
			Action:          batchv1.PodFailurePolicyActionIgnore,
			OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
		}}}
	}
	pod := func(state corev1.ContainerState, edits ...func(*corev1.Pod)) *corev1.Pod {
		out := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Finalizers: []string{batchv1.JobTrackingFinalizer}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: state}}},
		}
		for _, edit := range edits {
			edit(out)
		}
		return out
	}
	exit := func(code int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, StartedAt: now, FinishedAt: now}}
	}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	// held adds a container that somebody else's admission does, and that goes on.
	held := func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.ContainerStatuses[0].Name = identity.ContainerName
		pod.Status.ContainerStatuses = append([]corev1.ContainerStatus{{Name: "istio-proxy", State: runs}}, pod.Status.ContainerStatuses...)
	}
	outlived := func(pod *corev1.Pod) {
		held(pod)
		pod.Status.Phase = corev1.PodFailed
		pod.Status.ContainerStatuses[0].State = exit(137)
	}
	deadlineAfter := func(pause time.Duration) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			job.Status.Conditions = []batchv1.JobCondition{{
				Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonDeadlineExceeded, LastTransitionTime: metav1.NewTime(now.Add(pause)),
			}}
		}
	}
	leaving := func(pod *corev1.Pod) { pod.DeletionTimestamp = &now }
	released := func(pod *corev1.Pod) { pod.DeletionTimestamp, pod.Finalizers = &now, nil }
	owned := func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Controller: new(true)}}
	}
	disrupted := func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
	}

	const started, by, ended = "started", "now", "ended" // What Superseded is.
	cases := map[string]struct {
		reason     string
		sight      Sight
		want       Outcome
		superseded string
	}{
		"Stopped":          {reason: "a person's word is first", sight: Sight{Job: job(stopped, conditioned(batchv1.JobFailed)), Pod: pod(exit(0)), Inside: true}, want: Stopped, superseded: started},
		"Decided":          {reason: "the Job decides, not the pod", sight: Sight{Job: job(conditioned(batchv1.JobFailed)), Pod: pod(exit(0)), Inside: true}, want: Failed, superseded: started},
		"DecidedGone":      {reason: "a Job that ended and was deleted has ended", sight: Sight{Job: job(conditioned(batchv1.JobComplete)), JobGone: true, Pod: pod(exit(3))}, want: Complete, superseded: started},
		"DeletedRunning":   {reason: "it takes its pods along", sight: Sight{Job: job(deleted), Pod: pod(runs), Inside: true}, want: Failed, superseded: started},
		"DeletedDone":      {reason: "the work is done, whoever deletes the Job then", sight: Sight{Job: job(deleted), Pod: pod(exit(0))}, want: Complete, superseded: started},
		"DeletedNoPod":     {reason: "nothing will run", sight: Sight{Job: job(deleted)}, want: Failed},
		"GoneDone":         {reason: "as of one that is being deleted", sight: Sight{Job: job(), JobGone: true, Pod: pod(exit(0))}, want: Complete, superseded: started},
		"GoneFailed":       {reason: "no retry will come", sight: Sight{Job: job(), JobGone: true, Pod: pod(exit(1))}, want: Failed, superseded: started},
		"GoneNoPod":        {reason: "it was there, and is over", sight: Sight{Job: job(), JobGone: true}, want: Failed},
		"UnseenDone":       {reason: "the pod alone can say that it is done", sight: Sight{JobGone: true, Pod: pod(exit(0)), Inside: true}, want: Complete, superseded: started},
		"UnseenFailed":     {reason: "or that it failed", sight: Sight{JobGone: true, Pod: pod(exit(1)), Inside: true}, want: Failed, superseded: started},
		"UnseenOwned":      {reason: "a pod of a Job that is gone ends", sight: Sight{JobGone: true, Pod: pod(runs, owned), Inside: true}, want: Failed, superseded: started},
		"UnseenStranger":   {reason: "a name that is mistyped is of no Job", sight: Sight{JobGone: true, Pod: pod(runs), Inside: true}, want: ""},
		"UnseenNoPod":      {reason: "so it may be without a pod", sight: Sight{JobGone: true}, want: ""},
		"Unreadable":       {reason: "who may not read the Job cannot tell", sight: Sight{Pod: pod(exit(1)), Inside: true}, want: ""},
		"UnreadableDone":   {reason: "also of a success: a person may have stopped it", sight: Sight{Pod: pod(exit(0)), Inside: true}, want: ""},
		"Nothing":          {reason: "nothing is known", want: ""},
		"New":              {reason: "no pod is made yet", sight: Sight{Job: job()}, want: Undecided},
		"Running":          {reason: "it goes on", sight: Sight{Job: job(), Pod: pod(runs), Inside: true}, want: Undecided},
		"Done":             {reason: "the Job will complete", sight: Sight{Job: job(), Pod: pod(exit(0)), Inside: true}, want: Complete, superseded: started},
		"DoneOutside":      {reason: "from outside the Job is waited for", sight: Sight{Job: job(), Pod: pod(exit(0))}, want: Undecided},
		"FailedOutside":    {reason: "it may have counted the failure already", sight: Sight{Job: job(last), Pod: pod(exit(1))}, want: Undecided},
		"Retry":            {reason: "another attempt will come", sight: Sight{Job: job(), Pod: pod(exit(1)), Inside: true}, want: Undecided, superseded: ended},
		"Last":             {reason: "the retries are used up", sight: Sight{Job: job(last), Pod: pod(exit(1)), Inside: true}, want: Failed, superseded: started},
		"LastUncounted":    {reason: "also those that are about to be counted", sight: Sight{Job: job(uncounted), Pod: pod(exit(1)), Inside: true}, want: Failed, superseded: started},
		"SixByDefault":     {reason: "Kubernetes' own limit", sight: Sight{Job: job(byDefault), Pod: pod(exit(1)), Inside: true}, want: Undecided, superseded: ended},
		"Suspended":        {reason: "a Job that waits goes on later", sight: Sight{Job: job(last, suspended), Pod: pod(exit(143)), Inside: true}, want: Undecided, superseded: ended},
		"SuspendedDone":    {reason: "its work does not count: the pod is deleted before it can", sight: Sight{Job: job(last, suspended), Pod: pod(exit(0)), Inside: true}, want: Undecided, superseded: ended},
		"Resumed":          {reason: "the pod of a suspension does not count, whatever the Job says by now", sight: Sight{Job: job(last), Pod: pod(exit(143), released), Inside: true}, want: Undecided, superseded: ended},
		"ResumedDone":      {reason: "nor does its success", sight: Sight{Job: job(last), Pod: pod(exit(0), released), Inside: true}, want: Undecided, superseded: ended},
		"ResumedEnding":    {reason: "nor while it ends", sight: Sight{Job: job(last), Pod: pod(runs, released), Inside: true}, want: Undecided, superseded: by},
		"Released":         {reason: "the pods of a Job that has decided are released too", sight: Sight{Job: job(conditioned(batchv1.JobFailureTarget)), Pod: pod(exit(143), released), Inside: true}, want: Failed, superseded: started},
		"StoppedReleased":  {reason: "also of one that was stopped", sight: Sight{Job: job(stopped), Pod: pod(exit(143), released), Inside: true}, want: Stopped, superseded: started},
		"Drained":          {reason: "a disruption is no failure of the run's", sight: Sight{Job: job(ignoring), Pod: pod(exit(143), disrupted), Inside: true}, want: Undecided, superseded: ended},
		"FailedUndrained":  {reason: "another failure counts", sight: Sight{Job: job(ignoring), Pod: pod(exit(1)), Inside: true}, want: Failed, superseded: started},
		"Deleting":         {reason: "the pod will end", sight: Sight{Job: job(), Pod: pod(runs, leaving), Inside: true}, want: Undecided, superseded: by},
		"DeletingLast":     {reason: "and with it the run", sight: Sight{Job: job(last), Pod: pod(runs, leaving), Inside: true}, want: Failed, superseded: started},
		"DeletingOutside":  {reason: "the Job has yet to count it", sight: Sight{Job: job(last), Pod: pod(runs, leaving)}, want: Undecided},
		"HeldDone":         {reason: "the run has succeeded, whatever keeps its pod", sight: Sight{Job: job(), Pod: pod(exit(0), held)}, want: Complete, superseded: started},
		"HeldDoneInside":   {reason: "the same from inside", sight: Sight{Job: job(), Pod: pod(exit(0), held), Inside: true}, want: Complete, superseded: started},
		"HeldRuns":         {reason: "it goes on", sight: Sight{Job: job(last), Pod: pod(runs, held)}, want: Undecided},
		"HeldRetry":        {reason: "another attempt will come", sight: Sight{Job: job(), Pod: pod(exit(1), held)}, want: Undecided},
		"HeldLast":         {reason: "the Job cannot have counted a pod that has not ended", sight: Sight{Job: job(last), Pod: pod(exit(1), held)}, want: Failed, superseded: started},
		"HeldDeadline":     {reason: "a deadline afterwards changes nothing", sight: Sight{Job: job(deadlineAfter(time.Second)), Pod: pod(exit(0), held)}, want: Complete, superseded: started},
		"HeldByDeadline":   {reason: "a process that ends well when its time is over has not done its work", sight: Sight{Job: job(deadlineAfter(0)), Pod: pod(exit(0), held)}, want: Failed, superseded: started},
		"HeldStopped":      {reason: "a person's word is first", sight: Sight{Job: job(stopped), Pod: pod(exit(0), held)}, want: Stopped, superseded: started},
		"ReleasedFailed":   {reason: "the Job counts how the injected container ended; the run does not", sight: Sight{Job: job(conditioned(batchv1.JobFailed)), Pod: pod(exit(0), outlived)}, want: Complete, superseded: started},
		"ReleasedRetry":    {reason: "also while it tries again", sight: Sight{Job: job(), Pod: pod(exit(0), outlived)}, want: Complete, superseded: started},
		"ReleasedCrash":    {reason: "the Job has counted it by now", sight: Sight{Job: job(last), Pod: pod(exit(3), outlived)}, want: Undecided},
		"NeverStarted":     {reason: "an earlier attempt's end may be the run's", sight: Sight{Job: job(conditioned(batchv1.JobFailed)), Pod: pod(corev1.ContainerState{})}, want: Failed},
		"StartErrorAt1970": {reason: "a process that could not start has no start", sight: Sight{Job: job(last), Pod: pod(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", StartedAt: metav1.Unix(0, 0), FinishedAt: now}}), Inside: true}, want: Failed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, tc.sight.Outcome(), tc.reason)
			superseded := tc.sight.Superseded()
			switch tc.superseded {
			case started:
				assert.Equal(t, now.Time, superseded, tc.reason)
			case ended:
				assert.Equal(t, now.Add(time.Second), superseded, tc.reason)
			case by:
				assert.WithinRange(t, superseded, now.Time, time.Now(), tc.reason)
			default:
				assert.Zero(t, superseded, tc.reason)
			}
		})
	}
}

// TestEnded: what stands after an attempt is not older than what is said of it, in whole seconds too.
func TestEnded(t *testing.T) {
	t.Parallel()
	at := func(seconds int64) metav1.Time { return metav1.Unix(seconds, 0) }
	pod := func(finished metav1.Time) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: finished}},
		}}}}
	}
	job := func(kind batchv1.JobConditionType, status corev1.ConditionStatus, since metav1.Time) *batchv1.Job {
		return &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: status, LastTransitionTime: since}}}}
	}
	cases := map[string]struct {
		reason string
		sight  Sight
		want   int64
	}{
		"Nothing":     {reason: "it has not ended"},
		"Pod":         {reason: "at some time of that second", sight: Sight{Pod: pod(at(100))}, want: 101},
		"FailedLater": {reason: "the Job's word may come much later: its controller may have been away", sight: Sight{Job: job(batchv1.JobFailed, corev1.ConditionTrue, at(703)), Pod: pod(at(100))}, want: 101},
		"Deadline":    {reason: "it ends pods that take their time", sight: Sight{Job: job(batchv1.JobFailureTarget, corev1.ConditionTrue, at(100)), Pod: pod(at(130))}, want: 131},
		"NoPod":       {reason: "a pod may be gone", sight: Sight{Job: job(batchv1.JobFailed, corev1.ConditionTrue, at(103))}, want: 104},
		"PodUntold":   {reason: "its node was lost", sight: Sight{Job: job(batchv1.JobFailed, corev1.ConditionTrue, at(103)), Pod: pod(metav1.Time{})}, want: 104},
		"NotFailed":   {reason: "a condition that is false is no end", sight: Sight{Job: job(batchv1.JobFailed, corev1.ConditionFalse, at(103)), Pod: pod(at(100))}, want: 101},
		"Complete":    {reason: "a success ends with its process", sight: Sight{Job: job(batchv1.JobComplete, corev1.ConditionTrue, at(103)), Pod: pod(at(100))}, want: 101},
		"Untold":      {reason: "a kubelet that has lost a container does not know when it ended", sight: Sight{Pod: pod(metav1.Time{})}},
		"1970":        {reason: "nor does a runtime that says so", sight: Sight{Pod: pod(at(0))}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.want == 0 {
				assert.Zero(t, tc.sight.Ended(), tc.reason)
				return
			}
			assert.Equal(t, tc.want, tc.sight.Ended().Unix(), tc.reason)
		})
	}
}

func TestTimestampOf(t *testing.T) {
	t.Parallel()
	created := metav1.NewTime(time.UnixMilli(started))
	cases := map[string]struct {
		reason      string
		annotations map[string]string
		want        int64
	}{
		"Chosen":    {reason: "the client wrote the record with it", annotations: map[string]string{identity.AnnotationTimestamp: "1700000000123"}, want: 1_700_000_000_123},
		"Scheduled": {reason: "nobody chose one, and two Jobs may be created in one second", want: started + 169},
		"Broken":    {reason: "an annotation can be edited", annotations: map[string]string{identity.AnnotationTimestamp: "soon"}, want: started + 169},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "0190b0a0-7c1e-4b7e-9d3e-0a1b2c3d4e5f", Annotations: tc.annotations, CreationTimestamp: created}}
			assert.Equal(t, tc.want, TimestampOf(job), tc.reason)
		})
	}
}
