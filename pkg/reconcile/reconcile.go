// Package reconcile keeps the record of every run true from outside its pods: it watches Jobs and Pods, and sweeps up
// runs of which no Job is left.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

const (
	// reportTimeout bounds one try of a report; the queue tries again.
	reportTimeout = 20 * time.Second
	// collectTimeout bounds what Kubernetes is asked for a report's cause.
	collectTimeout = 10 * time.Second

	firstRetry   = 200 * time.Millisecond
	longestRetry = 30 * time.Second
)

// Options are what a reconciler needs. All but the intervals must be set.
type Options struct {
	Kube   kubernetes.Interface
	Reader diagnostics.Reader
	Server *omapi.Client
	// Namespace is where the pipelines run.
	Namespace string
	// Secrets are the values that must not be shown of the logs of a pipeline's runs.
	Secrets func(ctx context.Context, fqn string) ([]string, error)
	Log     *slog.Logger
	// Workers is how many runs are worked on at the same time.
	Workers int
	// SweepInterval is how often OpenMetadata is asked for runs of which no Job is left.
	SweepInterval time.Duration
	// SweepAge is how old such a run has to be: its record is written before its Job is made.
	SweepAge time.Duration
}

// Reconciler works on the runs of one namespace.
type Reconciler struct {
	Options

	queue workqueue.TypedRateLimitingInterface[types.UID]
	mu    sync.Mutex // guards runs
	runs  map[types.UID]*run
}

// New makes a reconciler; Run starts it.
func New(options Options) *Reconciler {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](firstRetry, longestRetry)
	return &Reconciler{
		Options: options,
		queue:   workqueue.NewTypedRateLimitingQueue(limiter),
		runs:    map[types.UID]*run{},
	}
}

// Run works until the context ends. What is not reported by then is found again at the next start: the record in
// OpenMetadata is all that is remembered.
func (r *Reconciler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(r.Kube, 0,
		informers.WithNamespace(r.Namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = identity.LabelPipeline }),
		informers.WithTransform(withoutManagedFields),
	)
	jobs, pods := factory.Batch().V1().Jobs().Informer(), factory.Core().V1().Pods().Informer()
	if _, err := jobs.AddEventHandler(r.jobHandler()); err != nil {
		return fmt.Errorf("watch Jobs: %w", err)
	}
	if _, err := pods.AddEventHandler(r.podHandler()); err != nil {
		return fmt.Errorf("watch Pods: %w", err)
	}
	for kind, informer := range map[string]cache.SharedIndexInformer{"Jobs": jobs, "Pods": pods} {
		err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
			if ctx.Err() == nil {
				r.Log.Error("cannot watch "+kind+"; the Role in deploy/ allows it", "namespace", r.Namespace, "error", err)
			}
		})
		if err != nil {
			return fmt.Errorf("watch %s: %w", kind, err)
		}
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), jobs.HasSynced, pods.HasSynced) {
		return nil // The context ended.
	}
	r.Log.Info("watching", "namespace", r.Namespace, "jobs", len(jobs.GetStore().List()))
	var wg sync.WaitGroup
	for range r.Workers {
		wg.Go(func() {
			for r.next(ctx) {
			}
		})
	}
	wg.Go(func() { wait.UntilWithContext(ctx, r.sweep, r.SweepInterval) })
	<-ctx.Done()
	r.queue.ShutDown()
	wg.Wait()
	return nil
}

// withoutManagedFields saves memory: they are as large as the rest.
func withoutManagedFields(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return object, nil
}

func (r *Reconciler) jobHandler() cache.ResourceEventHandler {
	seen := func(object any) {
		if job, ok := object.(*batchv1.Job); ok {
			r.change(job.UID, func(run *run) { run.job = job })
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(object any) {
			if job, ok := deleted[*batchv1.Job](object); ok {
				r.change(job.UID, func(run *run) { run.job, run.jobGone = job, true })
			}
		},
	}
}

func (r *Reconciler) podHandler() cache.ResourceEventHandler {
	seen := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok {
			r.change(jobOf(pod), func(run *run) { run.pods[pod.UID] = pod })
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(object any) {
			if pod, ok := deleted[*corev1.Pod](object); ok {
				r.change(jobOf(pod), func(run *run) { run.pods[pod.UID], run.podsGone[pod.UID] = pod, true })
			}
		},
	}
}

// deleted gives the last that was seen of an object.
func deleted[T any](object any) (T, bool) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	out, ok := object.(T)
	return out, ok
}

// jobOf is the UID of a pod's Job; empty for a pod of none.
func jobOf(pod *corev1.Pod) types.UID {
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "Job" {
		return owner.UID
	}
	return ""
}

func (r *Reconciler) change(uid types.UID, edit func(*run)) {
	if uid == "" {
		return
	}
	r.mu.Lock()
	known, ok := r.runs[uid]
	if !ok {
		known = newRun()
		r.runs[uid] = known
	}
	edit(known)
	r.mu.Unlock()
	r.queue.Add(uid)
}

func (r *Reconciler) next(ctx context.Context) bool {
	uid, stop := r.queue.Get()
	if stop {
		return false
	}
	defer r.queue.Done(uid)
	r.mu.Lock()
	known, ok := r.runs[uid]
	var snapshot run
	if ok {
		snapshot = known.snapshot()
	}
	r.mu.Unlock()
	if !ok || snapshot.job == nil {
		return true
	}
	again, err := r.reconcile(ctx, known, &snapshot)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, omapi.ErrNotFound):
		r.log(&snapshot).Warn("OpenMetadata does not know the pipeline: its runs are not reported", "error", err)
		r.forget(uid)
	case err != nil:
		r.log(&snapshot).Error("the run's state is not reported yet", "error", err)
		r.queue.AddRateLimited(uid)
		return true
	case again > 0:
		r.queue.AddAfter(uid, again)
	case snapshot.verified:
		r.forget(uid)
	}
	r.queue.Forget(uid)
	return true
}

func (r *Reconciler) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.runs[uid]; ok && known.jobGone {
		delete(r.runs, uid)
	} else if ok {
		known.verified = true
	}
}

func (r *Reconciler) log(run *run) *slog.Logger {
	return r.Log.With("pipeline", run.fqn(), "runId", report.RunIDOf(run.job), "job", run.job.Name)
}

// remember changes what is known of a run, where a reconcile has found something out.
func (r *Reconciler) remember(known *run, edit func(*run)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit(known)
}
