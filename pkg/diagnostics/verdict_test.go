package diagnostics

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// runOf is what Collect makes of these objects.
func runOf(job *batchv1.Job, pods []corev1.Pod, events []corev1.Event) *Run {
	run := &Run{JobName: jobName, Job: job}
	for i := range pods {
		run.Pods = append(run.Pods, newPod(&pods[i], NewRedactor(nil)))
	}
	for i := range events {
		run.Events = append(run.Events, newEvent(&events[i], NewRedactor(nil)))
	}
	run.Gone = run.gone()
	return run
}

//nolint:maintidx // A table of all causes.
func TestJudge(t *testing.T) {
	t.Parallel()
	jobWith := func(conditions ...batchv1.JobCondition) *batchv1.Job {
		job := newJob()
		job.Status.Conditions = conditions
		return job
	}
	condition := func(kind batchv1.JobConditionType, reason string) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason}
	}
	stopped := newJob()
	stopped.Annotations = map[string]string{identity.AnnotationStopRequested: "2026-01-02T03:04:05Z"}
	deleted := newJob()
	now := at(5)
	deleted.DeletionTimestamp = &now
	deadline := jobWith(condition(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded))
	deadline.Spec.ActiveDeadlineSeconds = new(int64(90))

	evicted := newPodObject("p", 1, terminated("ingestion", 143, "Error", ""))
	evicted.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"}}
	evicting := *evicted.DeepCopy()
	evicting.Status.ContainerStatuses = []corev1.ContainerStatus{running()}
	failedFirst := *evicted.DeepCopy()
	failedFirst.Status.ContainerStatuses = []corev1.ContainerStatus{terminated("ingestion", 1, "Error", "")}
	undisturbed := *evicting.DeepCopy()
	undisturbed.Status.Conditions[0].Status = corev1.ConditionFalse
	removed := newPodObject("p", 1, terminated("ingestion", 143, "Error", ""))
	removed.DeletionTimestamp = &now
	removing := newPodObject("p", 1, running())
	removing.DeletionTimestamp = &now

	disrupted := func(reason string) corev1.Pod {
		pod := *evicted.DeepCopy()
		pod.Status.Conditions[0].Reason = reason
		return pod
	}
	pressed := disrupted("TerminationByKubelet")
	pressed.Status.Reason, pressed.Status.Message = "Evicted", "low on resource"
	refused := newPodObject("p", 1)
	refused.Status.Reason, refused.Status.Message = "OutOfcpu", "no cpu left"
	unstarted := newPodObject("p", 1, waiting("PodInitializing", ""))
	unstarted.DeletionTimestamp, unstarted.Spec.NodeName = &now, ""
	unscheduled := newPodObject("p", 1)
	unscheduled.Spec.NodeName = ""
	unscheduled.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/2 nodes are available"}}
	failedThenDeleted := jobWith(condition(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded))
	failedThenDeleted.DeletionTimestamp = &now
	withSidecar := func(sidecar, main corev1.ContainerStatus) corev1.Pod {
		pod := newPodObject("p", 1, main)
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{{Name: sidecar.Name, RestartPolicy: &always}}
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{sidecar}
		return pod
	}

	// injected adds a service mesh's proxy in front of the ingestion container.
	injected := func(proxy corev1.ContainerState, main corev1.ContainerStatus) corev1.Pod {
		pod := newPodObject("p", 1, corev1.ContainerStatus{Name: "istio-proxy", State: proxy}, main)
		pod.Status.Phase = corev1.PodRunning
		return pod
	}
	proxyRuns := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(1)}}
	deadlineAt := func(seconds int) *batchv1.Job {
		return jobWith(batchv1.JobCondition{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonDeadlineExceeded, LastTransitionTime: at(seconds)})
	}
	crashing := func(status corev1.ContainerStatus, last corev1.ContainerStatus) corev1.ContainerStatus {
		status.LastTerminationState = last.State
		return status
	}
	exitOf := func(code int32, reason string) corev1.ContainerStatus {
		return terminated("ingestion", code, reason, "")
	}
	sidecarOf := waiting("CrashLoopBackOff", "back-off 10s")
	sidecarOf.Name = "exithandler"

	cases := map[string]struct {
		reason   string
		job      *batchv1.Job
		pods     []corev1.Pod
		events   []corev1.Event
		category Category
		summary  string
		advice   string
	}{
		"Stopped": {
			reason: "a person is the cause, whatever the pod says", job: stopped, pods: []corev1.Pod{removed},
			category: CategoryKilled, summary: "was stopped by a person at 2026-01-02T03:04:05Z", advice: "run the pipeline again when wanted",
		},
		"Complete":     {reason: "there is nothing to find", job: jobWith(condition(batchv1.JobComplete, "")), category: CategorySucceeded, summary: "completed"},
		"Deadline":     {reason: "the limit is named", job: deadline, pods: []corev1.Pod{removed}, category: CategoryDeadlineExceeded, summary: "ran longer than its activeDeadlineSeconds of 90 s", advice: "raise activeDeadlineSeconds"},
		"NoDeadline":   {reason: "a Job that was edited may have none", job: jobWith(condition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)), category: CategoryDeadlineExceeded, summary: "activeDeadlineSeconds"},
		"JobDeleted":   {reason: "the Job takes its pods along", job: deleted, pods: []corev1.Pod{removing}, category: CategoryDeleted, summary: "Job " + jobName + " was deleted"},
		"OOM":          {reason: "the limit is what to change", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 137, "OOMKilled", ""))}, category: CategoryOOMKilled, summary: "used more memory than its limit", advice: "raise resources.limits.memory"},
		"OOMOfAChild":  {reason: "the kernel killed a child, and the process ended well", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 0, "OOMKilled", ""))}, category: CategoryOOMKilled, summary: "was killed"},
		"Code":         {reason: "the process says that it failed", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 3, "Error", ""))}, category: CategoryApplicationError, summary: "container ingestion of pod p ended with exit code 3", advice: "find the error in the log"},
		"Signal":       {reason: "a code over 128 is a signal", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 139, "Error", ""))}, category: CategoryApplicationError, summary: "exit code 139 (signal 11, SIGSEGV)"},
		"Greatest":     {reason: "255 is no signal", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 255, "Error", ""))}, category: CategoryApplicationError, summary: "ended with exit code 255"},
		"StartError":   {reason: "the command is not there", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 128, "StartError", "no such file"))}, category: CategoryStartError, summary: "cannot start: no such file", advice: "its command, and exithandler on its PATH"},
		"CannotRun":    {reason: "as other runtimes say it", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 127, "ContainerCannotRun", "no such file"))}, category: CategoryStartError, summary: "cannot start"},
		"ImageName":    {reason: "a name may be no name", pods: []corev1.Pod{newPodObject("p", 1, waiting("InvalidImageName", "bad"))}, category: CategoryImagePull, summary: "InvalidImageName: bad"},
		"ImageNever":   {reason: "the policy may forbid to pull", pods: []corev1.Pod{newPodObject("p", 1, waiting("ErrImageNeverPull", "not here"))}, category: CategoryImagePull, summary: "ErrImageNeverPull"},
		"ConfigError":  {reason: "a ConfigMap or Secret is missing", pods: []corev1.Pod{newPodObject("p", 1, waiting("CreateContainerConfigError", `configmap "om-config-x" not found`))}, category: CategoryConfigMissing, summary: `configmap "om-config-x" not found`, advice: "deploy the pipeline again"},
		"Invalid":      {reason: "exithandler run says why it did not start the command", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 1, "Error", InvalidConfiguration("variable configSecret: not a map")))}, category: CategoryInvalidConfiguration, summary: "container ingestion of pod p cannot start its command: variable configSecret: not a map", advice: "deploy it again"},
		"TooLarge":     {reason: "also where its code is that of a command which cannot be executed", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 126, "Error", InvalidConfiguration("variable config has 131072 bytes")))}, category: CategoryInvalidConfiguration, summary: "variable config has 131072 bytes", advice: "deploy it again"},
		"ArgumentList": {reason: "the container's own init could not be executed", pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 128, "StartError", "exec: argument list too long"))}, category: CategoryInvalidConfiguration, summary: "larger than Linux gives to a process", advice: "deploy it again"},
		"Creating":     {reason: "a container that is being made is no failure", pods: []corev1.Pod{newPodObject("p", 1, waiting("ContainerCreating", ""))}, category: CategoryUnknown, summary: "pod p is in phase"},
		"Evicting":     {reason: "the hook runs while the container does", pods: []corev1.Pod{evicting}, category: CategoryEvicted, summary: "was evicted from node node-1: EvictionByEvictionAPI"},
		"Evicted":      {reason: "the signal came from the eviction", pods: []corev1.Pod{evicted}, category: CategoryEvicted, summary: "was evicted from node node-1: EvictionByEvictionAPI"},
		"FailedFirst":  {reason: "it had failed by itself before", pods: []corev1.Pod{failedFirst}, category: CategoryApplicationError, summary: "exit code 1"},
		"Undisturbed":  {reason: "a condition that is false says nothing", pods: []corev1.Pod{undisturbed}, category: CategoryUnknown, summary: "pod p is in phase"},
		"PodDeleting":  {reason: "the hook runs while the container does", pods: []corev1.Pod{removing}, category: CategoryDeleted, summary: "pod p was deleted"},
		"PodDeleted":   {reason: "the signal came from the deletion", pods: []corev1.Pod{removed}, category: CategoryDeleted, summary: "pod p was deleted"},
		"RunningStill": {reason: "nothing has happened", pods: []corev1.Pod{newPodObject("p", 1, running())}, category: CategoryUnknown, summary: "pod p is in phase"},
		"Quota":        {reason: "the Job's controller is refused", job: jobWith(), events: []corev1.Event{newEventObject("Job", jobName, "FailedCreate", "exceeded quota: small", 3)}, category: CategoryQuotaOrAdmission, summary: "exceeded quota: small", advice: "quota"},
		"Sandbox": {
			reason: "the node cannot make the pod's surroundings", pods: []corev1.Pod{newPodObject("p", 1, waiting("ContainerCreating", ""))},
			events:   []corev1.Event{newEventObject("Pod", "p", "FailedCreatePodSandBox", "no network", 3)},
			category: CategoryStartError, summary: "pod p cannot start: no network", advice: "security context",
		},
		"NodeRefuses": {reason: "the kubelet has the last word", pods: []corev1.Pod{refused}, category: CategoryQuotaOrAdmission, summary: "node node-1 refused pod p: OutOfcpu: no cpu left"},
		"Preempted":   {reason: "another was more important", pods: []corev1.Pod{disrupted("PreemptionByScheduler")}, category: CategoryPreempted, summary: "was preempted", advice: "priorityClassName"},
		"NodeLost":    {reason: "the node does not answer", pods: []corev1.Pod{disrupted("DeletionByTaintManager")}, category: CategoryNodeLost, summary: "lost with its node node-1"},
		"NodePressed": {reason: "the node needs its disk", pods: []corev1.Pod{pressed}, category: CategoryEvicted, summary: "was evicted from node node-1: TerminationByKubelet: low on resource"},
		"Unscheduled": {reason: "no node fits", pods: []corev1.Pod{unscheduled}, category: CategoryUnschedulable, summary: "no node takes pod p: 0/2 nodes are available", advice: "nodeSelector"},
		"UnscheduledEvent": {
			reason: "the condition is gone with the pod's deletion", pods: []corev1.Pod{unstarted}, events: []corev1.Event{newEventObject("Pod", "p", "FailedScheduling", "0/2 nodes", 2)},
			category: CategoryUnschedulable, summary: "0/2 nodes",
		},
		"ImageDeadline": {
			reason: "what the time was spent on is the cause", job: deadline, pods: []corev1.Pod{unstarted},
			events:   []corev1.Event{newEventObject("Pod", "p", "Failed", `Failed to pull image "x": not found`, 2)},
			category: CategoryImagePull, summary: "until the Job's activeDeadlineSeconds of 90 s was over",
		},
		"StartDeadline": {
			reason: "the sidecar's command is not there", job: deadline, pods: []corev1.Pod{unstarted},
			events:   []corev1.Event{newEventObject("Pod", "p", "Failed", `Error: failed to create containerd task: exec: "exithandler": executable file not found in $PATH`, 2)},
			category: CategoryStartError, summary: `"exithandler": executable file not found`,
		},
		"ImageBackOff": {
			reason: "the event that says more", job: deadline, pods: []corev1.Pod{unstarted},
			events:   []corev1.Event{newEventObject("Pod", "p", "Failed", `Failed to pull image "x": not found`, 2), newEventObject("Pod", "p", "Failed", "Error: ImagePullBackOff", 3)},
			category: CategoryImagePull, summary: `Failed to pull image "x"`,
		},
		"ConfigDeadline": {
			reason: "the kubelet has replaced the reason", job: deadline, pods: []corev1.Pod{unstarted},
			events:   []corev1.Event{newEventObject("Pod", "p", "Failed", `Error: configmap "om-config-x" not found`, 2)},
			category: CategoryConfigMissing, summary: `configmap "om-config-x" not found`,
		},
		"MountDeadline": {
			reason: "a volume may be what is missing", job: deadline, pods: []corev1.Pod{unstarted},
			events:   []corev1.Event{newEventObject("Pod", "p", "FailedMount", `secret "ca" not found`, 2)},
			category: CategoryConfigMissing, summary: `secret "ca" not found`,
		},
		"DeadlineInThePause": {
			reason: "the time ended before a retry, and what had failed says more", job: deadline, pods: []corev1.Pod{newPodObject("p", 1, exitOf(137, "OOMKilled"))},
			category: CategoryDeadlineExceeded, advice: "raise resources.limits.memory",
			summary: "ran longer than its activeDeadlineSeconds of 90 s; its last attempt had failed: container ingestion of pod p used more memory than its limit",
		},
		"DeadlineKills": {
			reason: "the signal is the deadline's own", job: deadline, pods: []corev1.Pod{newPodObject("p", 1, exitOf(143, "Error"))},
			category: CategoryDeadlineExceeded, summary: "activeDeadlineSeconds of 90 s", advice: "raise activeDeadlineSeconds",
		},
		"DeadlineWithoutStatus": {
			reason: "the kubelet has said nothing yet", job: deadline, pods: []corev1.Pod{newPodObject("p", 1)},
			category: CategoryDeadlineExceeded, summary: "ran longer", advice: "raise activeDeadlineSeconds",
		},
		"CrashLoop": {
			reason: "what it waits for is its own fault", pods: []corev1.Pod{newPodObject("p", 1, crashing(waiting("CrashLoopBackOff", "back-off 10s"), exitOf(137, "OOMKilled")))},
			category: CategoryOOMKilled, summary: "container ingestion of pod p used more memory", advice: "raise resources.limits.memory",
		},
		"CrashLoopOfASidecar": {
			reason: "the main container waits for a sidecar that crashes", pods: []corev1.Pod{withSidecar(crashing(sidecarOf, terminated("exithandler", 2, "Error", "")), waiting("PodInitializing", ""))},
			category: CategoryApplicationError, summary: "container exithandler of pod p ended with exit code 2",
		},
		"CrashLoopBesideTheMain": {
			reason: "a sidecar does not decide how the pod ends", pods: []corev1.Pod{withSidecar(crashing(sidecarOf, terminated("exithandler", 2, "Error", "")), exitOf(5, "Error"))},
			category: CategoryApplicationError, summary: "container ingestion of pod p ended with exit code 5",
		},
		"PodsGone": {
			reason: "pods can be deleted by force", job: jobWith(condition(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)),
			category: CategoryBackoffLimitExceeded, summary: "of which no pod is left",
		},
		"FailedThenDeleted": {
			reason: "a Job that is deleted after it failed has failed", job: failedThenDeleted, pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 3, "Error", ""))},
			category: CategoryApplicationError, summary: "exit code 3",
		},
		"Sidecar": {
			reason: "a sidecar is ended by a signal when the main container has ended", pods: []corev1.Pod{withSidecar(terminated("exithandler", 143, "Error", ""), terminated("ingestion", 5, "Error", ""))},
			category: CategoryApplicationError, summary: "container ingestion of pod p ended with exit code 5",
		},
		"SidecarImage": {
			reason: "the main container waits for a sidecar that cannot start", pods: []corev1.Pod{withSidecar(waiting("ErrImagePull", "no such image"), waiting("PodInitializing", ""))},
			category: CategoryImagePull, summary: "no such image",
		},
		"SecondContainer": {
			reason: "the one that failed is named", pods: []corev1.Pod{newPodObject("p", 1, terminated("a", 0, "Completed", ""), terminated("ingestion", 2, "Error", ""))},
			category: CategoryApplicationError, summary: "container ingestion of pod p",
		},
		"InjectedSucceeded": {
			reason: "the container in the way is named", pods: []corev1.Pod{injected(proxyRuns, exitOf(0, "Completed"))},
			category: CategorySucceeded, summary: "container ingestion of pod p succeeded; container istio-proxy", advice: "serviceMesh",
		},
		"InjectedCrashed": {
			reason: "a crash is told at once", pods: []corev1.Pod{injected(proxyRuns, exitOf(139, "Error"))},
			category: CategoryApplicationError, summary: "SIGSEGV); container istio-proxy, which somebody else added to pod p, keeps it running", advice: "find the error",
		},
		"InjectedEndedByDeadline": {
			reason: "the run had ended before the deadline", job: deadlineAt(60), pods: []corev1.Pod{injected(terminated("istio-proxy", 137, "Error", "").State, exitOf(0, "Completed"))},
			category: CategorySucceeded, summary: "container ingestion of pod p succeeded",
		},
		"InjectedCrashedBeforeDeadline": {
			reason: "nor is the deadline the cause of a crash before it", job: deadlineAt(60), pods: []corev1.Pod{injected(terminated("istio-proxy", 137, "Error", "").State, exitOf(3, "Error"))},
			category: CategoryApplicationError, summary: "container ingestion of pod p ended with exit code 3",
		},
		"InjectedDeadlineOfARun": {
			reason: "a run that the deadline has ended has not ended before", job: deadlineAt(9), pods: []corev1.Pod{injected(terminated("istio-proxy", 0, "Completed", "").State, exitOf(0, "Completed"))},
			category: CategoryDeadlineExceeded, summary: "ran longer",
		},
		"InjectedFailed": {
			reason: "what an injected container does is not the run's end", job: jobWith(condition(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)), pods: []corev1.Pod{injected(terminated("istio-proxy", 1, "Error", "").State, exitOf(0, "Completed"))},
			category: CategorySucceeded, summary: "container ingestion of pod p succeeded",
		},
		"InjectedRuns": {
			reason: "the run goes on", pods: []corev1.Pod{injected(proxyRuns, running())}, category: CategoryUnknown, summary: "container ingestion runs",
		},
		"InjectedImage": {
			reason: "a proxy that the others wait for, and that cannot start", pods: []corev1.Pod{injected(waiting("ErrImagePull", "no proxy image").State, waiting("PodInitializing", ""))},
			category: CategoryImagePull, summary: "container istio-proxy of pod p cannot start: ErrImagePull: no proxy image",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := runOf(tc.job, tc.pods, tc.events)
			verdict := run.Judge()
			assert.Equal(t, tc.category, verdict.Category, tc.reason)
			assert.Contains(t, verdict.Summary, tc.summary, tc.reason)
			assert.Contains(t, verdict.Advice, tc.advice, tc.reason)
			step := run.Step(verdict, "a test")
			failed := tc.category != CategoryKilled && tc.category != CategorySucceeded
			assert.Equal(t, failed, step.Errors == 1, "what was wanted is no error")
			assert.NotEmpty(t, step.Failures[0].Name, "the server refuses a failure without a name")
			assert.NotEmpty(t, step.Failures[0].Error, "or without an error")
		})
	}
}

// TestAttemptStep: the others have steps of their own.
func TestAttemptStep(t *testing.T) {
	t.Parallel()
	newer, older := newPodObject("newer", 9, terminated("ingestion", 1, "Error", "")), newPodObject("older", 1, terminated("ingestion", 137, "OOMKilled", ""))
	run := runOf(newJob(), []corev1.Pod{newer, older}, []corev1.Event{
		newEventObject("Pod", "newer", "Pulled", "image of the newer", 2), newEventObject("Pod", "older", "Pulled", "image of the older", 1),
		newEventObject("Job", jobName, "SuccessfulCreate", "Created pod: older", 1),
	})
	run.Pods[0].Containers[0].Log, run.Pods[1].Containers[0].Log = "words of the newer", "words of the older"
	step := run.AttemptStep(1, "a test")
	assert.Equal(t, StepName+": older", step.Name)
	assert.Equal(t, string(CategoryOOMKilled), step.Failures[0].Name)
	for _, wanted := range []string{"words of the older", "image of the older", "Created pod: older"} {
		assert.Contains(t, step.Failures[0].StackTrace, wanted)
	}
	assert.NotContains(t, step.Failures[0].StackTrace, "newer")
	assert.Len(t, run.Pods, 2, "the run itself is as it was")
	assert.Len(t, run.Events, 3)
}

func TestMainStarted(t *testing.T) {
	t.Parallel()
	never := terminated("ingestion", 128, "StartError", "no such file")
	never.State.Terminated.StartedAt = metav1.Unix(0, 0)
	other := waiting("ContainerCreating", "")
	other.Name = "a"
	cases := map[string]struct {
		reason   string
		statuses []corev1.ContainerStatus
		want     time.Time
	}{
		"None":       {reason: "the kubelet has said nothing"},
		"Waiting":    {reason: "it waits", statuses: []corev1.ContainerStatus{waiting("ContainerCreating", "")}},
		"StartError": {reason: "what could not start did not in 1970 either", statuses: []corev1.ContainerStatus{never}},
		"Running":    {reason: "it runs", statuses: []corev1.ContainerStatus{running()}, want: at(1).Time},
		"Ended":      {reason: "it ran", statuses: []corev1.ContainerStatus{terminated("ingestion", 0, "Completed", "")}, want: at(1).Time},
		"Injected":   {reason: "what somebody else added is not the run", statuses: []corev1.ContainerStatus{never, terminated("istio-proxy", 0, "Completed", "")}},
		"Unnamed":    {reason: "a pod without a container of a known name counts as a whole", statuses: []corev1.ContainerStatus{other, terminated("b", 0, "Completed", "")}, want: at(1).Time},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newPodObject("p", 1, tc.statuses...)
			assert.Equal(t, tc.want, MainStarted(&pod), tc.reason)
		})
	}
}

func TestFailedInitContainerIsTheCause(t *testing.T) {
	t.Parallel()
	pod := newPodObject("p", 1, waiting("PodInitializing", ""))
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{terminated("install-exithandler", 1, "Error", "")}
	run := &Run{JobName: jobName, Pods: []Pod{newPod(&pod, NewRedactor(nil))}}
	assert.Contains(t, run.Judge().Summary, "container install-exithandler of pod p ended with exit code 1")
}

func TestCauseEndsWithTheLastWords(t *testing.T) {
	t.Parallel()
	const (
		table = `[2026-11-28 16:18:33] INFO     {metadata.Utils:logger:223} - List of failures:
+--------------+---------------+--------------------------------------+---------------+
| From         | Entity Name   | Message                              | Stack Trace   |
+==============+===============+======================================+===============+
| Source       | table_1       | cannot read table_1: no permission   |               |
+--------------+---------------+--------------------------------------+---------------+
| Source       | table_3       | cannot read table_3: no permission   | Traceback     |
|              |               |                                      |   File x      |
+--------------+---------------+--------------------------------------+---------------+
[2026-11-28 16:18:33] INFO     {metadata.Utils:logger:223} - Workflow finished with failures
`
		traceback = "Traceback (most recent call last):\n  File \"main.py\", line 48, in main\n    workflow.execute()\n    ^^^^^^^\n"
		reported  = traceback + "metadata.config.common.WorkflowExecutionError: Source reported errors: 3\n"
		logged    = "[2026-11-28 16:18:33] DEBUG    {metadata.Ingestion:main:1} - " + traceback + "ValueError: it was handled\n"
	)
	cases := map[string]struct {
		reason, log, want string
		code              int32
	}{
		"Traceback": {reason: "the last line of a traceback names the error", log: "Traceback\n  File x\nValueError: no such table\n\n", want: "ValueError: no such table"},
		"Ours":      {reason: "the project's own lines are not the process's", log: "ValueError: x\n{\"logger\":\"exithandler\"}\n", want: "ValueError: x"},
		"Long":      {reason: "a sentence is read by people", log: strings.Repeat("ä", 400), want: strings.Repeat("ä", longestWords) + "…"},
		"Nothing":   {reason: "a process can die in silence", log: "\n"},
		"Lines": {
			reason: "the message of an exception may have several lines, of which the last says least",
			log:    traceback + "sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) connection refused\n\tIs the server running?\n\n(Background on this error at: https://sqlalche.me/e/14/e3q8)\n",
			want:   "sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) connection refused Is the server running? (Background on this error at: https://sqlalche.me/e/14/e3q8)",
		},
		"Chained":  {reason: "the last exception ended the process", log: traceback + "KeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\n" + traceback + "RuntimeError: b\n", want: "RuntimeError: b"},
		"Reported": {reason: "the exception says only how many failures there were; the workflow has listed them", log: table + reported, want: "Source, table_3: cannot read table_3: no permission; metadata.config.common.WorkflowExecutionError: Source reported errors: 3"},
		"Listed":   {reason: "a list of failures is not always followed by an exception", log: table + "[2026-11-28 16:18:34] INFO  {x} - bye\n", want: "Source, table_3: cannot read table_3: no permission"},
		"Other":    {reason: "what ended the process is not what the workflow has listed", log: table + traceback + "MemoryError\n", want: "MemoryError"},
		"After":    {reason: "the interpreter and the program may say something after it", log: traceback + "ValueError: x\n[2026-11-28 16:18:34] INFO  {x} - bye\nException ignored in: <x>\n", want: "ValueError: x"},
		"Logged":   {reason: "an exception that is logged was handled", log: logged + "[2026-11-28 16:18:34] INFO  {x} - bye\n", want: "[2026-11-28 16:18:34] INFO  {x} - bye"},
		"LongAgo":  {reason: "what was written long before is not why it ended", log: traceback + "ValueError: of a thread\n" + strings.Repeat("[2026-11-28 16:18:34] INFO  {x} - on\n", 100), want: "[2026-11-28 16:18:34] INFO  {x} - on"},
		"Cut":      {reason: "a process may be killed in the middle of a line", log: "Traceback (most recent call last):\n  File \"main.py", want: `File "main.py`},
		"Signal":   {reason: "who is killed did not end by an exception", log: table + "[2026-11-28 16:18:34] INFO  {x} - on\n", code: 139, want: "[2026-11-28 16:18:34] INFO  {x} - on"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := tc.want
			if want != "" {
				want = ", after it wrote: " + want
			}
			assert.Equal(t, want, lastWords(&Container{Log: tc.log, ExitCode: cmp.Or(tc.code, 1)}), tc.reason)
		})
	}
}

// TestJudgeGone: a Job that is over deletes its pods, and what they had waited for is in their events.
func TestJudgeGone(t *testing.T) {
	t.Parallel()
	with := func(kind batchv1.JobConditionType, reason string) *batchv1.Job {
		job := newJob()
		job.Spec.ActiveDeadlineSeconds = new(int64(90))
		job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: reason}}
		return job
	}
	deadline := func() *batchv1.Job { return with(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded) }
	created := func(pod string, seconds int) corev1.Event {
		return newEventObject("Job", jobName, "SuccessfulCreate", "Created pod: "+pod, seconds)
	}
	startedEvent := newEventObject("Pod", "gone", "Started", "Container started", 4)
	startedEvent.InvolvedObject.FieldPath = "spec.containers{ingestion}"
	killedEvent := newEventObject("Pod", "gone", "Killing", "Stopping container ingestion", 5)
	killedEvent.InvolvedObject.FieldPath = "spec.containers{ingestion}"

	cases := map[string]struct {
		reason   string
		job      *batchv1.Job
		events   []corev1.Event
		category Category
		summary  string
	}{
		"Waited": {
			reason: "its events say what it was waiting for", job: deadline(), events: []corev1.Event{
				created("gone", 1), newEventObject("Pod", "gone", "Failed", "Failed to pull image \"x\"", 3),
			},
			category: CategoryImagePull, summary: "pod gone cannot start: Failed to pull image \"x\", until the Job's activeDeadlineSeconds of 90 s was over",
		},
		"Ran": {
			reason: "what it waited for came", job: deadline(), events: []corev1.Event{
				created("gone", 1), newEventObject("Pod", "gone", "Failed", "Failed to pull image \"x\"", 3), startedEvent,
			},
			category: CategoryDeadlineExceeded, summary: "ran longer than",
		},
		"Deleted": {
			reason: "the kubelet ended what ran", job: with(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded),
			events:   []corev1.Event{created("gone", 1), startedEvent, killedEvent},
			category: CategoryDeleted, summary: "pod gone was deleted while it ran",
		},
		"CleanedUp": {
			reason: "it was deleted when it had failed", job: with(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded),
			events:   []corev1.Event{created("gone", 1), startedEvent},
			category: CategoryBackoffLimitExceeded, summary: "of which no pod is left",
		},
		"LastOfSeveral": {
			reason: "nobody gives up before the last attempt", job: with(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded), events: []corev1.Event{
				created("older", 1), created("gone", 5), newEventObject("Pod", "gone", "FailedMount", "secret missing", 7),
			},
			category: CategoryConfigMissing, summary: "pod gone cannot start: secret missing",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := runOf(tc.job, nil, tc.events)
			verdict := run.Judge()
			assert.Equal(t, tc.category, verdict.Category, tc.reason)
			assert.Contains(t, verdict.Summary, tc.summary, tc.reason)
			assert.Contains(t, run.Text(), "Pods that are gone: gone")
		})
	}
}
