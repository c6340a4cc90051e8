package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

const (
	// ledgerDelay is how long changes are collected before they are written in one request.
	ledgerDelay = 250 * time.Millisecond
	// ledgerTimeout bounds one request.
	ledgerTimeout = 10 * time.Second
	// maxLedger is how many bytes of ids and names are remembered: a ConfigMap can have 1 MiB.
	maxLedger = 900 << 10
)

// ledger remembers, in a ConfigMap, which runs have a Job in the namespace and have not ended: after a restart the Job may be
// gone, and the id of a scheduled run does not tell where the run belongs.
type ledger struct {
	kube      kubernetes.Interface
	namespace string
	origin    func(ctx context.Context) (identity.Origin, error)
	log       *slog.Logger
	delay     time.Duration

	mu sync.Mutex // guards what follows
	// runs are the pipelines of the runs by the runs' ids.
	runs map[string]string
	// changes are not written yet: the pipeline, or nil for a run that is over.
	changes map[string]*string
	// loaded says that what an earlier process remembered is known.
	loaded bool
	// problem is what was logged last: each is logged once.
	problem string

	wake chan struct{}
}

func newLedger(options Options) *ledger {
	return &ledger{
		kube: options.Kube, namespace: options.Namespace, origin: options.Origin, log: options.Log, delay: ledgerDelay,
		runs: map[string]string{}, changes: map[string]*string{}, wake: make(chan struct{}, 1),
	}
}

// add remembers a run.
func (l *ledger) add(id, fqn string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[id] == fqn {
		return
	}
	size := len(id) + len(fqn)
	for known, pipeline := range l.runs {
		size += len(known) + len(pipeline)
	}
	if size > maxLedger {
		l.failed(errLedgerFull)
		return
	}
	l.runs[id], l.changes[id] = fqn, &fqn
	l.wakeUp()
}

var errLedgerFull = fmt.Errorf("ConfigMap %s is full: more than %d bytes of runs go on", identity.LedgerName, maxLedger)

// remove forgets a run that is over.
func (l *ledger) remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.runs[id]; !ok {
		return
	}
	delete(l.runs, id)
	l.changes[id] = nil
	l.wakeUp()
}

func (l *ledger) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default: // It will look anyway.
	}
}

// remembered are all runs that have not ended, by their id.
func (l *ledger) remembered() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.runs)
}

// load reads what an earlier process remembered, once. What was remembered of another namespace, and came here with a backup, is
// deleted.
func (l *ledger) load(ctx context.Context) error {
	l.mu.Lock()
	loaded := l.loaded
	l.mu.Unlock()
	if loaded {
		return nil
	}
	here, err := l.origin(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	stored, err := l.kube.CoreV1().ConfigMaps(l.namespace).Get(ctx, identity.LedgerName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read ConfigMap %s in namespace %s: %w", identity.LedgerName, l.namespace, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loaded = true
	if err != nil {
		return nil // There is none yet.
	}
	own := here != "" && stored.Annotations[identity.AnnotationOrigin] == string(here)
	for id, fqn := range stored.Data {
		switch _, changed := l.changes[id]; {
		case changed: // What this process has found out in the meantime is newer.
		case own:
			l.runs[id] = fqn
		default:
			l.changes[id] = nil
			l.wakeUp()
		}
	}
	return nil
}

// run writes changes until the context ends.
func (l *ledger) run(ctx context.Context) {
	patient := func() wait.DelayFunc {
		return wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 1 << 20, Cap: time.Minute}.DelayFunc()
	}
	retry := patient()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		delay := l.delay
		for again := true; again; {
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			err := l.write(ctx)
			if again = err != nil && ctx.Err() == nil; again {
				l.mu.Lock()
				l.failed(err)
				l.mu.Unlock()
				delay = retry()
			} else {
				retry = patient()
			}
		}
	}
}

// failed logs a problem once. It needs the lock.
func (l *ledger) failed(err error) {
	if err.Error() == l.problem {
		return
	}
	l.problem = err.Error()
	advice := "it is tried again"
	if apierrors.IsForbidden(err) {
		advice = "give the service account the Role in deploy/"
	}
	l.log.Error("the runs of this namespace cannot be remembered: one whose Job is deleted while serve is down is left as it is", "error", err, "advice", advice)
}

// write puts the changes into the ConfigMap, by a patch of just these.
func (l *ledger) write(ctx context.Context) error {
	if err := l.load(ctx); err != nil {
		return err
	}
	here, err := l.origin(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	changes := l.changes
	l.changes = map[string]*string{}
	l.mu.Unlock()
	if len(changes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	if err = l.patch(ctx, here, changes); apierrors.IsNotFound(err) {
		if err = l.create(ctx, here, changes); apierrors.IsAlreadyExists(err) {
			err = l.patch(ctx, here, changes)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.problem = ""
		return nil
	}
	for id, fqn := range changes {
		if _, newer := l.changes[id]; !newer {
			l.changes[id] = fqn
		}
	}
	return err
}

func (l *ledger) patch(ctx context.Context, here identity.Origin, changes map[string]*string) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{identity.AnnotationOrigin: string(here)}}, "data": changes,
	})
	if err != nil {
		return fmt.Errorf("encode the patch of ConfigMap %s: %w", identity.LedgerName, err)
	}
	_, err = l.kube.CoreV1().ConfigMaps(l.namespace).Patch(ctx, identity.LedgerName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: ledgerManager})
	if err != nil {
		return fmt.Errorf("patch ConfigMap %s in namespace %s: %w", identity.LedgerName, l.namespace, err)
	}
	return nil
}

// ledgerManager is the manager of the fields of the ledger.
const ledgerManager = "pipelinectl-serve"

func (l *ledger) create(ctx context.Context, here identity.Origin, changes map[string]*string) error {
	data := map[string]string{}
	for id, fqn := range changes {
		if fqn != nil {
			data[id] = *fqn
		}
	}
	if len(data) == 0 {
		return nil
	}
	_, err := l.kube.CoreV1().ConfigMaps(l.namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: identity.LedgerName, Namespace: l.namespace,
			Labels:      map[string]string{identity.LabelName: "pipelinectl", identity.LabelComponent: "serve"},
			Annotations: map[string]string{identity.AnnotationOrigin: string(here)},
		},
		Data: data,
	}, metav1.CreateOptions{FieldManager: ledgerManager})
	if err != nil {
		return fmt.Errorf("create ConfigMap %s in namespace %s: %w", identity.LedgerName, l.namespace, err)
	}
	return nil
}
