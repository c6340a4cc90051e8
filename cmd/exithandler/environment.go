package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipelinectl/pipelinectl/internal/version"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

const (
	defaultGracePeriod = 60 * time.Second
	// reserve is what is left of the grace period for the container's own end.
	reserve = 5 * time.Second

	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// environment is what the container's variables say of the run.
type environment struct {
	fqn, runID         string
	jobName, namespace string
	podName            string
	// hint is pipelineStatus: what whoever started the handler believes.
	hint string
	// reporter is who this process is, for the record and the server's access log.
	reporter    string
	gracePeriod time.Duration
	server      omapi.Config
	secrets     []string
	// configProblem is what is wrong with the configuration, where the rest can do without.
	configProblem error
}

// readEnvironment takes what is there; complete and check say what is missing.
func readEnvironment(environ []string, reporter string) *environment {
	vars := variables(environ)
	env := &environment{
		fqn: vars[identity.EnvPipelineFQN], runID: vars[identity.EnvRunID],
		jobName: vars[identity.EnvJobName], namespace: vars[identity.EnvNamespace],
		podName: cmp.Or(vars[identity.EnvPodName], vars["HOSTNAME"]), hint: vars[identity.EnvPipelineStatus],
		gracePeriod: defaultGracePeriod, reporter: reporter,
	}
	if seconds, err := strconv.Atoi(vars[identity.EnvGracePeriod]); err == nil && seconds > 0 {
		env.gracePeriod = time.Duration(seconds) * time.Second
	}
	if env.namespace == "" {
		if data, err := os.ReadFile(namespaceFile); err == nil {
			env.namespace = strings.TrimSpace(string(data))
		}
	}
	config, overlay, err := mergedConfig(vars)
	env.configProblem = err
	// The configuration may have come whole, without an overlay.
	_, whole := workflow.Rules{}.Split(config)
	env.secrets = slices.Concat(overlay.Values(), whole.Values())
	env.server = workflow.Connection(config)
	env.server.UserAgent = "exithandler/" + version.Short() + " (" + reporter + ")"
	if env.server.Token != "" && !slices.Contains(env.secrets, env.server.Token) {
		env.secrets = append(env.secrets, env.server.Token) // It may be in a file.
	}
	rules := workflow.Rules{Secret: strings.Split(vars[identity.EnvSecretVariables], ",")}
	for name, value := range vars {
		// The user's own variables, which the Secret may hold.
		if !slices.Contains(identity.Variables(), name) && rules.Variable(name, value) != "" {
			env.secrets = append(env.secrets, workflow.Overlay{name: value}.Values()...)
		}
	}
	if env.fqn == "" {
		env.fqn = workflow.PipelineFQN(config)
	}
	if env.runID == "" {
		env.runID = workflow.RunID(config)
	}
	return env
}

// complete asks the pod for what the environment does not say.
func (e *environment) complete(ctx context.Context, reader diagnostics.Reader) error {
	if e.fqn != "" && e.runID != "" && e.jobName != "" || e.podName == "" {
		return nil
	}
	pod, err := reader.Pod(ctx, e.podName)
	if err != nil {
		return fmt.Errorf("ask pod %s for the run that it belongs to: %w", e.podName, err)
	}
	e.jobName = cmp.Or(e.jobName, diagnostics.JobName(pod), pod.Labels[identity.LabelOMJob])
	e.fqn = cmp.Or(e.fqn, pod.Annotations[identity.AnnotationFQN])
	e.runID = cmp.Or(e.runID, pod.Labels[identity.LabelRunID], diagnostics.JobUID(pod))
	return nil
}

// check fails where the run or its server cannot be known: nobody can be told anything then.
func (e *environment) check() error {
	var errs []error
	if e.fqn == "" {
		errs = append(errs, fmt.Errorf("the pipeline is not known: %s is not set and the configuration has no ingestionPipelineFQN", identity.EnvPipelineFQN))
	}
	if e.runID == "" {
		errs = append(errs, fmt.Errorf("the run is not known: %s is not set and the configuration has no pipelineRunId", identity.EnvRunID))
	}
	if e.server.URL == "" {
		errs = append(errs, errors.New("the server is not known: the configuration has no workflowConfig.openMetadataServerConfig.hostPort"))
		errs = append(errs, e.configProblem)
	}
	return errors.Join(errs...)
}

// commandEnvironment puts the whole configuration in the place of its parts. Without the part that holds the secrets it
// goes through as it is, also where it cannot be parsed: saying what is wrong with it is then the workflow's part.
func commandEnvironment(environ []string) ([]string, error) {
	vars := variables(environ)
	if vars[identity.EnvConfigSecret] == "" {
		return environ, nil
	}
	merged, _, err := mergedConfig(vars)
	if err != nil {
		return nil, err
	}
	config, err := merged.Compact()
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(environ))
	for _, pair := range environ {
		switch name, _, _ := strings.Cut(pair, "="); name {
		case identity.EnvConfigSecret, identity.EnvPreviousSecret, identity.EnvConfigFingerprint:
		case identity.EnvConfig:
			out = append(out, name+"="+config)
		default:
			out = append(out, pair)
		}
	}
	return out, nil
}

// mergedConfig gives as much of the configuration as there is, also with an error.
func mergedConfig(vars map[string]string) (workflow.Config, workflow.Overlay, error) {
	config, err := workflow.Parse(vars[identity.EnvConfig])
	if err != nil {
		return nil, nil, fmt.Errorf("variable %s: %w", identity.EnvConfig, err)
	}
	overlay, err := workflow.OverlayOf(vars[identity.EnvConfigFingerprint], vars[identity.EnvConfigSecret], vars[identity.EnvPreviousSecret])
	if err != nil && !errors.Is(err, workflow.ErrOtherDeploy) {
		return config, nil, fmt.Errorf("variable %s: %w", identity.EnvConfigSecret, err)
	}
	merged, missing := workflow.Merge(config, overlay)
	return merged, overlay, cmp.Or(err, missing)
}

func variables(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	return vars
}
