package k8sclient

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// Hooks checks whether the reporters of a run's newest pod are in place, and what became of them. Where there is no pod,
// it checks what the Job would make one of.
func (c *Client) Hooks(ctx context.Context, run *diagnostics.Run) []Check {
	if len(run.Pods) > 0 && run.Pods[0].Object != nil {
		pod := run.Pods[0].Object
		checks := checkSpec("pod "+pod.Name, &pod.Spec)
		return append(checks, checkHookEvents(run, pod), checkTermination(&run.Pods[0], pod), checkReads(run), c.checkAccount(ctx, accountOf(&pod.Spec)))
	}
	checks := []Check{{"pod", CheckFailed, "the run has no pod that could be read", "look at the run's cause: pipelinectl diagnose"}}
	if run.Job != nil {
		spec := &run.Job.Spec.Template.Spec
		checks = append(append(checks, checkSpec("Job "+run.Job.Name, spec)...), checkReads(run), c.checkAccount(ctx, accountOf(spec)))
	}
	return checks
}

func checkSpec(owner string, spec *corev1.PodSpec) []Check {
	at := slices.IndexFunc(spec.Containers, func(container corev1.Container) bool { return container.Name == identity.ContainerName })
	if at < 0 {
		return []Check{{"container", CheckFailed, fmt.Sprintf("%s has no container %s", owner, identity.ContainerName), "deploy the pipeline again"}}
	}
	container := &spec.Containers[at]
	return []Check{checkHook(owner, container), checkSidecar(owner, spec), checkEnvironment(container)}
}

func checkHook(owner string, container *corev1.Container) Check {
	const name = "preStop hook"
	if container.Lifecycle == nil || container.Lifecycle.PreStop == nil || container.Lifecycle.PreStop.Exec == nil {
		return Check{name, CheckFailed, fmt.Sprintf("container %s of %s has none", container.Name, owner), "deploy the pipeline again"}
	}
	return Check{Name: name, State: CheckOK, Detail: strings.Join(container.Lifecycle.PreStop.Exec.Command, " ")}
}

func checkSidecar(owner string, spec *corev1.PodSpec) Check {
	const name = "sidecar"
	for i := range spec.InitContainers {
		if spec.InitContainers[i].Name == identity.SidecarName {
			return Check{Name: name, State: CheckOK, Detail: strings.Join(spec.InitContainers[i].Command, " ")}
		}
	}
	return Check{name, CheckWarning, owner + " has none", "exits and crashes are reported by pipelinectl serve only; see parameter sidecar"}
}

func checkEnvironment(container *corev1.Container) Check {
	const name = "environment"
	var missing []string
	for _, variable := range []string{
		identity.EnvConfig, identity.EnvPipelineType, identity.EnvRunID, identity.EnvPipelineFQN, identity.EnvJobName, identity.EnvNamespace,
	} {
		if !slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return env.Name == variable }) {
			missing = append(missing, variable)
		}
	}
	if len(missing) > 0 {
		return Check{name, CheckFailed, "not set: " + strings.Join(missing, ", "), "deploy the pipeline again"}
	}
	return Check{Name: name, State: CheckOK, Detail: "complete"}
}

func checkHookEvents(run *diagnostics.Run, pod *corev1.Pod) Check {
	const name = "hook's end"
	for _, event := range run.Events {
		if event.Reason == "FailedPreStopHook" && event.Object == "Pod/"+pod.Name {
			return Check{name, CheckFailed, fmt.Sprintf("FailedPreStopHook at %s: %s", event.Time.UTC().Format(time.RFC3339), event.Message), "see the lines of logger exithandler in the container's log"}
		}
	}
	return Check{Name: name, State: CheckOK, Detail: "no event FailedPreStopHook"}
}

func checkTermination(attempt *diagnostics.Pod, pod *corev1.Pod) Check {
	const name = "termination"
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if seconds := pod.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = *seconds
	}
	main := attempt.Main()
	if pod.DeletionTimestamp == nil || main == nil || main.Finished.IsZero() {
		return Check{Name: name, State: CheckOK, Detail: fmt.Sprintf("grace period of %d s", grace)}
	}
	// The deletion timestamp is when the grace period ends.
	asked := pod.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
	took := max(0, main.Finished.Sub(asked))
	if took >= time.Duration(grace)*time.Second {
		return Check{name, CheckWarning, fmt.Sprintf("took the whole grace period of %d s", grace), "the process ignores SIGTERM, or the hook hangs; raise terminationGracePeriodSeconds, or see the log"}
	}
	return Check{Name: name, State: CheckOK, Detail: fmt.Sprintf("took %s of a grace period of %d s", took.Round(time.Second), grace)}
}

// checkReads is about who asks: what it could not read it cannot judge.
func checkReads(run *diagnostics.Run) Check {
	const name = "what is read from here"
	if len(run.Problems) > 0 {
		return Check{name, CheckWarning, strings.Join(run.Problems, "; "), adviceRole}
	}
	return Check{Name: name, State: CheckOK, Detail: "Job, pods, logs and events"}
}

func accountOf(spec *corev1.PodSpec) string { return cmp.Or(spec.ServiceAccountName, "default") }
