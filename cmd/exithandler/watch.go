package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

const (
	// queueTimeout bounds what the sidecar does before the run starts.
	queueTimeout = 30 * time.Second
	// toldWithin is how long after its SIGTERM, which comes when the main container has ended, the sidecar waits for the
	// API to say how.
	toldWithin = 5 * time.Second
	// toldWithinDeletion is the same for a pod that is deleted: the kubelet mostly says how its containers ended when the
	// sidecar has ended too, and what was decided before does not depend on it.
	toldWithinDeletion = time.Second
	// deletedSlack is how long after a deleted pod's grace period the sidecar waits to see how the main container ended. By
	// then the kubelet has killed that one, and leaves the sidecar 2 s. Not sooner: a process that has ignored its SIGTERM may
	// still write how it ended, and no other final state may stand there before.
	deletedSlack = 500 * time.Millisecond
	// longestPause is the most between two watches of the pod.
	longestPause = 5 * time.Second
)

// watchRun is the sidecar: it sees how the run's main container ends, whatever ends it, and reports what the Job makes of it.
func watchRun(ctx context.Context, environ []string) int {
	log, closeLog := newLogger()
	defer closeLog()
	// SIGTERM comes when the main container has ended; it ends nothing here.
	term, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	h, err := newHandler(term, log, readEnvironment(environ, "sidecar"))
	if err == nil && h.kube == nil {
		err = h.kubeProblem
	}
	if err != nil {
		log.Error("the run is not watched", "error", err)
		<-term.Done() // To exit is to be started again, for nothing.
		return exitError
	}
	defer h.server.Close()
	var queued sync.WaitGroup
	queueCtx, cancelQueue := context.WithCancel(term)
	defer cancelQueue()
	queued.Go(func() { h.queue(queueCtx) })
	pod, problem := h.awaitEnd(ctx, term)
	cancelQueue() // What is left of the time is for the end.
	queued.Wait()
	code := exitError
	if pod != nil {
		code = h.reportEnd(ctx, pod)
	} else {
		h.log.Error("the run's end is not reported", "error", fmt.Errorf("the pod was never seen: %w", problem))
	}
	// What else was added to the pod keeps it running, and this process with it.
	if endMesh(ctx, meshEndpoints()) {
		h.log.Info("the proxy of the service mesh is asked to end")
	}
	<-term.Done() // The kubelet would start it again.
	return code
}

// queue writes the record of a run that nobody has written yet, as of a schedule.
func (h *handler) queue(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	_, err := report.When(ctx, h.server, h.fqn, h.runID, func() report.Finding {
		job, err := h.kube.Job(ctx, h.jobName)
		if err != nil || report.OutcomeOf(job).Final() {
			return report.Finding{}
		}
		return h.finding(report.Sight{Job: job}, report.Waiting)
	})
	if err != nil && ctx.Err() == nil {
		h.log.Warn("the run has no record yet", "error", err)
	}
}

var errSilent = errors.New("no answer from Kubernetes")

// awaitEnd gives the pod when its main container has ended, or when there is no time left to wait for that; nil, and why,
// where it was never seen.
func (h *handler) awaitEnd(ctx, term context.Context) (*corev1.Pod, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := newWatchLimit(term, cancel)
	defer limit.stop()
	var seen *corev1.Pod
	problem := errSilent
	termed := term.Done()
	delay := newBackoff()
	for {
		begun, states := time.Now(), 0
		err := h.kube.WatchPod(ctx, h.podName, func(pod *corev1.Pod) bool {
			states++
			limit.see(pod)
			seen = pod
			_, ended := diagnostics.MainEnded(pod)
			return ended
		})
		if err == nil || ctx.Err() != nil || seen != nil && apierrors.IsNotFound(err) {
			return seen, problem // That time is over is less news than what went before.
		}
		if problem = err; err.Error() == "" {
			problem = fmt.Errorf("the API refuses it as %s", apierrors.ReasonForError(err)) // A proxy need not say more.
		}
		h.log.Warn("the pod is not seen", "error", problem)
		if diagnostics.Denied(err) && term.Err() != nil {
			return seen, problem // Who may not look need not go on when the main container has ended.
		}
		if states > 1 || time.Since(begun) > longestPause {
			delay = newBackoff() // The watch was one: its first state is that of a read.
		}
		pause := time.NewTimer(delay())
		select {
		case <-pause.C:
		case <-ctx.Done():
		case <-termed:
			termed, delay = nil, newBackoff()
		}
		pause.Stop()
	}
}

// watchLimit bounds how long the pod is watched for its end.
type watchLimit struct {
	term context.Context //nolint:containedctx // It is the signal.
	// told ends the watch after the sidecar's SIGTERM, deletion when the pod's grace period is over.
	told, deletion *time.Timer
	deleted        atomic.Bool
	release        func() bool
}

func newWatchLimit(term context.Context, end func()) *watchLimit {
	l := &watchLimit{term: term, told: newAlarm(end), deletion: newAlarm(end)}
	l.release = context.AfterFunc(term, func() {
		if l.deleted.Load() {
			l.told.Reset(toldWithinDeletion)
		} else {
			l.told.Reset(toldWithin)
		}
	})
	return l
}

func (l *watchLimit) see(pod *corev1.Pod) {
	if pod.DeletionTimestamp == nil {
		return
	}
	// With its grace period everything of the pod ends; it may be made shorter.
	l.deletion.Reset(time.Until(pod.DeletionTimestamp.Add(deletedSlack)))
	if !l.deleted.Swap(true) && l.term.Err() != nil {
		l.told.Reset(toldWithinDeletion)
	}
}

func (l *watchLimit) stop() {
	l.release()
	l.told.Stop()
	l.deletion.Stop()
}

func newBackoff() wait.DelayFunc {
	return wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 1 << 20, Cap: longestPause}.DelayFunc()
}

// newAlarm is a timer that is not set yet.
func newAlarm(do func()) *time.Timer {
	timer := time.AfterFunc(time.Hour, do)
	timer.Stop()
	return timer
}

// reportEnd has the time until the pod's grace period is over.
func (h *handler) reportEnd(ctx context.Context, pod *corev1.Pod) int {
	ctx, cancel := context.WithDeadline(ctx, reportBy(time.Now(), h.gracePeriod, pod.DeletionTimestamp))
	defer cancel()
	kubeCtx, cancelKube := forKubernetes(ctx)
	defer cancelKube()
	started := time.Now()
	result, err := report.When(ctx, h.server, h.fqn, h.runID, func() report.Finding { return h.findEnd(kubeCtx, pod) })
	log := h.log.With("took", time.Since(started).String())
	switch {
	case err != nil:
		log.Error("the run's state is not reported", "error", err)
		return exitError
	case result.State == "":
		log.Error("the run's state is not reported", "error", "how it ended is not known here")
		return exitError
	default:
		log.Info("the run's state is reported", "state", result.State, "written", result.Written)
		return exitOK
	}
}

// reportBy is until when the end of a pod is to be reported that is seen now. A pod that was deleted may have less time
// than its grace period.
func reportBy(now time.Time, gracePeriod time.Duration, deleted *metav1.Time) time.Time {
	deadline := now.Add(max(gracePeriod-reserve, time.Second))
	if deleted == nil {
		return deadline
	}
	if last := lastMoment(now, deleted); last.Before(deadline) {
		return last
	}
	return deadline
}

// lastMoment is when a pod that is deleted has to be reported: with its grace period everything of it ends, and a second
// is needed at least.
func lastMoment(now time.Time, deleted *metav1.Time) time.Time {
	last, least := deleted.Add(-time.Second), now.Add(time.Second)
	if last.Before(least) {
		return least
	}
	return last
}

func (h *handler) findEnd(ctx context.Context, pod *corev1.Pod) report.Finding {
	sight := report.Sight{Pod: pod, Inside: true}
	if main, ended := sight.Main(); ended && main.ExitCode == 0 {
		// All went well, which needs no logs.
		job, err := h.kube.Job(ctx, h.jobName)
		sight.Job = job
		if err == nil && job.Status.Failed == 0 && sight.Outcome() == report.Complete {
			return h.finding(sight, report.Complete)
		}
	}
	run := h.collect(ctx, nil)
	// What is read now is newer than what was watched.
	if sight = report.SightOf(run, h.podName); !sight.Inside {
		sight.Pod, sight.Inside = pod, true
	}
	outcome := sight.Outcome()
	if outcome == report.Undecided && !sight.Ending() {
		return report.Finding{} // Whoever sees the Job has to decide.
	}
	finding := h.finding(sight, outcome)
	h.addCause(&finding, run)
	return finding
}
