package diagnostics

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

const (
	// operatorContainer is the ingestion container of a pod that OpenMetadata's operator created.
	operatorContainer = "main"
	// defaultContainerAnnotation names the container that a pod is about, for kubectl and others.
	defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"
)

// RunContainers are the names of the containers that do a pod's work: the ingestion container. A pod that has none of a
// known name is somebody else's, and all its containers count.
func RunContainers(pod *corev1.Pod) []string {
	all := mainContainers(pod)
	for _, name := range []string{identity.ContainerName, operatorContainer, pod.Annotations[defaultContainerAnnotation]} {
		if name != "" && slices.Contains(all, name) {
			return []string{name}
		}
	}
	return all
}

// Injected are the names of the containers that somebody else added to a run's pod, such as a service mesh its proxy. Neither
// init containers nor native sidecars are among them: they do not keep a pod from ending.
func Injected(pod *corev1.Pod) []string {
	ours := RunContainers(pod)
	return slices.DeleteFunc(mainContainers(pod), func(name string) bool { return slices.Contains(ours, name) })
}

// InTheWay are the names of the injected containers that keep a pod from ending though the run's containers have ended.
func InTheWay(pod *corev1.Pod) []string {
	if _, ended := MainEnded(pod); !ended {
		return nil
	}
	return slices.DeleteFunc(Injected(pod), func(name string) bool {
		status := containerStatus(pod, name)
		return status != nil && status.State.Terminated != nil
	})
}

// MainStarted is when the pod's ingestion container started; zero if it never ran: the container runtime says 1970 of one
// that it could not start. Of several containers it is the last that started.
func MainStarted(pod *corev1.Pod) time.Time {
	var newest time.Time
	for _, name := range RunContainers(pod) {
		status := containerStatus(pod, name)
		if status == nil {
			continue
		}
		at := time.Time{}
		switch state := status.State; {
		case state.Running != nil:
			at = state.Running.StartedAt.Time
		case state.Terminated != nil:
			at = state.Terminated.StartedAt.Time
		}
		if at.Unix() > 0 && at.After(newest) {
			newest = at
		}
	}
	return newest
}

// MainEnded is how the pod's ingestion container ended; false if it has not. Of several containers it is the first that
// failed, and all have ended. What was injected does not count: it may run for as long as it likes.
func MainEnded(pod *corev1.Pod) (*corev1.ContainerStateTerminated, bool) {
	var ended *corev1.ContainerStateTerminated
	for _, name := range RunContainers(pod) {
		status := containerStatus(pod, name)
		if status == nil || status.State.Terminated == nil {
			return nil, false
		}
		if ended == nil || ended.ExitCode == 0 {
			ended = status.State.Terminated
		}
	}
	return ended, ended != nil
}

// Completed says that the run's container succeeded, by itself, in a pod that may yet fail by what was injected into it. A
// process that ends well because its pod is deleted need not have done its work.
func Completed(pod *corev1.Pod) bool {
	main, ended := MainEnded(pod)
	if !ended || main.ExitCode != 0 || len(Injected(pod)) == 0 {
		return false
	}
	if pod.DeletionTimestamp == nil {
		return true
	}
	// The timestamp is when the grace period ends.
	asked := *pod.DeletionTimestamp
	if grace := pod.DeletionGracePeriodSeconds; grace != nil {
		asked = metav1.NewTime(asked.Add(-time.Duration(*grace) * time.Second))
	}
	return main.FinishedAt.Before(&asked)
}

// EndedApart says that the run's container had ended by itself, in a pod that its Job may have waited for longer: what was
// injected into it decided when, or how, the Job ended. Only a deadline ends the run's container too.
func EndedApart(job *batchv1.Job, pod *corev1.Pod) bool {
	main, ended := MainEnded(pod)
	if !ended || len(Injected(pod)) == 0 {
		return false
	}
	return job == nil || !slices.ContainsFunc(job.Status.Conditions, func(condition batchv1.JobCondition) bool {
		return condition.Status == corev1.ConditionTrue && condition.Reason == batchv1.JobReasonDeadlineExceeded &&
			!main.FinishedAt.Before(&condition.LastTransitionTime)
	})
}

// Attempt is the pod that decides a run's end, of its pods, newest first: the newest. But if an earlier one has completed
// the run and failed by what was injected into it, the Job has created the later ones for nothing. Nil for no pods.
func Attempt(pods []*corev1.Pod) *corev1.Pod {
	for _, pod := range pods {
		if Completed(pod) {
			return pod
		}
	}
	if len(pods) == 0 {
		return nil
	}
	return pods[0]
}

// mainContainers are the names of a pod's containers without init containers and sidecars.
func mainContainers(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Status.ContainerStatuses {
		if name := pod.Status.ContainerStatuses[i].Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func containerStatus(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	at := slices.IndexFunc(pod.Status.ContainerStatuses, func(status corev1.ContainerStatus) bool { return status.Name == name })
	if at < 0 {
		return nil
	}
	return &pod.Status.ContainerStatuses[at]
}
