package diagnostics

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Pod is one attempt.
type Pod struct {
	// Object is the pod as it was read.
	Object *corev1.Pod `json:"-"`

	Name       string     `json:"name"`
	Node       string     `json:"node,omitempty"`
	Phase      string     `json:"phase"`
	Reason     string     `json:"reason,omitempty"`
	Message    string     `json:"message,omitempty"`
	Created    time.Time  `json:"created"`
	Deleted    *time.Time `json:"deleted,omitempty"`
	Disruption string     `json:"disruption,omitempty"`
	// Unscheduled is why no node took the pod.
	Unscheduled string      `json:"unscheduled,omitempty"`
	Containers  []Container `json:"containers"`
	// InTheWay are injected containers that keep the pod from ending though the run's have ended.
	InTheWay []string `json:"inTheWay,omitempty"`
}

// ContainerKind tells what a container is for.
type ContainerKind string

// The kinds. A sidecar is an init container that runs on beside the others.
const (
	KindInit    ContainerKind = "init"
	KindSidecar ContainerKind = "sidecar"
	KindMain    ContainerKind = "main"
	// KindInjected is a container that somebody else added, such as a service mesh its proxy.
	KindInjected ContainerKind = "injected"
)

// Container is one container of an attempt, init containers first.
type Container struct {
	Name string        `json:"name"`
	Kind ContainerKind `json:"kind"`
	// State is waiting, running or terminated; empty where the kubelet has not said.
	State    string    `json:"state,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	ExitCode int32     `json:"exitCode"`
	Signal   int32     `json:"signal,omitempty"`
	Restarts int32     `json:"restarts,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// Last is how the container ended before it was started again; nil where it was not.
	Last *Container `json:"last,omitempty"`
	// Log is the end of the log, valid UTF-8.
	Log string `json:"log,omitempty"`
}

const (
	stateWaiting    = "waiting"
	stateRunning    = "running"
	stateTerminated = "terminated"
)

func newPod(pod *corev1.Pod, redact *Redactor) Pod {
	out := Pod{
		Object: pod, Name: pod.Name, Node: pod.Spec.NodeName, Phase: string(pod.Status.Phase),
		Reason: pod.Status.Reason, Message: redact.Replace(clean(pod.Status.Message)), Created: pod.CreationTimestamp.Time,
		InTheWay: InTheWay(pod),
	}
	if pod.DeletionTimestamp != nil {
		out.Deleted = &pod.DeletionTimestamp.Time
	}
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue:
			out.Disruption = condition.Reason
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			out.Unscheduled = condition.Message
		}
	}
	for i := range pod.Status.InitContainerStatuses {
		status := &pod.Status.InitContainerStatuses[i]
		kind := KindInit
		if IsSidecar(pod, status.Name) {
			kind = KindSidecar
		}
		out.Containers = append(out.Containers, newContainer(status, kind, redact))
	}
	injected := Injected(pod)
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		kind := KindMain
		if slices.Contains(injected, status.Name) {
			kind = KindInjected
		}
		out.Containers = append(out.Containers, newContainer(status, kind, redact))
	}
	return out
}

// IsSidecar says that an init container runs on beside the others.
func IsSidecar(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(container corev1.Container) bool {
		return container.Name == name && container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

func newContainer(status *corev1.ContainerStatus, kind ContainerKind, redact *Redactor) Container {
	out := containerState(status, &status.State, kind, redact)
	out.Restarts = status.RestartCount
	if status.LastTerminationState.Terminated != nil {
		last := containerState(status, &status.LastTerminationState, kind, redact)
		out.Last = &last
	}
	return out
}

func containerState(status *corev1.ContainerStatus, state *corev1.ContainerState, kind ContainerKind, redact *Redactor) Container {
	out := Container{Name: status.Name, Kind: kind}
	switch {
	case state.Terminated != nil:
		t := state.Terminated
		out.State, out.Reason, out.Message = stateTerminated, t.Reason, t.Message
		out.ExitCode, out.Signal = t.ExitCode, t.Signal
		out.Started, out.Finished = t.StartedAt.Time, t.FinishedAt.Time
	case state.Running != nil:
		out.State, out.Started = stateRunning, state.Running.StartedAt.Time
	case state.Waiting != nil:
		out.State, out.Reason, out.Message = stateWaiting, state.Waiting.Reason, state.Waiting.Message
	}
	// With another TerminationMessagePolicy the kubelet puts the end of a log here.
	out.Message = redact.Replace(clean(out.Message))
	return out
}

// Main is the container that does the pod's work; nil where the kubelet has not told of it yet.
func (p *Pod) Main() *Container {
	for i := range p.Containers {
		if p.Containers[i].Kind == KindMain {
			return &p.Containers[i]
		}
	}
	return nil
}

// JobName is the name of a pod's Job, JobUID the Job's UID, by the labels of this Kubernetes or of an older one.
func JobName(pod *corev1.Pod) string {
	return cmp.Or(pod.Labels[batchv1.JobNameLabel], pod.Labels[legacyJobNameLabel])
}

// JobUID is empty for a pod of no Job.
func JobUID(pod *corev1.Pod) string {
	return cmp.Or(pod.Labels[batchv1.ControllerUidLabel], pod.Labels[legacyControllerUIDLabel])
}

// AnyStarted says that a container of the pod has started, of whatever kind: there may be one that reports.
func AnyStarted(pod *corev1.Pod) bool {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if status.State.Running != nil || status.State.Terminated != nil {
			return true
		}
	}
	return false
}

// Ended gives the exit code of the pod's main container; false where it has not ended.
func (p *Pod) Ended() (int32, bool) {
	if state, ok := MainEnded(p.Object); ok {
		return state.ExitCode, true
	}
	return 0, false
}

// HasStarted says that the pod's main container has run.
func (p *Pod) HasStarted() bool {
	main := p.Main()
	return main != nil && main.started()
}

// failed says that the container ended with something else than success.
func (c *Container) failed() bool {
	return c.State == stateTerminated && (c.ExitCode != 0 || c.Reason == reasonOOMKilled)
}

// started says that the container's process has run.
func (c *Container) started() bool {
	return c.State == stateRunning || c.State == stateTerminated && !c.Started.IsZero() && !c.notStarted()
}

// notStarted says that the runtime could not start the container.
func (c *Container) notStarted() bool {
	return c.Reason == "StartError" || c.Reason == "ContainerCannotRun"
}
