// Package reconcile keeps the record of every run true from outside its pods: it watches Jobs and Pods, and sweeps up
// runs of which no Job is left.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
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
	// unknownRetry is when a run is looked at again whose pipeline OpenMetadata does not know: what stands in front of a
	// server that restarts answers 404 too, and a pipeline can come back.
	unknownRetry = 3 * time.Minute
	// syncTimeout bounds how long Jobs and Pods may take to be seen for the first time.
	syncTimeout = 2 * time.Minute
)

// Options are what a reconciler needs. All but the intervals must be set.
type Options struct {
	Kube kubernetes.Interface
	// Metadata lists objects of which names and labels are enough.
	Metadata metadata.Interface
	Reader   diagnostics.Reader
	Server   *omapi.Client
	// Namespace is where the pipelines run.
	Namespace string
	// Origin is what ids of runs tell of the namespace; empty where that is not known.
	Origin func(ctx context.Context) (identity.Origin, error)
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
	mu    sync.Mutex // guards runs and watchErrors
	runs  map[types.UID]*run
	// watchErrors is why a kind, such as Jobs, could not be watched when it was last tried.
	watchErrors map[string]error
	// swept are the pipelines whose records were looked at once; only the sweep has it.
	swept map[string]bool
	// leftAlone are the runs of which it was said that they are; only the sweep has it.
	leftAlone map[string]bool
	ledger    *ledger

	syncTimeout, unknownRetry, sweepTimeout, verifyAfter time.Duration
}

// New makes a reconciler; Run starts it.
func New(options Options) *Reconciler {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](firstRetry, longestRetry)
	return &Reconciler{
		Options:      options,
		queue:        workqueue.NewTypedRateLimitingQueue(limiter),
		runs:         map[types.UID]*run{},
		watchErrors:  map[string]error{},
		swept:        map[string]bool{},
		leftAlone:    map[string]bool{},
		ledger:       newLedger(options),
		syncTimeout:  syncTimeout,
		unknownRetry: unknownRetry,
		sweepTimeout: max(options.SweepInterval, leastSweepTime),
		verifyAfter:  verifyAfter,
	}
}

// Run works until the context ends; it can be called once. What is not reported by then is found again at the next start:
// the record in OpenMetadata is all that is remembered. It is an error if Jobs and Pods cannot be seen.
func (r *Reconciler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(r.Kube, 0,
		informers.WithNamespace(r.Namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = identity.LabelPipeline }),
		informers.WithTransform(withoutManagedFields),
	)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		factory.Shutdown()
		r.queue.ShutDown()
		wg.Wait()
	}()
	jobs, pods := factory.Batch().V1().Jobs().Informer(), factory.Core().V1().Pods().Informer()
	handled := map[string]cache.InformerSynced{}
	for _, watch := range []struct {
		kind     string
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{{"Jobs", jobs, r.jobHandler()}, {"Pods", pods, r.podHandler()}} {
		registration, err := watch.informer.AddEventHandler(watch.handler)
		if err := errors.Join(err, watch.informer.SetWatchErrorHandlerWithContext(r.watchFailed(watch.kind))); err != nil {
			return fmt.Errorf("watch %s: %w", watch.kind, err)
		}
		// The informer's own says that they are listed, not that the handler has seen them.
		handled[watch.kind] = registration.HasSynced
	}
	factory.StartWithContext(ctx)
	wg.Go(func() { r.ledger.run(ctx) })
	// It asks by itself what it needs, so it does not wait for the watches.
	wg.Go(func() { wait.UntilWithContext(ctx, r.sweep, r.SweepInterval) })
	if err := r.awaitSync(ctx, handled); err != nil || ctx.Err() != nil {
		return err
	}
	r.Log.Info("watching", "namespace", r.Namespace, "jobs", len(jobs.GetStore().List()))
	for range r.Workers {
		wg.Go(func() {
			for r.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	return nil
}

// watchFailed keeps why a kind cannot be watched, and logs it. The watch is tried again by who calls.
func (r *Reconciler) watchFailed(kind string) cache.WatchErrorHandlerWithContext {
	return func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() != nil || errors.Is(err, io.EOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return // An API server ends every watch after a while.
		}
		err = r.watchError(kind, err)
		r.mu.Lock()
		r.watchErrors[kind] = err
		r.mu.Unlock()
		r.Log.Error("a watch broke off, and is tried again", "error", err)
	}
}

func (r *Reconciler) watchError(kind string, err error) error {
	advice := "check that the API server is reachable"
	if apierrors.IsForbidden(err) {
		advice = "give the service account the Role in deploy/"
	}
	return fmt.Errorf("cannot watch %s in namespace %s: %w; %s", kind, r.Namespace, err, advice)
}

// awaitSync is an error where a kind cannot be seen in time; who runs this process is to notice.
func (r *Reconciler) awaitSync(ctx context.Context, handled map[string]cache.InformerSynced) error {
	limited, cancel := context.WithTimeout(ctx, r.syncTimeout)
	defer cancel()
	var errs []error
	for kind, all := range handled {
		if cache.WaitForCacheSync(limited.Done(), all) || all() || ctx.Err() != nil {
			continue
		}
		r.mu.Lock()
		err := r.watchErrors[kind]
		r.mu.Unlock()
		if err == nil {
			err = r.watchError(kind, fmt.Errorf("no answer for %s", r.syncTimeout))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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
				r.podGone(pod)
			}
		},
	}
}

// podGone is for a pod that was deleted. Its Job may have gone first, and its run be dealt with: then nothing is kept.
func (r *Reconciler) podGone(pod *corev1.Pod) {
	uid := jobOf(pod)
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.runs[uid]
	if !ok {
		return
	}
	known.pods[pod.UID], known.podsGone[pod.UID] = pod, true
	if known.job == nil && len(known.podsGone) == len(known.pods) {
		delete(r.runs, uid)
		return
	}
	r.queue.Add(uid)
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
		r.queue.Forget(uid)
		return true
	}
	again, err := r.reconcile(ctx, known, &snapshot)
	if err == nil && snapshot.unknown {
		r.remember(known, func(run *run) { run.unknown = false })
	}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, omapi.ErrNotFound):
		again = r.unknown(uid, known, err)
	case err != nil:
		r.log(&snapshot).Error("the run's state is not reported yet", "error", err)
		r.queue.AddRateLimited(uid)
		return true
	case snapshot.verified:
		r.forget(uid)
	}
	if again > 0 {
		r.queue.AddAfter(uid, again)
	}
	r.queue.Forget(uid)
	return true
}

// unknown keeps a run whose pipeline OpenMetadata does not know for a later look, as long as its Job is there, and says
// so once for each pipeline.
func (r *Reconciler) unknown(uid types.UID, known *run, err error) (again time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := false
	for _, other := range r.runs {
		said = said || other.unknown && other.fqn() == known.fqn()
	}
	known.unknown = true
	if !said {
		r.log(known).Warn("OpenMetadata does not know the pipeline: its runs are not reported", "error", err, "nextTry", r.unknownRetry.String())
	}
	if known.jobGone {
		delete(r.runs, uid) // The sweep finds the record, if it comes back.
		return 0
	}
	return r.unknownRetry
}

// forget drops a run that is over, or remembers that there is nothing more to do for it while its Job is there.
func (r *Reconciler) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.runs[uid]
	if !ok {
		return
	}
	r.ledger.remove(report.RunIDOf(known.job))
	if known.jobGone {
		delete(r.runs, uid)
	} else {
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
