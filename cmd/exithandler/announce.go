package main

import (
	"context"
	"os/signal"
	"syscall"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// announceTimeout is how long a run's start may wait for its record.
const announceTimeout = 5 * time.Second

// announce makes the run's record running before its process starts: a process that dies early has one, and all writers
// find its timestamp. A run that OpenMetadata cannot be told of starts all the same. It says whether an earlier attempt has
// completed the run, so that there is nothing left to do.
func announce(environ []string) (completed bool) {
	env := readEnvironment(environ, "init")
	if env.check() != nil {
		return false // Not a run's container, or one whose reporters will say what is missing.
	}
	log, closeLog := newLogger()
	defer closeLog()
	ctx, cancel := context.WithTimeout(context.Background(), announceTimeout)
	defer cancel()
	// A run that is told to end is not running: what is written now would come after its end.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	h, err := newHandler(ctx, log, env)
	if err != nil {
		log.Warn("the run's start is not reported", "error", err)
		return false
	}
	defer h.server.Close()
	_, err = report.When(ctx, h.server, h.fqn, h.runID, func() report.Finding {
		var finding report.Finding
		finding, completed = h.findStart(ctx)
		return finding
	})
	if err != nil {
		h.log.Warn("the run's start is not reported", "error", err)
	}
	return completed
}

// findStart needs the Job for the timestamp, and to leave a run alone that was stopped or completed meanwhile.
func (h *handler) findStart(ctx context.Context) (finding report.Finding, completed bool) {
	if h.kube == nil || h.jobName == "" {
		return report.Finding{}, false
	}
	job, err := h.kube.Job(ctx, h.jobName)
	if err != nil {
		h.log.Warn("the run's start is not reported", "error", err)
		return report.Finding{}, false
	}
	if report.OutcomeOf(job).Final() {
		return report.Finding{}, false
	}
	if job.Status.Failed > 0 && h.completedBefore(ctx, job) {
		return report.Finding{}, true
	}
	finding = h.finding(report.Sight{Job: job}, report.Undecided)
	finding.Superseded = time.Now() // An attempt begins.
	return finding, false
}

// completedBefore says that an earlier attempt has completed the run, though its pod failed by a container that is not the
// run's.
func (h *handler) completedBefore(ctx context.Context, job *batchv1.Job) bool {
	pods, err := h.kube.Pods(ctx, batchv1.ControllerUidLabel+"="+string(job.UID))
	if err != nil {
		h.log.Warn("earlier attempts are not known", "error", err)
		return false
	}
	for i := range pods {
		if pods[i].Name != h.podName && diagnostics.Completed(&pods[i]) {
			return true
		}
	}
	return false
}
