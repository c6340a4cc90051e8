package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/pager"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

const (
	// firstRecords is how many of a pipeline's latest records are looked at once, latestRecords from then on: what
	// happens while this process runs, it mostly sees. A record may hold a long log.
	firstRecords, latestRecords = 100, 10
	// leastSweepTime is what a sweep may take at least, however short the interval.
	leastSweepTime = time.Minute
	// givesUp is after how many pipelines in a row it is the server that fails, not a pipeline.
	givesUp = 3

	// unended selects the pods that may still run.
	unended = "status.phase!=Succeeded,status.phase!=Failed"
)

// openRun is a run whose record is queued or running.
type openRun struct {
	fqn, id   string
	timestamp int64
}

// sweep looks at the records of all deployed pipelines. It ends those of runs that go on in OpenMetadata, but have neither
// a Job nor a pod, if they are known to be of this namespace: a pipeline may be deployed in another one too, or in another
// cluster, or still be run by Airflow. Records that contradict a Job which has decided, it has reported again.
func (r *Reconciler) sweep(ctx context.Context) {
	// What hangs must not keep the next sweep from being made.
	ctx, cancel := context.WithTimeout(ctx, r.sweepTimeout)
	defer cancel()
	pipelines, err := r.list(ctx, corev1.SchemeGroupVersion.WithResource("configmaps"), "")
	if err != nil {
		r.Log.Error("runs without a Job are not looked for", "error", err)
		return
	}
	// What was found is ended in the rest of the time.
	looking, cancelLooking := context.WithTimeout(ctx, r.sweepTimeout*2/3)
	defer cancelLooking()
	open, err := r.openRuns(looking, pipelines)
	if err != nil {
		r.Log.Error("not all runs could be looked at", "error", err)
	}
	if err := r.ledger.load(ctx); err != nil {
		r.Log.Error("which runs are of this namespace is not known from before", "error", err)
	}
	remembered := r.ledger.remembered()
	if len(open) == 0 && len(remembered) == 0 || ctx.Err() != nil {
		return
	}
	// After the records: a Job is made after its run's record is.
	there, err := r.runsThere(ctx)
	if err != nil {
		r.Log.Error("runs without a Job are not looked for", "error", err)
		return
	}
	open = slices.DeleteFunc(open, func(run openRun) bool { return there[run.id] })
	unknown := map[string]bool{}
	for _, run := range open {
		if _, ok := remembered[run.id]; !ok && !r.tellsOrigin(ctx, run.id) {
			unknown[run.id] = true
			r.leave(run)
		} else if r.endLost(ctx, run) == nil {
			r.ledger.remove(run.id)
		}
		delete(remembered, run.id)
	}
	r.leftAlone = unknown
	r.endRemembered(ctx, remembered, there, pipelines)
}

// endRemembered ends runs that an earlier process saw, and that are not among the latest of a deployed pipeline that go on.
func (r *Reconciler) endRemembered(ctx context.Context, remembered map[string]string, there map[string]bool, pipelines []metav1.PartialObjectMetadata) {
	for id, fqn := range remembered {
		if there[id] || ctx.Err() != nil {
			continue
		}
		err := r.endLost(ctx, openRun{fqn: fqn, id: id})
		deployed := slices.ContainsFunc(pipelines, func(p metav1.PartialObjectMetadata) bool { return p.Annotations[identity.AnnotationFQN] == fqn })
		// One that OpenMetadata does not know may come back, unless it is deleted here too.
		if err == nil || errors.Is(err, omapi.ErrNotFound) && !deployed {
			r.ledger.remove(id)
		}
	}
}

// tellsOrigin says that a run's id tells that the run is of this namespace.
func (r *Reconciler) tellsOrigin(ctx context.Context, id string) bool {
	told := identity.OriginOfRun(id)
	if told == "" {
		return false
	}
	here, err := r.Origin(ctx)
	if err != nil {
		r.Log.Error("which runs are of this namespace is not known", "error", err)
	}
	return told == here
}

// leave says once of a run that it is left as it is.
func (r *Reconciler) leave(run openRun) {
	if r.leftAlone[run.id] {
		return
	}
	why := "its id does not tell where it was started, and no Job of it was seen here"
	if identity.OriginOfRun(run.id) != "" {
		why = "it was started in another namespace or cluster"
	}
	r.Log.Info("a run without a Job is left as it is: it is not of this namespace, or not known to be", "pipeline", run.fqn, "runId", run.id, "why", why)
}

func (r *Reconciler) endLost(ctx context.Context, run openRun) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	log := r.Log.With("pipeline", run.fqn, "runId", run.id)
	result, err := report.Report(ctx, r.Server, report.Finding{
		FQN: run.fqn, RunID: run.id, Timestamp: run.timestamp, Outcome: report.Lost, Step: lost(r.Namespace),
	})
	switch {
	case err != nil:
		log.Error("a run without a Job is not ended", "error", err)
	case result.Written:
		log.Info("a run without a Job is ended", "state", result.State)
	}
	return err
}

// openRuns are runs of the pipelines that are queued or running, and not just about to get their Job.
func (r *Reconciler) openRuns(ctx context.Context, pipelines []metav1.PartialObjectMetadata) ([]openRun, error) {
	ended := r.endedRuns()
	// If the time is too short for all, it is not always the same that are left out.
	rand.Shuffle(len(pipelines), func(i, j int) { //nolint:gosec // Nobody gains by guessing it.
		pipelines[i], pipelines[j] = pipelines[j], pipelines[i]
	})
	var (
		open     []openRun
		errs     []error
		failures int
	)
	for i := range pipelines {
		fqn := pipelines[i].Annotations[identity.AnnotationFQN]
		if fqn == "" {
			continue
		}
		// It is kept of a record that it is open, and no more: a hundred can be larger than the memory.
		err := r.eachRecord(ctx, fqn, func(record *omapi.PipelineStatus) {
			if known, ok := ended[record.RunID]; ok {
				r.recheck(&known, record)
			} else if r.isOpen(ctx, record, pipelines[i].CreationTimestamp.Time) {
				open = append(open, openRun{fqn: fqn, id: record.RunID, timestamp: record.Timestamp})
			}
		})
		switch {
		case errors.Is(err, omapi.ErrNotFound):
			continue // Deleted in OpenMetadata: nobody sees its runs.
		case errors.Is(err, omapi.ErrUnauthorized), errors.Is(err, omapi.ErrForbidden), ctx.Err() != nil:
			return open, err // It would be the same for each pipeline.
		case err != nil:
			errs = append(errs, err)
			if failures++; failures == givesUp {
				return open, errors.Join(errs...)
			}
			continue
		}
		failures = 0
		r.swept[fqn] = true
	}
	return open, errors.Join(errs...)
}

// eachRecord goes through a pipeline's latest records.
func (r *Reconciler) eachRecord(ctx context.Context, fqn string, look func(*omapi.PipelineStatus)) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	limit := firstRecords
	if r.swept[fqn] {
		limit = latestRecords
	}
	return r.Server.EachStatus(ctx, fqn, limit, func(record *omapi.PipelineStatus) error {
		look(record)
		return nil
	})
}

// isOpen leaves out what is older than the deployment, unless it is known to be of this namespace: it is of whoever ran the
// pipeline before.
func (r *Reconciler) isOpen(ctx context.Context, record *omapi.PipelineStatus, deployed time.Time) bool {
	began := time.UnixMilli(record.Timestamp)
	return record.RunID != "" && !record.State.Terminal() && time.Since(began) > r.SweepAge &&
		(began.After(deployed) || r.tellsOrigin(ctx, record.RunID))
}

// endedRuns are the runs by their id whose end is reported and whose Job is still there.
func (r *Reconciler) endedRuns() map[string]run {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]run{}
	for _, known := range r.runs {
		if known.verified && known.fqn() != "" {
			out[report.RunIDOf(known.job)] = known.snapshot()
		}
	}
	return out
}

// recheck has a run reported again whose record is not as it was left: a node that was cut off, or a workflow that was
// slow, has written late.
func (r *Reconciler) recheck(seen *run, record *omapi.PipelineStatus) {
	finding := seen.finding(seen.outcome())
	if finding.Outcome != report.Complete {
		// No better than a diagnosis that is there: the cause would be collected for nothing again and again.
		finding.Step = &omapi.StepSummary{Name: diagnostics.StepName, Failures: []omapi.StackTraceError{{Name: string(diagnostics.CategoryUnknown)}}}
	}
	if _, changed := report.Merge(record, finding); !changed {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.runs[seen.job.UID]; ok {
		known.verified = false
		r.queue.Add(seen.job.UID)
	}
}

// runsThere are the ids of all runs that are left to others: they have a Job, or a pod that has not ended though its Job
// was deleted, or their end is being reported.
func (r *Reconciler) runsThere(ctx context.Context) (map[string]bool, error) {
	jobs, err := r.list(ctx, batchv1.SchemeGroupVersion.WithResource("jobs"), "")
	if err != nil {
		return nil, err
	}
	pods, err := r.list(ctx, corev1.SchemeGroupVersion.WithResource("pods"), unended)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for i := range jobs {
		out[report.RunIDOf(&batchv1.Job{ObjectMeta: jobs[i].ObjectMeta})] = true
	}
	for i := range pods {
		// As for a Job: the label that its template has, else the UID of the Job.
		owner := batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: types.UID(diagnostics.JobUID(&corev1.Pod{ObjectMeta: pods[i].ObjectMeta})), Labels: pods[i].Labels}}
		if deleted := pods[i].DeletionTimestamp; deleted == nil || time.Since(deleted.Time) < deletionSlack {
			out[report.RunIDOf(&owner)] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range r.runs {
		if known.job != nil && !known.verified {
			out[report.RunIDOf(known.job)] = true
		}
	}
	return out, nil
}

// list gives the metadata of all objects of a kind that belong to a pipeline.
func (r *Reconciler) list(ctx context.Context, resource schema.GroupVersionResource, fieldSelector string) ([]metav1.PartialObjectMetadata, error) {
	var out []metav1.PartialObjectMetadata
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return r.Metadata.Resource(resource).Namespace(r.Namespace).List(ctx, options)
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: identity.LabelPipeline, FieldSelector: fieldSelector}, func(object runtime.Object) error {
		if item, ok := object.(*metav1.PartialObjectMetadata); ok {
			out = append(out, *item)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the %s of the pipelines in namespace %s: %w", resource.Resource, r.Namespace, err)
	}
	return out, nil
}
