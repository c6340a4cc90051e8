package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// handler is a reporter in a run's pod.
type handler struct {
	*environment

	log    *slog.Logger
	server *omapi.Client
	// kube is nil where kubeProblem says why there is none.
	kube        diagnostics.Reader
	kubeProblem error
}

// newHandler knows its run and its server, or fails. Kubernetes it can do without.
func newHandler(ctx context.Context, log *slog.Logger, env *environment) (*handler, error) {
	h := &handler{environment: env, log: log}
	h.kube, h.kubeProblem = newReader(env.namespace)
	if h.kube != nil {
		if err := env.complete(ctx, h.kube); err != nil {
			log.Warn("the environment is not complete", "error", err)
		}
	}
	if err := env.check(); err != nil {
		return nil, err
	}
	if env.configProblem != nil {
		log.Warn("the configuration is not whole", "error", env.configProblem)
	}
	h.log = log.With("pipeline", env.fqn, "runId", env.runID)
	var err error
	h.server, err = omapi.New(env.server)
	return h, err
}

func newReader(namespace string) (diagnostics.Reader, error) {
	config, err := kubeConfig()
	if err != nil {
		return nil, err
	}
	return diagnostics.NewReader(config, namespace)
}

// kubeConfig is the pod's own; outside a pod, for use by hand, the user's.
func kubeConfig() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if err == nil {
		return config, nil
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	return loader.ClientConfig()
}

// collect reads what Kubernetes knows of the run, and logs what it could not read. seen may be nil; it is told the run's
// pods before the rest is there.
func (h *handler) collect(ctx context.Context, seen func([]corev1.Pod)) *diagnostics.Run {
	run := &diagnostics.Run{Namespace: h.namespace, JobName: h.jobName}
	if h.kube == nil {
		run.Problems = []string{fmt.Sprintf("cannot reach Kubernetes: %v", h.kubeProblem)}
	} else {
		run = diagnostics.Collect(ctx, h.kube, diagnostics.Target{Namespace: h.namespace, JobName: h.jobName, RunID: h.runID, Redact: h.secrets, Seen: seen})
	}
	if h.jobName == "" {
		run.Problems = append(run.Problems, "the Job is not known: variable jobName is not set")
	}
	for _, problem := range run.Problems {
		h.log.Warn("diagnostics are not whole", "problem", problem)
	}
	return run
}

// finding is what is known of the run, without its cause.
func (h *handler) finding(sight report.Sight, outcome report.Outcome) report.Finding {
	finding := report.Finding{
		FQN: h.fqn, RunID: h.runID, Timestamp: time.Now().UnixMilli(), Outcome: outcome,
		Ended: sight.Ended(), Superseded: sight.Superseded(),
	}
	if sight.Job != nil {
		finding.Timestamp = report.TimestampOf(sight.Job)
	}
	return finding
}

// addCause adds the diagnosis: of the run where its end is decided, else of the attempt that this pod is.
func (h *handler) addCause(finding *report.Finding, run *diagnostics.Run) {
	who := h.reporter + " of pod " + h.podName
	switch attempt := h.attempt(run); {
	case finding.Outcome == report.Complete:
	case finding.Outcome.Final():
		finding.Step = new(run.Step(run.Judge(), who))
	case attempt >= 0:
		finding.Step = new(run.AttemptStep(attempt, who))
	}
}

// attempt is this pod's place among the run's attempts; -1 where it is none of those that were read.
func (h *handler) attempt(run *diagnostics.Run) int {
	for i := range run.Pods {
		if run.Pods[i].Name == h.podName {
			return i
		}
	}
	return -1
}
