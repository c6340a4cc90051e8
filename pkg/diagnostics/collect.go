package diagnostics

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// TailLines is how many of a log's last lines are kept, as OpenMetadata's exit_handler.py does.
	TailLines = 500
	// MaxLogBytes bounds those lines; one line can be of any length.
	MaxLogBytes = 256 << 10

	legacyJobNameLabel = "job-name"
)

// Target is the run to look at.
type Target struct {
	Namespace string
	JobName   string
	// Redact are secret values that must not leave.
	Redact []string
}

// Run is what Kubernetes knows of a run. Parts that could not be read are missing and named in Problems.
type Run struct {
	Namespace string       `json:"namespace"`
	JobName   string       `json:"jobName"`
	Job       *batchv1.Job `json:"-"`
	// Pods are the attempts, newest first.
	Pods []Pod `json:"pods"`
	// Events are those of the Job and its pods, oldest first.
	Events   []Event  `json:"events"`
	Problems []string `json:"problems,omitempty"`
}

// Pod is one attempt.
type Pod struct {
	Name       string      `json:"name"`
	Node       string      `json:"node,omitempty"`
	Phase      string      `json:"phase"`
	Reason     string      `json:"reason,omitempty"`
	Message    string      `json:"message,omitempty"`
	Created    time.Time   `json:"created"`
	Deleted    *time.Time  `json:"deleted,omitempty"`
	Disruption string      `json:"disruption,omitempty"`
	Containers []Container `json:"containers"`
}

// Container is one container of an attempt, init containers first.
type Container struct {
	Name string `json:"name"`
	// State is waiting, running or terminated; empty where the kubelet has not said.
	State    string    `json:"state,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	ExitCode int32     `json:"exitCode"`
	Signal   int32     `json:"signal,omitempty"`
	Restarts int32     `json:"restarts,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// Log is the end of the log, valid UTF-8.
	Log string `json:"log,omitempty"`
}

// Event is one of Kubernetes' events.
type Event struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Object  string    `json:"object"`
	Message string    `json:"message"`
	Count   int32     `json:"count,omitempty"`
}

// Collect reads all that can be read before the context ends. It never fails: what could not be read is in Problems.
func Collect(ctx context.Context, reader Reader, target Target) *Run {
	run := &Run{Namespace: target.Namespace, JobName: target.JobName}
	c := &collector{reader: reader, run: run, redact: NewRedactor(target.Redact)}
	var wg sync.WaitGroup
	wg.Go(func() { c.job(ctx) })
	wg.Go(func() { c.events(ctx, "Job", target.JobName) })
	pods := c.pods(ctx)
	run.Pods = make([]Pod, len(pods))
	for i := range pods {
		run.Pods[i] = newPod(&pods[i], c.redact)
		wg.Go(func() { c.events(ctx, "Pod", pods[i].Name) })
		for k := range run.Pods[i].Containers {
			wg.Go(func() { c.log(ctx, pods[i].Name, &run.Pods[i].Containers[k]) })
		}
	}
	wg.Wait()
	slices.SortStableFunc(run.Events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	slices.Sort(run.Problems)
	return run
}

type collector struct {
	reader Reader
	redact *strings.Replacer
	mu     sync.Mutex // guards run.Events and run.Problems
	run    *Run
}

func (c *collector) problem(what string, err error) {
	if apierrors.IsForbidden(err) {
		err = fmt.Errorf("%w (the pod's service account needs the Role in deploy/)", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.Problems = append(c.run.Problems, fmt.Sprintf("cannot read %s: %v", what, err))
}

func (c *collector) job(ctx context.Context) {
	job, err := c.reader.Job(ctx, c.run.JobName)
	if err != nil {
		c.problem("Job "+c.run.JobName, err)
		return
	}
	c.run.Job = job
}

func (c *collector) pods(ctx context.Context) []corev1.Pod {
	for _, label := range []string{batchv1.JobNameLabel, legacyJobNameLabel} {
		pods, err := c.reader.Pods(ctx, label+"="+c.run.JobName)
		if err != nil {
			c.problem("the pods of Job "+c.run.JobName, err)
			return nil
		}
		if len(pods) > 0 {
			slices.SortFunc(pods, func(a, b corev1.Pod) int {
				return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
			})
			return pods
		}
	}
	return nil
}

func (c *collector) events(ctx context.Context, kind, name string) {
	events, err := c.reader.Events(ctx, kind, name)
	if err != nil {
		c.problem(fmt.Sprintf("the events of %s %s", kind, name), err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range events {
		c.run.Events = append(c.run.Events, newEvent(&events[i], c.redact))
	}
}

func (c *collector) log(ctx context.Context, pod string, container *Container) {
	if container.State != stateRunning && container.State != stateTerminated {
		return
	}
	lines := int64(TailLines)
	stream, err := c.reader.Log(ctx, pod, &corev1.PodLogOptions{Container: container.Name, TailLines: &lines})
	if err != nil {
		c.problem(fmt.Sprintf("the log of container %s of pod %s", container.Name, pod), err)
		return
	}
	defer func() { _ = stream.Close() }()
	tail := newTail(MaxLogBytes)
	if _, err := io.Copy(tail, stream); err != nil {
		c.problem(fmt.Sprintf("the end of the log of container %s of pod %s", container.Name, pod), err)
	}
	container.Log = c.redact.Replace(clean(tail.String()))
}

const (
	stateWaiting    = "waiting"
	stateRunning    = "running"
	stateTerminated = "terminated"
)

func newPod(pod *corev1.Pod, redact *strings.Replacer) Pod {
	out := Pod{
		Name: pod.Name, Node: pod.Spec.NodeName, Phase: string(pod.Status.Phase),
		Reason: pod.Status.Reason, Message: pod.Status.Message, Created: pod.CreationTimestamp.Time,
	}
	if pod.DeletionTimestamp != nil {
		out.Deleted = &pod.DeletionTimestamp.Time
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
			out.Disruption = condition.Reason
		}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		container := newContainer(&status)
		// With another TerminationMessagePolicy the kubelet puts the end of a log here.
		container.Message = redact.Replace(clean(container.Message))
		out.Containers = append(out.Containers, container)
	}
	return out
}

func newContainer(status *corev1.ContainerStatus) Container {
	out := Container{Name: status.Name, Restarts: status.RestartCount}
	switch {
	case status.State.Terminated != nil:
		t := status.State.Terminated
		out.State, out.Reason, out.Message = stateTerminated, t.Reason, t.Message
		out.ExitCode, out.Signal = t.ExitCode, t.Signal
		out.Started, out.Finished = t.StartedAt.Time, t.FinishedAt.Time
	case status.State.Running != nil:
		out.State, out.Started = stateRunning, status.State.Running.StartedAt.Time
	case status.State.Waiting != nil:
		out.State, out.Reason, out.Message = stateWaiting, status.State.Waiting.Reason, status.State.Waiting.Message
	}
	return out
}

func newEvent(event *corev1.Event, redact *strings.Replacer) Event {
	at := event.LastTimestamp.Time
	for _, other := range []time.Time{event.EventTime.Time, event.CreationTimestamp.Time} {
		if at.IsZero() {
			at = other
		}
	}
	return Event{
		Time: at, Type: event.Type, Reason: event.Reason, Count: event.Count,
		Object:  event.InvolvedObject.Kind + "/" + event.InvolvedObject.Name,
		Message: redact.Replace(clean(event.Message)),
	}
}
