package k8sclient

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// Hooks checks whether the reporters of a run's pods are in place, and what became of them.
func Hooks(run *diagnostics.Run) []Check {
	if len(run.Pods) == 0 || run.Pods[0].Object == nil {
		return []Check{{"pod", CheckFailed, "the run has no pod that could be read", "look at the run's cause: pipelinectl diagnose"}}
	}
	pod := run.Pods[0].Object
	at := slices.IndexFunc(pod.Spec.Containers, func(container corev1.Container) bool { return container.Name == identity.ContainerName })
	if at < 0 {
		return []Check{{"container", CheckFailed, fmt.Sprintf("pod %s has no container %s", pod.Name, identity.ContainerName), "deploy the pipeline again"}}
	}
	container := &pod.Spec.Containers[at]
	return []Check{
		checkHook(pod, container), checkSidecar(pod), checkEnvironment(container), checkHookEvents(run, pod),
		checkTermination(&run.Pods[0], pod), checkReads(run),
	}
}

func checkHook(pod *corev1.Pod, container *corev1.Container) Check {
	const name = "preStop hook"
	if container.Lifecycle == nil || container.Lifecycle.PreStop == nil || container.Lifecycle.PreStop.Exec == nil {
		return Check{name, CheckFailed, fmt.Sprintf("container %s of pod %s has none", container.Name, pod.Name), "deploy the pipeline again"}
	}
	return Check{Name: name, State: CheckOK, Detail: strings.Join(container.Lifecycle.PreStop.Exec.Command, " ")}
}

func checkSidecar(pod *corev1.Pod) Check {
	const name = "sidecar"
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == identity.SidecarName {
			return Check{Name: name, State: CheckOK, Detail: strings.Join(pod.Spec.InitContainers[i].Command, " ")}
		}
	}
	return Check{name, CheckWarning, "pod " + pod.Name + " has none", "exits and crashes are reported by pipelinectl serve only; see parameter sidecar"}
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

func checkReads(run *diagnostics.Run) Check {
	if len(run.Problems) > 0 {
		return Check{"permissions", CheckWarning, strings.Join(run.Problems, "; "), "a service account needs the Role in deploy/"}
	}
	return Check{Name: "permissions", State: CheckOK, Detail: "Job, pods, logs and events can be read from here"}
}
