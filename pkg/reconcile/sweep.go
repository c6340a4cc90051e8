package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// sweptRuns is how many of a pipeline's latest runs are looked at.
const sweptRuns = 100

type openRun struct {
	fqn    string
	record omapi.PipelineStatus
}

// sweep ends the records of runs that go on in OpenMetadata, but have no Job.
func (r *Reconciler) sweep(ctx context.Context) {
	open, err := r.openRuns(ctx)
	if err != nil {
		r.Log.Error("not all runs could be looked at", "error", err)
	}
	if len(open) == 0 || ctx.Err() != nil {
		return
	}
	// After the records: a Job is made after its run's record is.
	jobs, err := r.runIDs(ctx)
	if err != nil {
		r.Log.Error("runs without a Job are not looked for", "error", err)
		return
	}
	for _, run := range open {
		if jobs[run.record.RunID] {
			continue
		}
		r.endLost(ctx, run)
	}
}

func (r *Reconciler) endLost(ctx context.Context, run openRun) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	log := r.Log.With("pipeline", run.fqn, "runId", run.record.RunID)
	result, err := report.Report(ctx, r.Server, report.Finding{
		FQN: run.fqn, RunID: run.record.RunID, Timestamp: run.record.Timestamp, Outcome: report.Failed, Step: lost(r.Namespace),
	})
	if err != nil {
		log.Error("a run without a Job is not ended", "error", err)
		return
	}
	log.Info("a run without a Job is ended", "state", result.State)
}

// openRuns are runs of the deployed pipelines that are queued or running, and not just about to get their Job.
func (r *Reconciler) openRuns(ctx context.Context) ([]openRun, error) {
	var (
		open []openRun
		errs []error
	)
	err := r.each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return r.Kube.CoreV1().ConfigMaps(r.Namespace).List(ctx, options)
	}, func(object runtime.Object) error {
		configMap, ok := object.(*corev1.ConfigMap)
		if !ok || configMap.Annotations[identity.AnnotationFQN] == "" {
			return nil
		}
		fqn := configMap.Annotations[identity.AnnotationFQN]
		records, err := r.Server.ListStatuses(ctx, fqn, sweptRuns)
		if errors.Is(err, omapi.ErrNotFound) {
			return nil // Deleted in OpenMetadata: nobody sees its runs.
		}
		if omapi.Retryable(err) {
			return err // It would be the same for each pipeline.
		}
		errs = append(errs, err)
		for i := range records {
			began := time.UnixMilli(records[i].Timestamp)
			// What is older than the deployment is of whoever ran the pipeline before.
			ours := began.After(configMap.CreationTimestamp.Time) && time.Since(began) > r.SweepAge
			if ours && records[i].RunID != "" && !records[i].State.Terminal() {
				open = append(open, openRun{fqn: fqn, record: records[i]})
			}
		}
		return nil
	})
	return open, errors.Join(append(errs, err)...)
}

// runIDs are the ids of all runs that have a Job.
func (r *Reconciler) runIDs(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	err := r.each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return r.Kube.BatchV1().Jobs(r.Namespace).List(ctx, options)
	}, func(object runtime.Object) error {
		if job, ok := object.(*batchv1.Job); ok {
			out[report.RunIDOf(job)] = true
		}
		return nil
	})
	return out, err
}

func (r *Reconciler) each(ctx context.Context, list func(context.Context, metav1.ListOptions) (runtime.Object, error), do func(runtime.Object) error) error {
	if err := pager.New(list).EachListItem(ctx, metav1.ListOptions{LabelSelector: identity.LabelPipeline}, do); err != nil {
		return fmt.Errorf("go through the pipelines of namespace %s: %w", r.Namespace, err)
	}
	return nil
}
