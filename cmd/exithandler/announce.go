package main

import (
	"context"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// announceTimeout is how long a run's start may wait for its record.
const announceTimeout = 5 * time.Second

// announce makes the run's record running before its process starts: a process that dies early has one, and all writers
// find its timestamp. A run that OpenMetadata cannot be told of starts all the same.
func announce(environ []string) {
	env := readEnvironment(environ, "init")
	if env.check() != nil {
		return // Not a run's container, or one whose reporters will say what is missing.
	}
	log, closeLog := newLogger()
	defer closeLog()
	ctx, cancel := context.WithTimeout(context.Background(), announceTimeout)
	defer cancel()
	h, err := newHandler(ctx, log, env)
	if err != nil {
		log.Warn("the run's start is not reported", "error", err)
		return
	}
	defer h.server.Close()
	_, err = report.When(ctx, h.server, h.fqn, h.runID, func() report.Finding { return h.findStart(ctx) })
	if err != nil {
		h.log.Warn("the run's start is not reported", "error", err)
	}
}

// findStart needs the Job for the timestamp, and to leave a run alone that was stopped meanwhile.
func (h *handler) findStart(ctx context.Context) report.Finding {
	if h.kube == nil || h.jobName == "" {
		return report.Finding{}
	}
	job, err := h.kube.Job(ctx, h.jobName)
	if err != nil {
		h.log.Warn("the run's start is not reported", "error", err)
		return report.Finding{}
	}
	if report.OutcomeOf(job).Final() {
		return report.Finding{}
	}
	finding := h.finding(report.Sight{Job: job}, report.Undecided)
	finding.Superseded = time.Now() // An attempt begins.
	return finding
}
