package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// diagnosticsShare is the part of the time that Kubernetes gets: the report does not wait for a slow API for longer.
const diagnosticsShare = 3

// hook reports the run's state to OpenMetadata and gives the exit code.
func hook(ctx context.Context, environ []string) int {
	started := time.Now()
	log, closeLog := newLogger()
	defer closeLog()
	env, err := readEnvironment(environ)
	if err != nil {
		log.Error("nothing is reported", "error", err)
		return exitError
	}
	log = log.With("pipeline", env.fqn, "runId", env.runID)
	ctx, cancel := context.WithTimeout(ctx, max(env.gracePeriod-reserve, time.Second))
	defer cancel()

	result, err := reportRun(ctx, log, env)
	if err != nil {
		log.Error("the run's state is not reported", "error", err, "took", time.Since(started).String())
		return exitError
	}
	log.Info("the run's state is reported", "state", result.State, "written", result.Written, "took", time.Since(started).String())
	return exitOK
}

func reportRun(ctx context.Context, log *slog.Logger, env *environment) (report.Result, error) {
	if env.configProblem != nil {
		log.Warn("the configuration is not whole", "error", env.configProblem)
	}
	server, err := omapi.New(env.server)
	if err != nil {
		return report.Result{}, err
	}
	defer server.Close()
	run := collect(ctx, env)
	for _, problem := range run.Problems {
		log.Warn("diagnostics are not whole", "problem", problem)
	}
	finding := report.Finding{
		FQN: env.fqn, RunID: env.runID, Timestamp: time.Now().UnixMilli(),
		Outcome: outcome(run, env.hint),
	}
	if run.Job != nil {
		finding.Timestamp = report.TimestampOf(run.Job)
	}
	if finding.Outcome != report.Complete {
		step := run.Step(run.Judge(), "preStop hook of pod "+env.podName)
		finding.Step = &step
	}
	return report.Report(ctx, server, finding)
}

// outcome asks the Job. Only where it cannot be read does the hint count, which OpenMetadata's operator gives.
func outcome(run *diagnostics.Run, hint string) report.Outcome {
	if run.Job != nil {
		return report.OutcomeOf(run.Job)
	}
	switch hint {
	case "Succeeded", "success":
		return report.Complete
	case "":
		return report.Undecided
	default:
		return report.Failed
	}
}

func collect(ctx context.Context, env *environment) *diagnostics.Run {
	run := &diagnostics.Run{Namespace: env.namespace, JobName: env.jobName}
	if env.jobName == "" {
		run.Problems = []string{"the Job is not known: variable jobName is not set"}
		return run
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/diagnosticsShare)
		defer cancel()
	}
	config, err := kubeConfig()
	if err == nil {
		var reader diagnostics.Reader
		if reader, err = diagnostics.NewReader(config, env.namespace); err == nil {
			return diagnostics.Collect(ctx, reader, diagnostics.Target{Namespace: env.namespace, JobName: env.jobName, Redact: env.secrets})
		}
	}
	run.Problems = []string{fmt.Sprintf("cannot reach Kubernetes: %v", err)}
	return run
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
