package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// diagnosticsShare is the part of the time that Kubernetes gets: the report does not wait for a slow API for longer.
const diagnosticsShare = 3

// hook reports the run's state to OpenMetadata and gives the exit code.
func hook(ctx context.Context, environ []string) int {
	started := time.Now()
	log, closeLog := newLogger()
	defer closeLog()
	env := readEnvironment(environ, "preStop hook")
	ctx, cancel := context.WithDeadline(ctx, reportBy(time.Now(), env.gracePeriod, nil)) // The pod is not known yet.
	defer cancel()
	result, err := reportRun(ctx, log, env)
	log = log.With("pipeline", env.fqn, "runId", env.runID, "took", time.Since(started).String())
	switch {
	case err != nil:
		log.Error("the run's state is not reported", "error", err)
		return exitError
	case result.State == "":
		log.Info("the run's state is left to whoever sees its process end")
	default:
		log.Info("the run's state is reported", "state", result.State, "written", result.Written)
	}
	return exitOK
}

// errNoTime is for a pod that was deleted with less time than its manifest has.
var errNoTime = fmt.Errorf("the time that the pod has to end is over: %w", context.DeadlineExceeded)

// forKubernetes ends when Kubernetes has had its share of the time until the context's deadline: it may hang.
func forKubernetes(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/diagnosticsShare)
}

// sooner is a context whose deadline may come nearer after it was made: who sleeps asks it how long.
type sooner struct {
	context.Context //nolint:containedctx // It is one.

	deadline atomic.Pointer[time.Time]
}

func (c *sooner) Deadline() (time.Time, bool) {
	deadline, ok := c.Context.Deadline()
	if nearer := c.deadline.Load(); nearer != nil && (!ok || nearer.Before(deadline)) {
		return *nearer, true
	}
	return deadline, ok
}

func reportRun(ctx context.Context, log *slog.Logger, env *environment) (report.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	kubeCtx, cancelKube := forKubernetes(ctx)
	defer cancelKube()
	h, err := newHandler(kubeCtx, log, env)
	if err != nil {
		return report.Result{}, err
	}
	defer h.server.Close()
	reporting := &sooner{Context: ctx}
	return report.When(reporting, h.server, h.fqn, h.runID, func() report.Finding { //nolint:contextcheck // It is the same one.
		run := h.collect(kubeCtx, func(pods []corev1.Pod) {
			// Whoever deletes a pod may give it less time than its manifest does.
			for i := range pods {
				if pods[i].Name == h.podName && pods[i].DeletionTimestamp != nil {
					last := lastMoment(time.Now(), pods[i].DeletionTimestamp)
					reporting.deadline.Store(&last)
					left := time.Until(last)
					all, share := time.AfterFunc(left, func() { cancel(errNoTime) }), time.AfterFunc(left/diagnosticsShare, cancelKube)
					context.AfterFunc(ctx, func() { all.Stop(); share.Stop() })
				}
			}
		})
		sight := report.SightOf(run, h.podName)
		outcome := sight.Outcome()
		if _, ended := sight.Main(); sight.Inside && !ended && (diagnostics.IsSidecar(sight.Pod, identity.SidecarName) || outcome == report.Stopped) {
			// A process that was told to stop may still write how it ended: its own word stands, and no other may be there
			// before. The sidecar sees that end; without one, pipelinectl kill, which waits for it, or pipelinectl serve.
			return report.Finding{}
		}
		if outcome == "" {
			outcome = h.hinted(sight)
		}
		finding := h.finding(sight, outcome)
		h.addCause(&finding, run)
		return finding
	})
}

// hinted is for a run whose Job is not known: the pod is asked, then what whoever started the handler believes, such as
// OpenMetadata's operator.
func (h *handler) hinted(sight report.Sight) report.Outcome {
	main, ended := sight.Main()
	switch {
	case ended && main.ExitCode == 0:
		return report.Complete
	case h.hint == "":
		return report.Undecided
	case !ended && (h.hint == "Succeeded" || h.hint == "success"):
		return report.Complete
	default:
		return report.Failed
	}
}
