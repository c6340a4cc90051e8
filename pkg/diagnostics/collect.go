package diagnostics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

const (
	// maxAttempts is of how many attempts, newest first, logs and events are read.
	maxAttempts = 5
	// maxEvents bounds the events that are kept, newest first.
	maxEvents = 100

	legacyJobNameLabel       = "job-name"
	legacyControllerUIDLabel = "controller-uid"
)

// Target is the run to look at.
type Target struct {
	Namespace string
	// JobName is the run's Job, or the OMJob of OpenMetadata's operator; empty where it is not known.
	JobName string
	// RunID finds the pods that no name finds. It may be empty.
	RunID string
	// Job and Pods are what the caller has seen of the run. They are used where the API does not have them any more.
	Job  *batchv1.Job
	Pods []corev1.Pod
	// Redact are secret values that must not leave.
	Redact []string
	// Secrets gives more of them; where it fails, the logs are left out. It may be nil.
	Secrets func(context.Context) ([]string, error)
	// Seen is told the run's pods, newest first, as soon as they are known; logs take longer. It may be nil.
	Seen func([]corev1.Pod)
}

// Run is what Kubernetes knows of a run. Parts that could not be read are missing and named in Problems.
type Run struct {
	Namespace string       `json:"namespace"`
	JobName   string       `json:"jobName"`
	Job       *batchv1.Job `json:"-"`
	// JobGone says that the Job was deleted; Job is then what the caller had seen of it, nil for nothing.
	JobGone bool `json:"jobGone,omitempty"`
	// Standalone says that the pods belong to no Job, as those of OpenMetadata's operator.
	Standalone bool        `json:"standalone,omitempty"`
	Conditions []Condition `json:"conditions,omitempty"`
	// Pods are the attempts, newest first.
	Pods []Pod `json:"pods"`
	// Gone are pods of the Job of which only events are left, newest first.
	Gone []string `json:"gonePods,omitempty"`
	// Events are those of the Job and its pods, oldest first.
	Events   []Event  `json:"events"`
	Problems []string `json:"problems,omitempty"`
}

// Condition is one of the Job's.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Event is one of Kubernetes' events.
type Event struct {
	Time   time.Time `json:"time"`
	Type   string    `json:"type"`
	Reason string    `json:"reason"`
	Object string    `json:"object"`
	// Field is the part of the object, such as spec.containers{ingestion}.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Count   int32  `json:"count,omitempty"`
}

// Collect reads all that can be read before the context ends. It never fails: what could not be read is in Problems.
// What does not need the answer of another request goes out at the same time.
func Collect(ctx context.Context, reader Reader, target Target) *Run {
	run := &Run{Namespace: target.Namespace, JobName: target.JobName}
	c := &collector{reader: reader, run: run, target: target}
	var wg sync.WaitGroup
	if target.Secrets == nil {
		c.redact = NewRedactor(target.Redact)
	} else {
		c.hidden.Go(func() { c.hide(ctx) })
	}
	if target.JobName != "" {
		wg.Go(func() { c.events(ctx, "Job", target.JobName) })
	}
	pods := c.own(c.find(ctx))
	if target.Seen != nil {
		target.Seen(pods)
	}
	for i := range pods[:min(len(pods), maxAttempts)] {
		wg.Go(func() { c.events(ctx, "Pod", pods[i].Name) })
	}
	c.hidden.Wait()
	run.Pods = make([]Pod, len(pods))
	keep := MaxLogBytes
	for i := range pods {
		run.Pods[i] = newPod(&pods[i], c.redact)
		for k := range run.Pods[i].Containers {
			if i < maxAttempts {
				c.logs(ctx, &wg, &run.Pods[i], &run.Pods[i].Containers[k], keep)
			}
		}
		keep = olderLogBytes
	}
	wg.Wait()
	run.sortEvents()
	if c.podsRead {
		run.Gone = run.gone()
	}
	for _, name := range run.Gone {
		wg.Go(func() { c.events(ctx, "Pod", name) })
	}
	wg.Wait()
	run.sortEvents()
	run.Events = run.Events[max(0, len(run.Events)-maxEvents):]
	slices.Sort(run.Problems)
	return run
}

// find reads the Job and the pods of the run.
func (c *collector) find(ctx context.Context) []corev1.Pod {
	if c.run.JobName == "" {
		return c.otherPods(ctx)
	}
	var job sync.WaitGroup
	job.Go(func() { c.job(ctx) })
	pods, err := c.pods(ctx)
	job.Wait()
	if err == nil && len(pods) == 0 && c.run.Job == nil {
		pods = c.otherPods(ctx)
	}
	if c.jobProblem != nil && !c.run.Standalone {
		c.problem("Job "+c.run.JobName, c.jobProblem)
	}
	return pods
}

type collector struct {
	reader Reader
	target Target
	// hidden ends when redact is there.
	hidden sync.WaitGroup
	redact *Redactor
	// withoutLogs: what they may hold in secret is not known.
	withoutLogs bool
	podsRead    bool
	// jobProblem is that there is no such Job, which means nothing where the pods belong to none.
	jobProblem error
	mu         sync.Mutex // guards run.Events and run.Problems
	run        *Run
}

func (c *collector) hide(ctx context.Context) {
	more, err := c.target.Secrets(ctx)
	c.redact, c.withoutLogs = NewRedactor(slices.Concat(c.target.Redact, more)), err != nil && more == nil
	if err == nil {
		return
	}
	problem := err.Error()
	if c.withoutLogs {
		problem = "logs are left out, as their secrets are not known: " + problem
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.Problems = append(c.run.Problems, problem)
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
	known := c.target.Job
	switch {
	case err == nil && (known == nil || known.UID == job.UID):
		c.run.Job = job
	case known != nil && (err == nil || apierrors.IsNotFound(err)):
		// One of the same name may have been made since.
		c.run.Job, c.run.JobGone = known, true
	case apierrors.IsNotFound(err):
		c.run.JobGone, c.jobProblem = true, err
	default:
		c.run.Job = known
		c.problem("Job "+c.run.JobName, err)
	}
	if c.run.Job == nil {
		return
	}
	for _, condition := range c.run.Job.Status.Conditions {
		c.run.Conditions = append(c.run.Conditions, Condition{
			Type: string(condition.Type), Status: string(condition.Status), Reason: condition.Reason, Message: condition.Message,
		})
	}
}

func (c *collector) pods(ctx context.Context) ([]corev1.Pod, error) {
	if len(validation.IsValidLabelValue(c.run.JobName)) > 0 {
		return nil, nil // No pod can have it.
	}
	for _, label := range []string{batchv1.JobNameLabel, legacyJobNameLabel} {
		pods, err := c.reader.Pods(ctx, label+"="+c.run.JobName)
		if err != nil {
			c.problem("the pods of Job "+c.run.JobName, err)
			return nil, err
		}
		c.podsRead = true
		if len(pods) > 0 {
			return pods, nil
		}
	}
	return nil, nil
}

// otherPods finds the pods of a run that no Job made, as OpenMetadata's exit_handler.py does: those that its operator made of
// an OMJob, then any of the run's id. The pod that handles an OMJob's end is none of them.
func (c *collector) otherPods(ctx context.Context) []corev1.Pod {
	var selectors []string
	for label, value := range map[string]string{identity.LabelOMJob: c.run.JobName, identity.LabelRunID: c.target.RunID} {
		if value != "" && len(validation.IsValidLabelValue(value)) == 0 {
			selectors = append(selectors, label+"="+value+","+identity.LabelPodType+"!=exit-handler")
		}
	}
	slices.SortFunc(selectors, func(a, b string) int { return strings.Compare(b, a) }) // The OMJob first.
	for _, selector := range selectors {
		pods, err := c.reader.Pods(ctx, selector)
		if err != nil {
			c.problem("the pods of the run", err)
			return nil
		}
		if len(pods) > 0 {
			if !slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return JobUID(&pod) != "" }) {
				c.run.Standalone, c.run.JobGone = true, false
			}
			return pods
		}
	}
	return nil
}

// own are the Job's pods, newest first, those too that only the caller has seen. An older Job of the same name may have
// left pods; which are this one's the UID says.
func (c *collector) own(pods []corev1.Pod) []corev1.Pod {
	seen := map[types.UID]bool{}
	for i := range pods {
		seen[pods[i].UID] = true
	}
	for i := range c.target.Pods {
		if !seen[c.target.Pods[i].UID] {
			pods = append(pods, c.target.Pods[i])
		}
	}
	if c.run.Job != nil && c.run.Job.UID != "" {
		pods = slices.DeleteFunc(pods, func(pod corev1.Pod) bool {
			owner := JobUID(&pod)
			return owner != "" && owner != string(c.run.Job.UID)
		})
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return pods
}

func (r *Run) sortEvents() {
	slices.SortStableFunc(r.Events, func(a, b Event) int { return a.Time.Compare(b.Time) })
}

// gone are pods that the Job's controller made, by its events, which are in order, and that are not there any more; newest
// first. A Job that is over its deadline deletes its pods, and their events say what they were waiting for.
func (r *Run) gone() []string {
	var names []string
	for _, event := range r.Events {
		name, ok := strings.CutPrefix(event.Message, "Created pod: ")
		if ok && event.Reason == "SuccessfulCreate" && !slices.ContainsFunc(r.Pods, func(pod Pod) bool { return pod.Name == name }) {
			names = append(names, name)
		}
	}
	slices.Reverse(names)
	return names[:min(len(names), maxAttempts)]
}

func (c *collector) events(ctx context.Context, kind, name string) {
	events, err := c.reader.Events(ctx, kind, name)
	if err != nil {
		c.problem(fmt.Sprintf("the events of %s %s", kind, name), err)
		return
	}
	c.hidden.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range events {
		c.run.Events = append(c.run.Events, newEvent(&events[i], c.redact))
	}
}

func newEvent(event *corev1.Event, redact *Redactor) Event {
	at := event.LastTimestamp.Time
	for _, other := range []time.Time{event.EventTime.Time, event.CreationTimestamp.Time} {
		if at.IsZero() {
			at = other
		}
	}
	return Event{
		Time: at, Type: event.Type, Reason: event.Reason, Count: event.Count,
		Object:  event.InvolvedObject.Kind + "/" + event.InvolvedObject.Name,
		Field:   event.InvolvedObject.FieldPath,
		Message: redact.Replace(clean(event.Message)),
	}
}
