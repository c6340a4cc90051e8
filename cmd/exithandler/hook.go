package main

import (
	"context"
	"log/slog"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

const (
	// diagnosticsShare is the part of the time that Kubernetes gets: the report does not wait for a slow API for longer.
	diagnosticsShare = 3
	// exitByTerm is how a process ends that the kubelet asks to.
	exitByTerm = exitSignalBase + int32(syscall.SIGTERM)
)

// hook reports the run's state to OpenMetadata and gives the exit code.
func hook(ctx context.Context, environ []string) int {
	started := time.Now()
	log, closeLog := newLogger()
	defer closeLog()
	env := readEnvironment(environ, "preStop hook")
	ctx, cancel := context.WithTimeout(ctx, max(env.gracePeriod-reserve, time.Second))
	defer cancel()
	result, err := reportRun(ctx, log, env)
	log = log.With("pipeline", env.fqn, "runId", env.runID, "took", time.Since(started).String())
	switch {
	case err != nil:
		log.Error("the run's state is not reported", "error", err)
		return exitError
	case result.State == "":
		log.Info("the run is not decided, its sidecar goes on watching")
	default:
		log.Info("the run's state is reported", "state", result.State, "written", result.Written)
	}
	return exitOK
}

// forKubernetes ends when Kubernetes has had its share of the time until the context's deadline: it may hang.
func forKubernetes(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/diagnosticsShare)
}

func reportRun(ctx context.Context, log *slog.Logger, env *environment) (report.Result, error) {
	kubeCtx, cancel := forKubernetes(ctx)
	defer cancel()
	h, err := newHandler(kubeCtx, log, env)
	if err != nil {
		return report.Result{}, err
	}
	defer h.server.Close()
	return report.When(ctx, h.server, h.fqn, h.runID, func(context.Context) report.Finding {
		run := h.collect(kubeCtx)
		outcome, known := h.outcome(run)
		if !known {
			return report.Finding{}
		}
		finding := h.finding(outcome, run.Job)
		h.addCause(&finding, run)
		return finding
	})
}

// outcome asks the Job; where that has not decided, what it will make of this pod, unless a sidecar is there, which sees
// how the pod really ends. Without a Job the pods are asked, and only last the hint, which OpenMetadata's operator gives.
func (h *handler) outcome(run *diagnostics.Run) (outcome report.Outcome, known bool) {
	attempt := h.attempt(run)
	if run.Job != nil {
		outcome = report.OutcomeOf(run.Job)
		if outcome.Final() || attempt < 0 {
			return outcome, true
		}
		pod := run.Pods[attempt].Object
		switch {
		case diagnostics.IsSidecar(pod, identity.SidecarName):
			return "", false // It sees the end itself.
		case pod.DeletionTimestamp != nil:
			return report.OutcomeWith(run.Job, pod, exitByTerm), true
		default:
			return outcome, true
		}
	}
	if run.JobGone && attempt >= 0 && metav1.GetControllerOf(run.Pods[attempt].Object) != nil {
		return report.Failed, true // The Job was deleted, and takes its pods along.
	}
	if len(run.Pods) > 0 {
		if code, ended := run.Pods[0].Ended(); ended && code == 0 {
			return report.Complete, true
		} else if ended {
			return report.Failed, true
		}
	}
	return hinted(h.hint), true
}

func hinted(hint string) report.Outcome {
	switch hint {
	case "Succeeded", "success":
		return report.Complete
	case "":
		return report.Undecided
	default:
		return report.Failed
	}
}
