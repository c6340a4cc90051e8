package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/internal/podend"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// deletionSlack is how long after the end of its grace period a deleted pod counts as ended, though nobody says so: its
// node may be gone.
const deletionSlack = 10 * time.Second

// run is what was seen of one run. Objects are those of the informers and must not be changed.
type run struct {
	job     *batchv1.Job
	jobGone bool
	pods    map[types.UID]*corev1.Pod
	// podsGone are pods that were deleted; pods has the last of them.
	podsGone map[types.UID]bool

	// told is the outcome that was last reported, attempts the failed ones that were.
	told     report.Outcome
	attempts map[types.UID]bool
	// released are pods that an injected container kept running, and for which no more can be done from here.
	released map[types.UID]bool
	// decided is when the end was first seen, reportedAt when it was reported, lookAgain until when something may come after
	// it, verified that nothing has.
	decided    time.Time
	reportedAt time.Time
	lookAgain  time.Time
	verified   bool
	// resumed is when the Job was last resumed to end it.
	resumed time.Time
	// unknown says that OpenMetadata did not know the run's pipeline when it was last asked.
	unknown bool
}

func newRun() *run {
	return &run{pods: map[types.UID]*corev1.Pod{}, podsGone: map[types.UID]bool{}, attempts: map[types.UID]bool{}, released: map[types.UID]bool{}}
}

func (r *run) snapshot() run {
	out := *r
	out.pods, out.podsGone, out.attempts, out.released = maps.Clone(r.pods), maps.Clone(r.podsGone), maps.Clone(r.attempts), maps.Clone(r.released)
	return out
}

func (r *run) fqn() string { return r.job.Annotations[identity.AnnotationFQN] }

func (r *run) outcome() report.Outcome {
	return report.Sight{Job: r.job, JobGone: r.jobGone, Pod: r.attempt()}.Outcome()
}

// attempt is the pod that decides how the run ends; nil for none.
func (r *run) attempt() *corev1.Pod { return diagnostics.Attempt(r.byAge()) }

// between says that the newest attempt has ended and the Job has not decided yet what follows: the run is not running.
func (r *run) between() bool {
	newest := r.newest()
	if newest == nil {
		return false
	}
	_, ended := diagnostics.MainEnded(newest)
	return ended
}

func (r *run) newest() *corev1.Pod {
	pods := r.byAge()
	if len(pods) == 0 {
		return nil
	}
	return pods[0]
}

// byAge is the pods, newest first.
func (r *run) byAge() []*corev1.Pod {
	return slices.SortedFunc(maps.Values(r.pods), func(a, b *corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// known is the pods as diagnostics take them.
func (r *run) known() []corev1.Pod {
	out := make([]corev1.Pod, 0, len(r.pods))
	for _, pod := range r.byAge() {
		seen := *pod
		if r.podsGone[pod.UID] && seen.DeletionTimestamp == nil {
			// Deleted by force: it was never seen being deleted.
			unknown := pod.CreationTimestamp
			seen.DeletionTimestamp = &unknown
		}
		out = append(out, seen)
	}
	return out
}

// superseded is until when final states of the record are of attempts that do not count.
func (r *run) superseded() time.Time {
	if attempt := r.attempt(); attempt != nil && attempt.UID != r.newest().UID {
		return diagnostics.MainStarted(attempt) // It completed the run.
	}
	return r.mainStarted()
}

// mainStarted says when the newest attempt's main container started; zero where none has.
func (r *run) mainStarted() time.Time {
	var newest time.Time
	for _, pod := range r.pods {
		if at := diagnostics.MainStarted(pod); at.After(newest) {
			newest = at
		}
	}
	return newest
}

// ended is by when the run had ended, with the attempt that decides it; zero where that is not known.
func (r *run) ended() time.Time { return report.Sight{Job: r.job, Pod: r.attempt()}.Ended() }

// isHeld says that a pod does not end by itself, and that it can be ended.
func (r *run) isHeld(pod *corev1.Pod) bool {
	return !r.podsGone[pod.UID] && !r.released[pod.UID] && podend.Held(pod)
}

// heldSince is when the run's container ended in a pod that is held.
func heldSince(pod *corev1.Pod) time.Time {
	main, ended := diagnostics.MainEnded(pod)
	if !ended {
		return time.Time{}
	}
	return main.FinishedAt.Time
}

// reporting says that a pod of the run may still report its end itself, and it is left to it.
func (r *run) reporting(now time.Time) bool {
	for uid, pod := range r.pods {
		if r.podsGone[uid] || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || !diagnostics.AnyStarted(pod) {
			continue
		}
		if main, ended := diagnostics.MainEnded(pod); ended && len(diagnostics.InTheWay(pod)) > 0 && now.After(main.FinishedAt.Add(heldSlack)) {
			continue
		}
		if pod.DeletionTimestamp != nil && now.After(pod.DeletionTimestamp.Add(deletionSlack)) {
			continue
		}
		return true
	}
	return false
}
