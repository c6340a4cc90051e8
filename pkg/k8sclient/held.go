package k8sclient

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/internal/podend"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

const (
	// heldPatience is how long the reporters of a pod that an injected container keeps running have, before it is ended from
	// here.
	heldPatience = 5 * time.Second
	// releaseTimeout bounds how long a run that has ended is waited for only so that its Job counts it.
	releaseTimeout = 15 * time.Second
)

// sightOf is what is seen of a run from its Job and its pods.
func sightOf(job *batchv1.Job, pods []corev1.Pod) report.Sight {
	newestFirst := make([]*corev1.Pod, 0, len(pods))
	for i := range slices.Backward(pods) {
		newestFirst = append(newestFirst, &pods[i])
	}
	return report.Sight{Job: job, Pod: diagnostics.Attempt(newestFirst)}
}

// endedApart says that a run has ended whose Job has not, as that waits for a container which is not the run's.
func endedApart(job *batchv1.Job, pods []corev1.Pod) bool {
	seen := sightOf(job, pods)
	return seen.Pod != nil && len(diagnostics.Injected(seen.Pod)) > 0 && seen.Outcome().Final()
}

// heldText names the containers that keep pods of a run running though it has ended; empty for none.
func heldText(pods []corev1.Pod) string {
	var texts []string
	for i := range pods {
		if names := diagnostics.InTheWay(&pods[i]); len(names) > 0 {
			texts = append(texts, fmt.Sprintf("%s keeps pod %s running", strings.Join(names, ", "), pods[i].Name))
		}
	}
	return strings.Join(texts, "; ")
}

// holder ends the pods that injected containers keep running, when their own reporters have had their time.
type holder struct {
	client *Client
	since  map[types.UID]time.Time
	done   map[types.UID]bool
}

func newHolder(c *Client) *holder {
	return &holder{client: c, since: map[types.UID]time.Time{}, done: map[types.UID]bool{}}
}

// patient says of pods that are held whether they have been for long enough.
func (h *holder) patient(pod *corev1.Pod) bool {
	if _, seen := h.since[pod.UID]; !seen {
		h.since[pod.UID] = time.Now()
	}
	return time.Since(h.since[pod.UID]) >= h.client.heldPatience
}

// release takes the next step of each that is held, and says whether none is left. Who may not end them has seen it:
// serve does, and status names the container.
func (h *holder) release(ctx context.Context, pods []corev1.Pod, now bool) bool {
	all := true
	for i := range pods {
		pod := &pods[i]
		if h.done[pod.UID] || !podend.Held(pod) {
			continue
		}
		if !h.patient(pod) && !now {
			all = false
			continue
		}
		last, err := podend.Step(ctx, h.client.kube, pod)
		h.done[pod.UID] = last && err == nil || diagnostics.Denied(err)
		all = all && h.done[pod.UID]
	}
	return all
}

// releaseAll ends the held pods of a run that has ended. It is tried for a while only: the run's end is known by then.
func (h *holder) releaseAll(ctx context.Context, job *batchv1.Job) {
	const interval = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	_ = wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		pods, err := h.client.podsOf(ctx, job)
		if err != nil {
			return diagnostics.Denied(err), nil
		}
		return h.release(ctx, pods, true), nil
	})
}

// checkHeld names what keeps pods running whose runs have ended.
func (c *Client) checkHeld(ctx context.Context) []Check {
	const name = "injected containers"
	list, err := c.kube.CoreV1().Pods(c.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: deployedLabels})
	if err != nil {
		return nil // The permissions say so.
	}
	if text := heldText(list.Items); text != "" {
		return []Check{{name, CheckWarning, text + ", though its run has ended", diagnostics.AdviceInjected}}
	}
	injected := map[string]bool{}
	for i := range list.Items {
		for _, container := range diagnostics.Injected(&list.Items[i]) {
			injected[container] = true
		}
	}
	if len(injected) == 0 {
		return []Check{{Name: name, State: CheckOK, Detail: "none"}}
	}
	names := slices.Sorted(maps.Keys(injected))
	return []Check{{Name: name, State: CheckOK, Detail: strings.Join(names, ", ") + "; none keeps a pod running whose run has ended"}}
}
