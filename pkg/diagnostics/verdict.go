package diagnostics

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// Category is a stable name for the cause of an end.
type Category string

// The categories; their values do not change.
const (
	CategorySucceeded            Category = "Succeeded"
	CategoryKilled               Category = "Killed"
	CategoryDeleted              Category = "Deleted"
	CategoryEvicted              Category = "Evicted"
	CategoryPreempted            Category = "Preempted"
	CategoryNodeLost             Category = "NodeLost"
	CategoryDeadlineExceeded     Category = "DeadlineExceeded"
	CategoryBackoffLimitExceeded Category = "BackoffLimitExceeded"
	CategoryOOMKilled            Category = "OOMKilled"
	CategoryImagePull            Category = "ImagePull"
	CategoryConfigMissing        Category = "ConfigMissing"
	CategoryInvalidConfiguration Category = "InvalidConfiguration"
	CategoryStartError           Category = "StartError"
	CategoryUnschedulable        Category = "Unschedulable"
	CategoryQuotaOrAdmission     Category = "QuotaOrAdmission"
	CategoryApplicationError     Category = "ApplicationError"
	// CategoryNotStarted: the command that was starting the run was interrupted.
	CategoryNotStarted Category = "NotStarted"
	// CategorySuspended: the Job was suspended while the attempt ran, as Kueue does it for a run of a higher priority.
	CategorySuspended Category = "Suspended"
	CategoryUnknown   Category = "Unknown"
)

// TextNotStarted is why a run has failed that was interrupted while it was started.
const TextNotStarted = "the command that was starting the run was interrupted; the run did not start"

const (
	reasonOOMKilled = "OOMKilled"

	exitCannotExecute = 126
	exitNotFound      = 127
)

// Verdict is the cause of a run's end, or of its standstill.
type Verdict struct {
	Category Category `json:"category"`
	// Summary is one sentence that says what happened to which object.
	Summary string `json:"summary"`
	// Advice is one sentence that says what to do.
	Advice string `json:"advice,omitempty"`
}

// Judge finds the cause. The Job is asked first, as it decides; then the newest attempt.
func (r *Run) Judge() Verdict {
	if v, ok := r.judgeJob(); ok {
		return v
	}
	if len(r.Pods) == 0 {
		return r.judgeWithoutPods()
	}
	v := r.JudgeAttempt(r.attempt())
	if attempts := r.attempts(); attempts > 1 {
		v.Summary += fmt.Sprintf("; it was attempt %d", attempts)
		if r.Job != nil && r.Job.Spec.BackoffLimit != nil {
			v.Summary += fmt.Sprintf(" of at most %d", *r.Job.Spec.BackoffLimit+1)
		}
	}
	return v
}

func (r *Run) judgeJob() (Verdict, bool) {
	if r.Job == nil {
		return r.judgeMissingJob()
	}
	if v, ok := r.judgeCommand(); ok {
		return v, true
	}
	apart := len(r.Pods) > 0 && EndedApart(r.Job, r.Pods[r.attempt()].Object)
	for _, condition := range r.Job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch {
		case condition.Type == batchv1.JobComplete:
			return Verdict{Category: CategorySucceeded, Summary: fmt.Sprintf("Job %s completed", r.JobName)}, true
		case apart:
			return Verdict{}, false // The attempt had ended before.
		case condition.Reason == batchv1.JobReasonDeadlineExceeded:
			return r.judgeDeadline(), true
		case condition.Type == batchv1.JobFailed:
			return Verdict{}, false // A Job that is deleted after it failed has failed.
		}
	}
	if r.JobGone || r.Job.DeletionTimestamp != nil {
		return r.judgeDeletion(), true
	}
	return Verdict{}, false
}

// judgeMissingJob is for a run without a Job: deleting it ended the run, unless the newest attempt had failed by itself.
func (r *Run) judgeMissingJob() (Verdict, bool) {
	if !r.JobGone || len(r.Pods) == 0 {
		return Verdict{}, false
	}
	main := r.Pods[0].Main()
	return r.judgeDeletion(), main == nil || !main.failed() || main.wasEnded()
}

// judgeCommand is for a Job of which a command has decided.
func (r *Run) judgeCommand() (Verdict, bool) {
	const again = "run the pipeline again when wanted"
	if at := r.Job.Annotations[identity.AnnotationStopRequested]; at != "" {
		return Verdict{CategoryKilled, fmt.Sprintf("Job %s was stopped by a person at %s", r.JobName, at), again}, true
	}
	if r.Job.Labels[identity.LabelStart] == identity.StartInterrupted {
		return Verdict{CategoryNotStarted, TextNotStarted, again}, true
	}
	return Verdict{}, false
}

func (r *Run) judgeDeletion() Verdict {
	return Verdict{CategoryDeleted, fmt.Sprintf("Job %s was deleted while it ran", r.JobName), "run the pipeline again when wanted; pipelinectl kill ends a run in order"}
}

// judgeDeadline tells what the time was spent on, where that is waiting.
func (r *Run) judgeDeadline() Verdict {
	limit := "activeDeadlineSeconds"
	if seconds := r.Job.Spec.ActiveDeadlineSeconds; seconds != nil {
		limit = fmt.Sprintf("activeDeadlineSeconds of %d s", *seconds)
	}
	v, ok := Verdict{}, false
	if len(r.Pods) == 0 {
		v, ok = r.judgeGone()
	} else if r.Pods[0].Disruption != "" {
		v, ok = judgeTaken(&r.Pods[0])
	} else if main := r.Pods[0].Main(); main == nil || !main.started() {
		v, ok = r.judgeStart(&r.Pods[0])
	}
	if ok {
		v.Summary += fmt.Sprintf(", until the Job's %s was over", limit)
		return v
	}
	v = Verdict{
		CategoryDeadlineExceeded, fmt.Sprintf("Job %s ran longer than its %s", r.JobName, limit),
		"raise activeDeadlineSeconds, or find in the log what took so long",
	}
	if last, ok := r.judgePause(); ok {
		v.Summary += "; its last attempt had failed: " + last.Summary
		v.Advice = last.Advice
	}
	return v
}

// judgePause is for a Job that ended in the pause before a retry: the newest attempt had failed by itself.
func (r *Run) judgePause() (Verdict, bool) {
	if len(r.Pods) == 0 || r.Pods[0].Deleted != nil {
		return Verdict{}, false
	}
	main := r.Pods[0].Main()
	return r.JudgeAttempt(0), main != nil && main.failed() && !main.wasEnded()
}

// judgeGone is for a Job without pods: of the newest that it had, events may say why it did not start.
func (r *Run) judgeGone() (Verdict, bool) {
	if len(r.Gone) == 0 {
		return r.judgeCreation()
	}
	if r.mainEvent(r.Gone[0], "Started") {
		return Verdict{}, false
	}
	return r.judgeStart(&Pod{Name: r.Gone[0]})
}

// mainEvent says whether there is an event of a pod's container that is neither an init container nor a sidecar.
func (r *Run) mainEvent(pod, reason string) bool {
	return slices.ContainsFunc(r.Events, func(e Event) bool {
		return e.Object == "Pod/"+pod && e.Reason == reason && strings.HasPrefix(e.Field, "spec.containers{")
	})
}

func (r *Run) judgeWithoutPods() Verdict {
	if v, ok := r.judgeGone(); ok {
		return v
	}
	if r.condition(batchv1.JobReasonBackoffLimitExceeded) {
		if len(r.Gone) > 0 && r.mainEvent(r.Gone[0], "Killing") {
			return Verdict{CategoryDeleted, fmt.Sprintf("pod %s was deleted while it ran", r.Gone[0]), "see the events for who deleted it; run the pipeline again"}
		}
		return Verdict{
			CategoryBackoffLimitExceeded, fmt.Sprintf("Job %s failed after %d attempts, of which no pod is left", r.JobName, r.failedAttempts()),
			"see the events for who deleted the pods",
		}
	}
	return Verdict{CategoryUnknown, fmt.Sprintf("Job %s has no pod that could be read", r.JobName), "look at the problems listed, and at the Job's events"}
}

// judgeCreation is for a Job whose controller cannot make a pod.
func (r *Run) judgeCreation() (Verdict, bool) {
	if e := r.newestEvent("Job/"+r.JobName, "FailedCreate"); e != nil {
		return Verdict{CategoryQuotaOrAdmission, fmt.Sprintf("no pod of Job %s may be made: %s", r.JobName, e.Message), "ask for a larger quota, or change what the admission rule refuses"}, true
	}
	return Verdict{}, false
}

// attempt is the place of the attempt that decides the run's end.
func (r *Run) attempt() int {
	pods := make([]*corev1.Pod, len(r.Pods))
	for i := range r.Pods {
		pods[i] = r.Pods[i].Object
	}
	return max(0, slices.Index(pods, Attempt(pods)))
}

// JudgeAttempt finds the cause of one attempt's end, newest first.
func (r *Run) JudgeAttempt(attempt int) Verdict {
	pod := &r.Pods[attempt]
	if Completed(pod.Object) {
		v := Verdict{Category: CategorySucceeded, Summary: fmt.Sprintf("container %s of pod %s succeeded", pod.Main().Name, pod.Name)}
		return pod.held(v)
	}
	return pod.held(r.judgeAttempt(pod))
}

// held names the containers in the way of a pod's end.
func (p *Pod) held(v Verdict) Verdict {
	if len(p.InTheWay) == 0 {
		return v
	}
	v.Summary += fmt.Sprintf("; %s, which somebody else added to pod %s, keeps it running", containers(p.InTheWay), p.Name)
	if v.Advice == "" {
		v.Advice = AdviceInjected
	}
	return v
}

// containers names one or more of them.
func containers(names []string) string {
	if len(names) == 1 {
		return "container " + names[0]
	}
	return "containers " + strings.Join(names, ", ")
}

func (r *Run) judgeAttempt(pod *Pod) Verdict {
	if v, ok := judgeContainers(pod); ok {
		return v
	}
	if v, ok := r.judgeTaken(pod); ok {
		return v
	}
	if v, ok := r.judgeStart(pod); ok {
		return v
	}
	if main := pod.Main(); main != nil && main.State == stateRunning && pod.Deleted == nil {
		return Verdict{CategoryUnknown, fmt.Sprintf("pod %s is in phase %s, container %s runs", pod.Name, pod.Phase, main.Name), "see the log for what it does"}
	}
	return Verdict{CategoryUnknown, fmt.Sprintf("pod %s is in phase %s", pod.Name, pod.Phase), "see the events and the log"}
}

// judgeContainers finds the first container whose state tells the cause.
func judgeContainers(pod *Pod) (Verdict, bool) {
	taken := pod.Disruption != "" || pod.Deleted != nil || pod.Reason == "Evicted"
	for i := range pod.Containers {
		container := &pod.Containers[i]
		beside := container.Kind == KindSidecar || container.Kind == KindInjected
		if beside && (container.State != stateWaiting || pod.HasStarted()) {
			continue // It does not decide how the pod ends.
		}
		if taken && container.wasEnded() {
			continue // The signal is how the pod was taken away, not why it ended.
		}
		if v, ok := judgeContainer(pod, container); ok {
			return v, true
		}
	}
	return Verdict{}, false
}

// judgeTaken is for a pod that was taken away while it ran.
func (r *Run) judgeTaken(pod *Pod) (Verdict, bool) {
	if r.suspendedSince(pod) {
		return Verdict{CategorySuspended, fmt.Sprintf("Job %s was suspended, and pod %s was ended for that", r.JobName, pod.Name), "nothing to do: the run goes on in another pod when the Job is resumed"}, true
	}
	return judgeTaken(pod)
}

// suspendedSince says that the Job was suspended after the pod was made, and has deleted it.
func (r *Run) suspendedSince(pod *Pod) bool {
	if r.Job == nil || pod.Deleted == nil || pod.Disruption != "" {
		return false
	}
	return slices.ContainsFunc(r.Job.Status.Conditions, func(condition batchv1.JobCondition) bool {
		return condition.Type == batchv1.JobSuspended && condition.LastTransitionTime.After(pod.Created)
	})
}

// judgeTaken is for a pod that was taken away while it ran.
func judgeTaken(pod *Pod) (Verdict, bool) {
	const again = "nothing to do where the Job tries again; otherwise run the pipeline again"
	switch pod.Disruption {
	case "":
	case corev1.PodReasonPreemptionByScheduler:
		return Verdict{CategoryPreempted, fmt.Sprintf("pod %s was preempted by one of a higher priority", pod.Name), again + ", or raise priorityClassName"}, true
	case "DeletionByTaintManager", "DeletionByPodGC":
		return Verdict{CategoryNodeLost, fmt.Sprintf("pod %s was lost with its node %s: %s", pod.Name, pod.Node, pod.Disruption), again}, true
	default:
		return Verdict{CategoryEvicted, strings.TrimSuffix(fmt.Sprintf("pod %s was evicted from node %s: %s: %s", pod.Name, pod.Node, pod.Disruption, pod.Message), ": "), again}, true
	}
	switch {
	case pod.Reason == "Evicted":
		return Verdict{CategoryEvicted, fmt.Sprintf("pod %s was evicted from node %s: %s", pod.Name, pod.Node, pod.Message), again}, true
	case pod.Reason == "NodeLost":
		return Verdict{CategoryNodeLost, fmt.Sprintf("pod %s was lost with its node %s", pod.Name, pod.Node), again}, true
	case pod.Deleted != nil && (pod.Main() == nil || !pod.Main().started()):
		return Verdict{}, false // Why it had not started says more.
	case pod.Deleted != nil:
		return Verdict{CategoryDeleted, fmt.Sprintf("pod %s was deleted while it ran", pod.Name), "see the events for who deleted it; " + again}, true
	case pod.Phase == string(corev1.PodFailed) && pod.Reason != "" && len(pod.Containers) == 0:
		return Verdict{CategoryQuotaOrAdmission, fmt.Sprintf("node %s refused pod %s: %s: %s", pod.Node, pod.Name, pod.Reason, pod.Message), "see what the node has left, and what the pod asks for"}, true
	}
	return Verdict{}, false
}

// judgeStart is for a pod whose main container has not started. The kubelet replaces the reason when it takes the pod
// away, so the events are asked too.
func (r *Run) judgeStart(pod *Pod) (Verdict, bool) {
	if main := pod.Main(); main != nil && main.started() {
		return Verdict{}, false
	}
	for i := range pod.Containers {
		if v, ok := judgeContainer(pod, &pod.Containers[i]); ok && pod.Containers[i].State == stateWaiting {
			return v, true
		}
	}
	object := "Pod/" + pod.Name
	if e := r.newestEvent(object, "Failed", "InspectFailed", "ErrImageNeverPull"); e != nil {
		switch {
		case strings.Contains(e.Message, "unable to start container process"), strings.Contains(e.Message, "failed to create containerd task"):
			return Verdict{CategoryStartError, fmt.Sprintf("pod %s cannot start: %s", pod.Name, e.Message), adviceStart}, true
		case strings.Contains(strings.ToLower(e.Message), "image"):
			return Verdict{CategoryImagePull, fmt.Sprintf("pod %s cannot start: %s", pod.Name, e.Message), adviceImage}, true
		}
		return Verdict{CategoryConfigMissing, fmt.Sprintf("pod %s cannot start: %s", pod.Name, e.Message), adviceConfig}, true
	}
	if e := r.newestEvent(object, "FailedMount", "FailedAttachVolume"); e != nil {
		return Verdict{CategoryConfigMissing, fmt.Sprintf("pod %s cannot start: %s", pod.Name, e.Message), adviceConfig}, true
	}
	if e := r.newestEvent(object, "FailedCreatePodSandBox"); e != nil {
		return Verdict{CategoryStartError, fmt.Sprintf("pod %s cannot start: %s", pod.Name, e.Message), adviceSandbox}, true
	}
	reason := pod.Unscheduled
	if e := r.newestEvent(object, "FailedScheduling"); reason == "" && e != nil && pod.Node == "" {
		reason = e.Message
	}
	if reason != "" {
		return Verdict{CategoryUnschedulable, fmt.Sprintf("no node takes pod %s: %s", pod.Name, reason), "see what the pod asks for (resources, nodeSelector, affinity, tolerations) and what the nodes have left"}, true
	}
	return Verdict{}, false
}

// AdviceInjected is for a pod that an injected container keeps running.
const AdviceInjected = "pipelinectl serve ends such a pod; parameter serviceMesh keeps a service mesh out of it, or from holding it"

const (
	adviceImage   = "check the image's name, its registry and the pull secrets"
	adviceStart   = "check the image: its command, and exithandler on its PATH"
	adviceSandbox = "check the pod's security context (runAsUser, runAsGroup, seccompProfile), and the network and the container runtime of its node"
	adviceInvalid = "correct the pipeline's configuration, or what was edited by hand in its ConfigMap and Secret, and deploy it again"
	adviceConfig  = "deploy the pipeline again, or make the object that is missing"
)

// invalidConfiguration begins the message of a container that ended since its configuration cannot be used.
const invalidConfiguration = "InvalidConfiguration: "

// InvalidConfiguration is the message with which exithandler run ends a container whose configuration cannot be used.
func InvalidConfiguration(cause string) string { return invalidConfiguration + cause }

func judgeContainer(pod *Pod, c *Container) (Verdict, bool) {
	where := fmt.Sprintf("container %s of pod %s", c.Name, pod.Name)
	if c.State == stateWaiting {
		return judgeWaiting(pod, where, c)
	}
	switch {
	case !c.failed():
		return Verdict{}, false
	case c.Reason == reasonOOMKilled:
		return Verdict{CategoryOOMKilled, where + " used more memory than its limit and was killed", "raise resources.limits.memory"}, true
	case strings.HasPrefix(c.Message, invalidConfiguration):
		return Verdict{CategoryInvalidConfiguration, fmt.Sprintf("%s cannot start its command: %s", where, strings.TrimPrefix(c.Message, invalidConfiguration)), adviceInvalid}, true
	case c.ExitCode == exitCannotExecute || c.ExitCode == exitNotFound:
		// As a shell tells it, and exithandler run.
		return Verdict{CategoryStartError, fmt.Sprintf("%s cannot start its command: exit code %d%s", where, c.ExitCode, lastWords(c)), "check the ingestion image: its entry point is python main.py"}, true
	case c.notStarted():
		return judgeNotStarted(where, c), true
	default:
		return Verdict{CategoryApplicationError, fmt.Sprintf("%s ended with exit code %d%s%s", where, c.ExitCode, signalOf(c.ExitCode), lastWords(c)), "find the error in the log"}, true
	}
}

func judgeNotStarted(where string, c *Container) Verdict {
	if strings.Contains(c.Message, "argument list too long") {
		return Verdict{CategoryInvalidConfiguration, fmt.Sprintf("%s cannot start: its variables are larger than Linux gives to a process: %s", where, c.Message), adviceInvalid}
	}
	return Verdict{CategoryStartError, fmt.Sprintf("%s cannot start: %s", where, c.Message), adviceStart}
}

func judgeWaiting(pod *Pod, where string, c *Container) (Verdict, bool) {
	switch {
	case slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}, c.Reason):
		return Verdict{CategoryImagePull, fmt.Sprintf("%s cannot start: %s: %s", where, c.Reason, c.Message), adviceImage}, true
	case c.Last != nil && c.Last.notStarted():
		return judgeNotStarted(where, c.Last), true
	case c.Reason == "CreateContainerConfigError" || c.Reason == "CreateContainerError":
		return Verdict{CategoryConfigMissing, fmt.Sprintf("%s cannot start: %s", where, c.Message), adviceConfig}, true
	case c.Last != nil:
		return judgeContainer(pod, c.Last) // CrashLoopBackOff says only that it will be tried again.
	default:
		return Verdict{}, false
	}
}

// wasEnded says that the container ended by a signal that the kubelet sends.
func (c *Container) wasEnded() bool {
	return c.State == stateTerminated && c.Reason != reasonOOMKilled && (c.ExitCode == 128+9 || c.ExitCode == 128+15)
}

// signalOf reads the shell's convention 128+n.
func signalOf(code int32) string {
	const base, last = 128, 128 + 64
	if code <= base || code > last {
		return ""
	}
	names := map[int32]string{4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM"}
	if name, ok := names[code-base]; ok {
		return fmt.Sprintf(" (signal %d, %s)", code-base, name)
	}
	return fmt.Sprintf(" (signal %d)", code-base)
}

func (r *Run) condition(reason string) bool {
	return r.Job != nil && slices.ContainsFunc(r.Job.Status.Conditions, func(condition batchv1.JobCondition) bool {
		return condition.Status == corev1.ConditionTrue && condition.Reason == reason
	})
}

func (r *Run) failedAttempts() int32 {
	if r.Job == nil {
		return 0
	}
	return r.Job.Status.Failed
}

// attempts counts the pods that count: a disruption is not the pipeline's failure.
func (r *Run) attempts() int {
	count := 0
	for i := range r.Pods {
		if r.Pods[i].Disruption == "" {
			count++
		}
	}
	return max(count, int(r.failedAttempts()))
}

// newestEvent of some reasons; one whose message says more than "Error: ImagePullBackOff" comes first.
func (r *Run) newestEvent(object string, reasons ...string) *Event {
	var found *Event
	for i := range slices.Backward(r.Events) {
		e := &r.Events[i]
		if e.Object != object || !slices.Contains(reasons, e.Reason) {
			continue
		}
		if strings.ContainsRune(strings.TrimPrefix(e.Message, "Error: "), ' ') {
			return e
		}
		if found == nil {
			found = e
		}
	}
	return found
}
