package k8sclient

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

const (
	admissionOf = "admission of "
	notTried    = "cannot be tried, as creating pods is not allowed"
	adviceRole  = "ask for the Role in deploy/"
	adviceToTry = adviceRole + "; pipelinectl creates no pods itself, but without it what the namespace refuses shows with the first run"
)

// checkAdmission lets the API server check a Job and a pod as a run has them, by a dry run: Pod Security, quotas, limit ranges
// and policies of the namespace all speak. A namespace that is not there is told elsewhere.
func (c *Client) checkAdmission(ctx context.Context) []Check {
	mayPods := c.checkPermission(ctx, permission{resource: resourcePods, verbs: []string{verbCreate}, optional: true})
	config, err := c.settled(ctx)
	if err != nil {
		return nil // The check of the API server says why.
	}
	const name = "health-check"
	pipeline := &omapi.IngestionPipeline{Name: name, FullyQualifiedName: "pipelinectl." + name, PipelineType: omapi.PipelineMetadata}
	job := NewJob(config, pipeline, uuid.NewString(), time.Now().UnixMilli())
	template := job.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Namespace = job.Name, job.Namespace
	var jobCheck, podCheck *Check
	var wg sync.WaitGroup
	wg.Go(func() { jobCheck = c.tryCreate(ctx, c.jobClient(), job) })
	wg.Go(func() {
		if mayPods.State == CheckOK {
			podCheck = c.tryCreate(ctx, c.podClient(), pod)
		} else {
			podCheck = &Check{Name: admissionOf + resourcePods, State: CheckWarning, Detail: notTried, Advice: adviceToTry}
		}
	})
	wg.Wait()
	var out []Check
	for _, check := range []*Check{jobCheck, podCheck} {
		if check != nil {
			out = append(out, *check)
		}
	}
	return out
}

// tryCreate is nil when there is nothing to say.
func (c *Client) tryCreate(ctx context.Context, client resourceClient, o object) *Check {
	what := strings.ToLower(client.kind) + "s"
	check := &Check{Name: admissionOf + what, State: CheckOK, Detail: what + " of runs are let in"}
	var warnings warningList
	options := metav1.CreateOptions{FieldManager: FieldManager, DryRun: []string{metav1.DryRunAll}}
	err := client.retried(ctx, func() error {
		warnings.reset()
		return client.rest.Post().Namespace(client.namespace).Resource(client.resource).WarningHandler(&warnings).
			VersionedParams(&options, scheme.ParameterCodec).Body(o).Do(ctx).Error()
	})
	switch {
	case isNamespaceMissing(err):
		return nil
	case err == nil && len(warnings.texts) == 0:
	case err == nil:
		check.State, check.Detail, check.Advice = CheckWarning, strings.Join(warnings.texts, "; "), "they are let in all the same; change what the message names, or ask whoever has made the rule"
	default:
		check.refused(client.kind, err)
	}
	return check
}

// refused says what a refusal means for runs.
func (check *Check) refused(kind string, err error) {
	message := err.Error()
	check.State, check.Detail = CheckFailed, message
	switch {
	case IsNotAllowed(err) && kind == "Pod":
		check.State, check.Detail, check.Advice = CheckWarning, notTried, adviceToTry
	case IsNotAllowed(err):
		check.Advice = adviceRole
	case strings.Contains(message, "dry run") && apierrors.IsBadRequest(err):
		check.State, check.Advice = CheckWarning, "a webhook cannot be tried without effect; the first run shows what it does"
	case strings.Contains(message, "exceeded quota"):
		check.State, check.Advice = CheckWarning, "runs wait until others have ended; ask for more quota, or lower resources and sidecarResources"
	case strings.Contains(message, "violates PodSecurity"):
		check.Advice = "change the parameters that the message speaks of (runAsNonRoot, runAsUser, seccompProfile, volumes), or the namespace's label pod-security.kubernetes.io/enforce"
	case strings.Contains(message, "memory") || strings.Contains(message, "cpu"):
		check.Advice = "set resources and sidecarResources to what the namespace's LimitRange and ResourceQuota take"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), uncertain(err):
		check.State, check.Advice = CheckWarning, "it was not tried; try again"
	default:
		check.Advice = "no run could start; change what the message names"
	}
}

// warningList takes the warnings of an answer, such as those of Pod Security's level for warnings.
type warningList struct{ texts []string }

// HandleWarningHeader is of rest.WarningHandler.
func (w *warningList) HandleWarningHeader(_ int, _, text string) {
	if text != "" && !slices.Contains(w.texts, text) {
		w.texts = append(w.texts, text)
	}
}

func (w *warningList) reset() { w.texts = nil }
