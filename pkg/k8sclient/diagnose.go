package k8sclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// ErrNoJob is for a name that Kubernetes knows no Job of.
var ErrNoJob = errors.New("no Job")

// Diagnosis is what Kubernetes knows of a run, the cause of its end or standstill, and what OpenMetadata was told.
type Diagnosis struct {
	FQN     string              `json:"fullyQualifiedName"`
	RunID   string              `json:"runId"`
	Verdict diagnostics.Verdict `json:"verdict"`
	// Outcome is what the Job says of the run.
	Outcome report.Outcome `json:"outcome,omitempty"`
	// Run is nil where no Job of the run is left; then the verdict is that of the record.
	Run *diagnostics.Run `json:"run,omitempty"`
	// Record is OpenMetadata's; nil where it has none, or where RecordProblem says why it is not known.
	Record        *omapi.PipelineStatus `json:"record,omitempty"`
	RecordProblem string                `json:"recordProblem,omitempty"`
	// Reported is what Report did; nil where it was not asked to.
	Reported *report.Result `json:"reported,omitempty"`
}

// Diagnose looks at a run, named by its id or its Job; named by its pipeline it is the newest one.
func (c *Client) Diagnose(ctx context.Context, reader diagnostics.Reader, name string) (*Diagnosis, error) {
	job, err := c.findJob(ctx, name)
	if err != nil && !errors.Is(err, ErrNoJob) {
		return nil, err
	}
	if isFQN(name) {
		if past := c.pastRun(ctx, name, job); past != nil {
			return past, nil
		}
	}
	if err != nil {
		return nil, err
	}
	fqn := job.Annotations[identity.AnnotationFQN]
	run := diagnostics.Collect(ctx, reader, diagnostics.Target{
		Namespace: c.config.Namespace, JobName: job.Name, Job: job,
		Secrets: func(ctx context.Context) ([]string, error) { return c.SecretValues(ctx, fqn) },
	})
	out := &Diagnosis{FQN: fqn, RunID: report.RunIDOf(job), Verdict: run.Judge(), Outcome: report.SightOf(run, "").Outcome(), Run: run}
	if c.om == nil {
		return out, nil
	}
	record, err := c.om.GetStatus(ctx, fqn, out.RunID)
	switch {
	case err == nil:
		out.Record = record
	case !errors.Is(err, omapi.ErrNoRecord):
		out.RecordProblem = err.Error()
	}
	return out, nil
}

// pastRun is the pipeline's newest run where its Job is gone, as of one that was killed; nil where the Job is of the newest.
// A job of nil is that of a pipeline that has none.
func (c *Client) pastRun(ctx context.Context, fqn string, job *batchv1.Job) *Diagnosis {
	if c.om == nil {
		return nil
	}
	records, err := c.om.ListStatuses(ctx, fqn, 1)
	if err != nil || len(records) == 0 {
		return nil // What Kubernetes knows is told all the same.
	}
	newest := &records[0]
	if job != nil && (newest.RunID == report.RunIDOf(job) || newest.Timestamp <= report.TimestampOf(job)) {
		return nil
	}
	verdict := diagnostics.Verdict{Category: diagnostics.CategoryUnknown, Summary: "no Job of the run is left in namespace " + c.config.Namespace}
	for _, step := range newest.Steps {
		if failure, ok := step.Failure(); ok && step.Name == diagnostics.StepName {
			verdict = diagnostics.Verdict{Category: diagnostics.Category(failure.Name), Summary: failure.Error}
		}
	}
	return &Diagnosis{FQN: fqn, RunID: newest.RunID, Verdict: verdict, Record: newest}
}

// Report writes a diagnosis to OpenMetadata, as any other reporter does. The result has no state where the run's newest
// attempt has ended and its Job has not decided yet: nothing is written then.
func (c *Client) Report(ctx context.Context, diagnosis *Diagnosis, reporter string) (report.Result, error) {
	if diagnosis.Run == nil {
		return report.Result{}, fmt.Errorf("%w of run %s is left in namespace %s: there is nothing to report", ErrNoJob, diagnosis.RunID, c.config.Namespace)
	}
	finding := report.FindingOf(diagnosis.Run.Job, diagnosis.Outcome)
	seen := report.SightOf(diagnosis.Run, "")
	finding.Ended, finding.Superseded = seen.Ended(), seen.Superseded()
	if !finding.Outcome.Final() && !finding.Ended.IsZero() {
		return report.Result{}, nil // Whether it was the last attempt the Job has yet to say.
	}
	if diagnosis.Outcome == report.Undecided && !slices.ContainsFunc(diagnosis.Run.Pods, func(pod diagnostics.Pod) bool { return pod.HasStarted() }) {
		finding.Outcome = report.Waiting
	}
	if finding.Outcome.Final() && finding.Outcome != report.Complete {
		step := diagnosis.Run.Step(diagnosis.Verdict, reporter)
		finding.Step = &step
	}
	return report.Report(ctx, c.om, finding)
}

// isFQN tells a pipeline's name from a Job's and a run's: it has its service's in front.
func isFQN(name string) bool { return strings.Contains(name, ".") }

func (c *Client) findJob(ctx context.Context, name string) (*batchv1.Job, error) {
	jobs := c.kube.BatchV1().Jobs(c.config.Namespace)
	if !isFQN(name) && uuid.Validate(name) != nil {
		job, err := jobs.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%w is named %s in namespace %s; give a run's id, a Job, or a pipeline's fully qualified name", ErrNoJob, name, c.config.Namespace)
		}
		if err != nil {
			return nil, c.failed("read Job "+name, err)
		}
		return job, nil
	}
	if uuid.Validate(name) == nil {
		return c.jobOfRun(ctx, name)
	}
	_, names, err := c.deployed(ctx, name)
	if err != nil {
		return nil, err
	}
	all, err := c.jobs(ctx, name, names)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w of pipeline %s is left in namespace %s; its past runs: pipelinectl status %s", ErrNoJob, name, c.config.Namespace, name)
	}
	newest := slices.MaxFunc(all, func(a, b batchv1.Job) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(report.TimestampOf(&a), report.TimestampOf(&b)))
	})
	return &newest, nil
}

// jobOfRun finds an on-demand run's Job by its label. The Jobs of a schedule have no such label: their UID is the run's id,
// and a server cannot select by it.
func (c *Client) jobOfRun(ctx context.Context, runID string) (*batchv1.Job, error) {
	ours := labels.Set{identity.LabelManagedBy: openMetadata}.String()
	for _, selector := range []string{
		fmt.Sprintf("%s,%s in (%s,%s)", ours, identity.LabelRunID, runID, strings.ToLower(runID)),
		ours + ",!" + identity.LabelRunID,
	} {
		list, err := c.kube.BatchV1().Jobs(c.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, c.failed("list the Jobs", err)
		}
		for i := range list.Items {
			if strings.EqualFold(report.RunIDOf(&list.Items[i]), runID) {
				return &list.Items[i], nil
			}
		}
	}
	return nil, fmt.Errorf("%w of run %s is left in namespace %s; what OpenMetadata knows of it: pipelinectl status PIPELINE", ErrNoJob, runID, c.config.Namespace)
}
