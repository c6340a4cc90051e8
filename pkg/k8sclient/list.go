package k8sclient

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// PipelineSummary is one deployed pipeline, as Kubernetes alone knows it.
type PipelineSummary struct {
	FQN  string             `json:"fullyQualifiedName"`
	Type omapi.PipelineType `json:"pipelineType"`
	// Schedule is empty for a pipeline on demand.
	Schedule  string `json:"schedule,omitempty"`
	TimeZone  string `json:"timeZone,omitempty"`
	Suspended bool   `json:"suspended,omitempty"`
	// NotBefore and NotAfter are when the schedule is in force; zero for no bound.
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// LastScheduled is when the schedule fired last.
	LastScheduled time.Time `json:"lastScheduled,omitzero"`
	// Active counts the runs that have not ended.
	Active int `json:"active"`
	// Interrupted counts the runs that a command has left half started or half ended: pipelinectl kill finishes that, or
	// pipelinectl serve.
	Interrupted int `json:"interrupted,omitempty"`
	// LastJob is the newest run's Job, and LastJobState what Kubernetes says of it.
	LastJob      string    `json:"lastJob,omitempty"`
	LastJobState string    `json:"lastJobState,omitempty"`
	Deployed     time.Time `json:"deployed"`
	Revision     int64     `json:"revision,omitempty"`
	// Incomplete says what is missing where a deploy or a delete was cut off; empty where nothing is.
	Incomplete string `json:"incomplete,omitempty"`

	lastStarted time.Time
}

// List gives the pipelines that are deployed, by name, also those of which only a part is there. The selector is a label
// selector; empty for all. It makes one list call per kind, however many pipelines there are.
func (c *Client) List(ctx context.Context, selector string) ([]PipelineSummary, error) {
	full, err := deployedSelector(selector)
	if err != nil {
		return nil, err
	}
	configMaps, err := c.configMaps().list(ctx, full)
	if err != nil {
		return nil, c.failed("list the ConfigMaps of pipelines", err)
	}
	byFQN := map[string]*PipelineSummary{}
	for _, o := range configMaps {
		configMap, _ := o.(*corev1.ConfigMap)
		// One that holds no pipeline is not ours, whatever its labels say.
		pipeline, err := pipelineOf(configMap)
		if err != nil || configMap.Annotations[identity.AnnotationFQN] == "" {
			continue
		}
		fqn := configMap.Annotations[identity.AnnotationFQN]
		byFQN[fqn] = &PipelineSummary{
			FQN: fqn, Type: pipeline.PipelineType, Deployed: configMap.CreationTimestamp.Time, Revision: revisionOf(configMap),
		}
	}
	cronJobs, err := c.cronJobs().list(ctx, full)
	if err != nil {
		return nil, c.failed("list the CronJobs of pipelines", err)
	}
	secrets, err := c.secrets().listMetadata(ctx, full)
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, c.failed("list the Secrets of pipelines", err)
	}
	all := assemble(metadataOf(configMaps), secrets, metadataOf(cronJobs))
	for _, p := range all {
		p.secretUnknown = err != nil
	}
	addIncomplete(byFQN, all)
	if len(byFQN) == 0 {
		return nil, c.needNamespace(ctx, "list the pipelines") // No pipelines is an answer.
	}
	addSchedules(cronJobs, byFQN)
	if err := c.addJobs(ctx, full, byFQN); err != nil {
		return nil, err
	}
	out := make([]PipelineSummary, 0, len(byFQN))
	for _, summary := range byFQN {
		out = append(out, *summary)
	}
	slices.SortFunc(out, func(a, b PipelineSummary) int { return strings.Compare(a.FQN, b.FQN) })
	return out, nil
}

// deployedLabels selects the objects of all pipelines.
const deployedLabels = identity.LabelManagedBy + "=" + openMetadata + "," + identity.LabelPipeline

func deployedSelector(selector string) (string, error) {
	if selector == "" {
		return deployedLabels, nil
	}
	if _, err := labels.Parse(selector); err != nil {
		return "", fmt.Errorf("selector %q is not a label selector, such as app.kubernetes.io/pipeline-type=metadata: %w", selector, err)
	}
	return deployedLabels + "," + selector, nil
}

func addSchedules(cronJobs []object, byFQN map[string]*PipelineSummary) {
	for _, o := range cronJobs {
		cronJob, _ := o.(*batchv1.CronJob)
		summary := byFQN[cronJob.Annotations[identity.AnnotationFQN]]
		if summary == nil {
			continue
		}
		w := windowOf(cronJob)
		summary.Schedule, summary.Suspended, summary.NotBefore, summary.NotAfter = cronJob.Spec.Schedule, suspended(cronJob), w.from, w.to
		if cronJob.Spec.TimeZone != nil {
			summary.TimeZone = *cronJob.Spec.TimeZone
		}
		if last := cronJob.Status.LastScheduleTime; last != nil && !isHeld(cronJob, w) { // That is no run.
			summary.LastScheduled = cronJob.Status.LastScheduleTime.Time
		}
	}
}

func (c *Client) addJobs(ctx context.Context, selector string, byFQN map[string]*PipelineSummary) error {
	jobs, err := c.jobClient().list(ctx, selector)
	if err != nil {
		return c.failed("list the Jobs of pipelines", err)
	}
	for _, o := range jobs {
		job, _ := o.(*batchv1.Job)
		summary := byFQN[job.Annotations[identity.AnnotationFQN]]
		if summary == nil {
			continue
		}
		if !finished(job) {
			summary.Active++
		}
		if leftOver(job) {
			summary.Interrupted++
		}
		if created := job.CreationTimestamp.Time; summary.LastJob == "" || created.After(summary.lastStarted) {
			summary.LastJob, summary.LastJobState, summary.lastStarted = job.Name, jobState(job), created
		}
	}
	return nil
}
