package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/internal/podend"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

const (
	// announceSlack is how long a run's own process has to make its record running.
	announceSlack = 10 * time.Second
	// heldSlack is how long the reporters of a pod that an injected container keeps running have to report its end, and to
	// end that container if it can be asked to.
	heldSlack = 5 * time.Second
	// attemptSlack is how long a pod's own reporters have to report that it failed, after it has.
	attemptSlack = 2 * time.Second
	// reportingLimit is how long after the end was decided a pod is left to report it.
	reportingLimit = 90 * time.Second
	reportingPoll  = time.Second
	// resumeInterval is the least time between two tries to end a Job that is suspended.
	resumeInterval = 5 * time.Second
	// verifyAfter is when the record is looked at again: a workflow that was being killed may have written late.
	verifyAfter = 10 * time.Second
)

// reporter is who the step of a record says it is from.
const reporter = "pipelinectl serve"

// reconcile brings the record of a run up to date, and says after which time to look again; zero for when it changes.
func (r *Reconciler) reconcile(ctx context.Context, known, seen *run) (time.Duration, error) {
	stuck := seen.fqn() != "" && !seen.jobGone && report.StopRequested(seen.job) && report.Suspended(seen.job)
	if !stuck && (seen.verified || seen.fqn() == "") {
		seen.verified = true // A Job of no pipeline has no record.
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	switch {
	case stuck:
		return r.resume(ctx, known, seen)
	case !seen.jobGone && report.StartPending(seen.job):
		return r.awaitStart(ctx, seen)
	}
	if outcome := seen.outcome(); outcome.Final() {
		return r.end(ctx, known, seen, outcome)
	}
	if id := report.RunIDOf(seen.job); !r.tellsOrigin(ctx, id) {
		r.ledger.add(id, seen.fqn())
	}
	return r.progress(ctx, known, seen)
}

// awaitStart leaves a run alone that a command is starting, and interrupts a start that takes too long: then its command
// was interrupted.
func (r *Reconciler) awaitStart(ctx context.Context, seen *run) (time.Duration, error) {
	if !report.Abandoned(seen.job) {
		return time.Until(seen.job.CreationTimestamp.Add(report.StartTimeout)) + time.Second, nil
	}
	err := r.patch(ctx, seen, types.JSONPatchType, report.InterruptPatch())
	if err == nil {
		r.log(seen).Warn("a run is interrupted that was not started in time", "limit", report.StartTimeout.String())
	}
	if apierrors.IsInvalid(err) {
		err = nil // It was started meanwhile, or stopped, which will be seen.
	}
	return 0, err
}

// resume lets the controller fail a Job that a person has stopped and that is suspended, as an earlier version of
// pipelinectl kill left it, or Kueue: as long as it is there, the schedule starts no other.
func (r *Reconciler) resume(ctx context.Context, known, seen *run) (time.Duration, error) {
	if left := time.Until(seen.resumed.Add(resumeInterval)); left > 0 {
		return left, nil // Whoever has suspended it again may do so once more.
	}
	now := time.Now()
	if err := r.patch(ctx, seen, types.MergePatchType, []byte(`{"spec":{"suspend":false,"activeDeadlineSeconds":0}}`)); err != nil {
		return 0, err
	}
	r.log(seen).Info("the Job of a run that was stopped is ended")
	r.remember(known, func(run *run) { run.resumed = now })
	return resumeInterval, nil
}

func (r *Reconciler) patch(ctx context.Context, seen *run, kind types.PatchType, patch []byte) error {
	_, err := r.Kube.BatchV1().Jobs(r.Namespace).Patch(ctx, seen.job.Name, kind, patch, metav1.PatchOptions{FieldManager: "pipelinectl"})
	switch {
	case apierrors.IsNotFound(err):
		return nil // It will be told.
	case apierrors.IsForbidden(err):
		return fmt.Errorf("cannot end Job %s: %w; give the service account the Role in deploy/", seen.job.Name, err)
	default:
		return err
	}
}

// progress is for a run that goes on: queued until a container of it has started, running after, and each attempt that
// failed is a step of its own. The pod's own reporters come first; what they have written is not written again.
func (r *Reconciler) progress(ctx context.Context, known, seen *run) (time.Duration, error) {
	started := seen.mainStarted()
	if started.IsZero() {
		if seen.told != "" {
			return 0, nil
		}
		return 0, r.tell(ctx, known, seen, report.Waiting)
	}
	if again, err := r.failedAttempts(ctx, known, seen); again > 0 || err != nil {
		return again, err
	}
	if again, err := r.heldAttempts(ctx, known, seen); again > 0 || err != nil {
		return again, err
	}
	if seen.told == report.Undecided || seen.between() {
		return 0, nil
	}
	if left := time.Until(started.Add(announceSlack)); left > 0 {
		return left, nil
	}
	return r.announce(ctx, known, seen)
}

// announce tells that a run has started, if nobody in its pod has. What was seen of the pod may be old: it is read again,
// as a run whose container has ended is not running any more.
func (r *Reconciler) announce(ctx context.Context, known, seen *run) (time.Duration, error) {
	finding := report.FindingOf(seen.job, report.Undecided)
	finding.Superseded = seen.mainStarted()
	missing, err := report.Missing(ctx, r.Server, finding, "")
	if err != nil {
		return 0, err
	}
	if missing {
		pod, err := r.Reader.Pod(ctx, seen.newest().Name)
		switch {
		case apierrors.IsNotFound(err):
			return reportingPoll, nil // It will be told.
		case err != nil:
			return 0, err
		case pod.UID != seen.newest().UID:
			return reportingPoll, nil // As above.
		}
		if _, ended := diagnostics.MainEnded(pod); ended {
			return reportingPoll, nil
		}
	}
	return 0, r.tell(ctx, known, seen, report.Undecided)
}

// heldAttempts ends the pods of attempts that have failed, so that the Job can try again.
func (r *Reconciler) heldAttempts(ctx context.Context, known, seen *run) (time.Duration, error) {
	for _, pod := range seen.byAge() {
		if !seen.isHeld(pod) {
			continue
		}
		if left := time.Until(heldSince(pod).Add(heldSlack)); left > 0 {
			return left, nil
		}
		if !seen.attempts[pod.UID] {
			if err := r.tellAttempt(ctx, known, seen, pod); err != nil {
				return 0, err
			}
		}
	}
	return r.release(ctx, known, seen), nil
}

// release ends the run's pods that an injected container keeps running, and says when to look again.
func (r *Reconciler) release(ctx context.Context, known, seen *run) time.Duration {
	again := time.Duration(0)
	for _, pod := range seen.byAge() {
		if !seen.isHeld(pod) {
			continue
		}
		log := r.log(seen).With("pod", pod.Name, "containers", diagnostics.InTheWay(pod))
		last, err := podend.Step(ctx, r.Kube, pod)
		switch {
		case diagnostics.Denied(err):
			log.Error("the pod does not end, as a container that is not the run's keeps running", "error", err, "advice", "give the service account the Role in deploy/")
		case err != nil:
			log.Error("the pod does not end yet, as a container that is not the run's keeps running", "error", err)
			again = reportingPoll
			continue
		case !last:
			again = reportingPoll
			continue
		default:
			log.Info("the pod is ended, as a container that is not the run's would keep it running")
		}
		r.remember(known, func(run *run) { run.released[pod.UID] = true })
	}
	return again
}

// failedAttempts tells of pods that have failed, where the Job will try again.
func (r *Reconciler) failedAttempts(ctx context.Context, known, seen *run) (time.Duration, error) {
	for _, pod := range seen.byAge() {
		if pod.Status.Phase != corev1.PodFailed || seen.attempts[pod.UID] || !counted(pod) {
			continue
		}
		if main, ok := diagnostics.MainEnded(pod); ok {
			if left := time.Until(main.FinishedAt.Add(attemptSlack)); left > 0 {
				return left, nil
			}
		}
		// The two informers do not go together: the Job may have failed by this very attempt.
		job, err := r.Reader.Job(ctx, seen.job.Name)
		if apierrors.IsNotFound(err) || err == nil && (job.UID != seen.job.UID || report.OutcomeOf(job).Final()) {
			return reportingPoll, nil // It will be told.
		}
		if err != nil {
			return 0, err
		}
		if err := r.tellAttempt(ctx, known, seen, pod); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// counted says that the Job's controller has decided what to make of a pod that has ended.
func counted(pod *corev1.Pod) bool {
	return !slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

func (r *Reconciler) tell(ctx context.Context, known, seen *run, outcome report.Outcome) error {
	finding := report.FindingOf(seen.job, outcome)
	finding.Superseded = seen.mainStarted()
	result, err := report.Report(ctx, r.Server, finding)
	if err != nil {
		return err
	}
	if result.Written {
		r.log(seen).Info("the run's state is reported", "state", result.State)
	}
	r.remember(known, func(run *run) { run.told = outcome })
	return nil
}

func (r *Reconciler) tellAttempt(ctx context.Context, known, seen *run, pod *corev1.Pod) error {
	finding := report.FindingOf(seen.job, report.Undecided)
	if finding.Superseded = seen.mainStarted(); pod.UID == seen.newest().UID {
		finding.Superseded = report.EndOf(pod)
	}
	diagnosed := r.collect(ctx, seen)
	for i := range diagnosed.Pods {
		if diagnosed.Pods[i].Name == pod.Name {
			step := diagnosed.AttemptStep(i, reporter)
			finding.Step = &step
		}
	}
	result, err := report.Report(ctx, r.Server, finding)
	if err != nil {
		return err
	}
	if result.Written {
		r.log(seen).Info("a failed attempt is reported", "pod", pod.Name)
	}
	r.remember(known, func(run *run) { run.attempts[pod.UID], run.told = true, report.Undecided })
	return nil
}

func (r *Reconciler) end(ctx context.Context, known, seen *run, outcome report.Outcome) (time.Duration, error) {
	now := time.Now()
	if seen.decided.IsZero() {
		seen.decided = now
		r.remember(known, func(run *run) { run.decided = now })
	}
	if seen.reporting(now) && now.Before(seen.decided.Add(reportingLimit)) {
		return reportingPoll, nil
	}
	result, err := r.reportEnd(ctx, seen, outcome)
	if err != nil {
		if now.After(seen.decided.Add(reportingLimit)) {
			r.release(ctx, known, seen) // A schedule does not wait for OpenMetadata.
		}
		return 0, err
	}
	if result.Written {
		r.log(seen).Info("the run's end is reported", "state", result.State)
	}
	again := r.release(ctx, known, seen)
	if seen.reportedAt.IsZero() {
		seen.reportedAt = now
		// An end that was there when this process began needs no second look.
		if seen.ended().Add(r.verifyAfter).After(now) || result.Written {
			seen.lookAgain = now.Add(r.verifyAfter)
		}
		r.remember(known, func(run *run) { run.reportedAt, run.lookAgain = seen.reportedAt, seen.lookAgain })
	}
	if left := seen.lookAgain.Sub(now); again > 0 || left > 0 {
		return cmp.Or(again, left), nil
	}
	seen.verified = true // It is forgotten, or remembered as such, by who called.
	return 0, nil
}

// finding is what is known of a run that has ended, without its cause.
func (r *run) finding(outcome report.Outcome) report.Finding {
	finding := report.FindingOf(r.job, outcome)
	finding.Ended, finding.Superseded = r.ended(), r.superseded()
	return finding
}

// reportEnd collects the cause only where the record lacks one: most runs end as their workflow says.
func (r *Reconciler) reportEnd(ctx context.Context, seen *run, outcome report.Outcome) (report.Result, error) {
	finding := seen.finding(outcome)
	if outcome != report.Complete {
		missing, err := report.Missing(ctx, r.Server, finding, diagnostics.StepName)
		if err != nil {
			return report.Result{}, err
		}
		if missing {
			diagnosed := r.collect(ctx, seen)
			step := diagnosed.Step(diagnosed.Judge(), reporter)
			finding.Step = &step
		}
	}
	return report.Report(ctx, r.Server, finding)
}

func (r *Reconciler) collect(ctx context.Context, seen *run) *diagnostics.Run {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	return diagnostics.Collect(ctx, r.Reader, diagnostics.Target{
		Namespace: r.Namespace, JobName: seen.job.Name, Job: seen.job, Pods: seen.known(),
		Secrets: func(ctx context.Context) ([]string, error) { return r.Secrets(ctx, seen.fqn()) },
	})
}

// lost is the step of a run of which no Job is left.
func lost(namespace string) *omapi.StepSummary {
	return &omapi.StepSummary{
		Name: diagnostics.StepName, Errors: 1,
		Failures: []omapi.StackTraceError{{
			Name:       string(diagnostics.CategoryUnknown),
			Error:      "no Job of this run is left in namespace " + namespace + ": how it ended is not known; run the pipeline again",
			StackTrace: "Reported by: " + reporter + "\nIts Job and its pods were looked for by label " + identity.LabelRunID + " and by the Job's UID.",
		}},
	}
}
