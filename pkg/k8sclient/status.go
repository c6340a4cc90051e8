package k8sclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// recentRuns is how many records a status looks at, beside those of the Jobs that are there.
const recentRuns = 20

// PipelineStatus is a pipeline and its latest runs.
type PipelineStatus struct {
	FQN string `json:"fullyQualifiedName"`
	// Schedule is empty for a pipeline on demand.
	Schedule  string `json:"schedule,omitempty"`
	Suspended bool   `json:"suspended,omitempty"`
	// NotBefore and NotAfter are when the schedule is in force; zero for no bound.
	NotBefore time.Time   `json:"notBefore,omitzero"`
	NotAfter  time.Time   `json:"notAfter,omitzero"`
	Runs      []RunStatus `json:"runs"`
	// Incomplete says what is missing where a deploy or a delete was cut off; empty where nothing is.
	Incomplete string `json:"incomplete,omitempty"`
	// RecordProblem is why OpenMetadata has not told its records: then the runs are what Kubernetes knows.
	RecordProblem string `json:"recordProblem,omitempty"`
}

// RunStatus is one run, as OpenMetadata and Kubernetes see it.
type RunStatus struct {
	RunID string `json:"runId"`
	// State is the record's in OpenMetadata; where there is none, what the Job and its pods say.
	State   omapi.PipelineState `json:"state"`
	Started time.Time           `json:"started"`
	Ended   time.Time           `json:"ended,omitzero"`
	// Cause is the newest failure that the record names, else the Job's; of a queued run, what it waits for.
	Cause string `json:"cause,omitempty"`
	// JobName is empty where the Job is gone.
	JobName string `json:"jobName,omitempty"`
	// Job is what Kubernetes says of it: Active, Suspended, Complete or Failed; Stopping or Stopped, if a person has ended it;
	// Starting or Interrupted, if the command that starts the run has not done so yet, or never will.
	Job string `json:"job,omitempty"`
	// Elsewhere says of a run that goes on without a Job here that it is not of this namespace, or not known to be: pipelinectl
	// serve leaves it as it is.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// InTheWay names the containers that keep pods of the run running though it has ended: somebody else added them.
	InTheWay string `json:"inTheWay,omitempty"`
}

// Status tells a deployed pipeline's schedule and its latest runs, newest first.
func (c *Client) Status(ctx context.Context, fqn string) (*PipelineStatus, error) {
	_, names, err := c.deployed(ctx, fqn)
	if errors.Is(err, ErrNotDeployed) {
		names, err = c.namesLeft(ctx, fqn)
	}
	if err != nil {
		return nil, err
	}
	objects, err := c.partsOf(ctx, fqn, names)
	if err != nil {
		return nil, err
	}
	status := &PipelineStatus{FQN: fqn, Incomplete: objects.problem()}
	if cronJob, ok := objects.cronJob.(*batchv1.CronJob); ok {
		status.Schedule = cronJob.Spec.Schedule
		status.Suspended = suspended(cronJob)
		w := windowOf(cronJob)
		status.NotBefore, status.NotAfter = w.from, w.to
	}
	jobs, err := c.jobs(ctx, fqn, names)
	if err != nil {
		return nil, err
	}
	records, err := c.records(ctx, fqn, len(jobs)+recentRuns)
	switch {
	case errors.Is(err, omapi.ErrNotFound) && status.Incomplete != "":
		status.RecordProblem = err.Error()
	case errors.Is(err, omapi.ErrNotFound):
		return nil, fmt.Errorf("pipeline %s is deployed, but OpenMetadata does not know it: %w", fqn, err)
	case errors.Is(err, ErrNoServer), omapi.Retryable(err):
		status.RecordProblem = err.Error()
	case err != nil:
		return nil, err
	}
	status.Runs = joinRuns(records, jobs)
	c.addOrigins(ctx, status.Runs)
	return status, c.addStates(ctx, status.Runs, jobs)
}

// jobDelay is how long after its record a run's Job may be made.
const jobDelay = 2 * time.Minute

// addOrigins says of runs that go on without a Job whether they are known to be of this namespace.
func (c *Client) addOrigins(ctx context.Context, runs []RunStatus) {
	var remembered map[string]string
	for i := range runs {
		run := &runs[i]
		if run.JobName != "" || run.State.Terminal() || time.Since(run.Started) < jobDelay {
			continue
		}
		if remembered == nil {
			remembered = c.rememberedRuns(ctx)
		}
		_, ours := remembered[run.RunID]
		if told := identity.OriginOfRun(run.RunID); !ours && told != "" {
			here, _ := c.Origin(ctx) // An error: it is not known.
			ours = told == here
		}
		run.Elsewhere = !ours
		text := "its Job is gone: pipelinectl serve ends it"
		if run.Elsewhere {
			text = "no Job in namespace " + c.config.Namespace + ": not a run of this namespace, or not known to be"
		}
		run.Cause = strings.TrimSuffix(text+"; "+run.Cause, "; ")
	}
}

// rememberedRuns are those that pipelinectl serve has seen in this namespace and that have not ended; empty, not nil, where
// that is not known.
func (c *Client) rememberedRuns(ctx context.Context) map[string]string {
	out := map[string]string{}
	configMap, err := c.kube.CoreV1().ConfigMaps(c.config.Namespace).Get(ctx, identity.LedgerName, metav1.GetOptions{})
	if err != nil {
		return out
	}
	if here, err := c.Origin(ctx); err == nil && here != "" && configMap.Annotations[identity.AnnotationOrigin] == string(here) {
		maps.Copy(out, configMap.Data)
	}
	return out
}

func (c *Client) records(ctx context.Context, fqn string, limit int) ([]omapi.PipelineStatus, error) {
	if c.om == nil {
		return nil, ErrNoServer
	}
	return c.om.ListStatuses(ctx, fqn, limit)
}

// addStates says of runs without a record what their Jobs and pods say, and of those that are queued why they are.
func (c *Client) addStates(ctx context.Context, runs []RunStatus, jobs []batchv1.Job) error {
	for i := range runs {
		run := &runs[i]
		at := slices.IndexFunc(jobs, func(job batchv1.Job) bool { return job.Name == run.JobName })
		if at < 0 {
			continue
		}
		if addSuspended(run, &jobs[at]) {
			continue
		}
		if !finished(&jobs[at]) {
			if err := c.addHeld(ctx, run, &jobs[at]); err != nil {
				return err
			}
		}
		if run.State != "" && (run.State != omapi.StateQueued || run.Cause != "" || finished(&jobs[at])) {
			continue
		}
		if run.State == "" && addEnd(run, &jobs[at]) {
			continue
		}
		started, reason, err := c.waiting(ctx, &jobs[at])
		switch {
		case err != nil:
			return err
		case !started:
			run.State, run.Cause = omapi.StateQueued, reason
		case run.State == "":
			run.State = omapi.StateRunning
		}
	}
	return nil
}

// addHeld says of a run whose Job has not ended whether it only waits for containers that are not the run's.
func (c *Client) addHeld(ctx context.Context, run *RunStatus, job *batchv1.Job) error {
	pods, err := c.podsOf(ctx, job)
	if err != nil {
		return err
	}
	if run.InTheWay = heldText(pods); run.InTheWay == "" || run.State != "" {
		return nil
	}
	seen := sightOf(job, pods)
	switch seen.Outcome() {
	case report.Complete:
		run.State = omapi.StateSuccess
	case report.Failed:
		run.State = omapi.StateFailed
	default:
		return nil
	}
	run.Ended = seen.Ended()
	return nil
}

// addSuspended says what the run of a suspended Job waits for, also one that had started: Kueue, or a person, has suspended
// it. It is false for any other.
func addSuspended(run *RunStatus, job *batchv1.Job) bool {
	if run.State.Terminal() || !report.Suspended(job) {
		return false
	}
	run.State, run.Cause = cmp.Or(run.State, omapi.StateQueued), suspendedText(job)
	return true
}

// addEnd says how a run without a record has ended; false where it has not.
func addEnd(run *RunStatus, job *batchv1.Job) bool {
	switch report.OutcomeOf(job) {
	case report.Complete:
		run.State = omapi.StateSuccess
	case report.Failed:
		run.State = omapi.StateFailed
	case report.Stopped:
		run.State = omapi.StateStopped
	default:
		return false
	}
	interrupted := report.Abandoned(job)
	if interrupted {
		run.Cause = diagnostics.TextNotStarted
	}
	for _, condition := range job.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) {
			run.Ended = condition.LastTransitionTime.Time
			if run.State == omapi.StateFailed && !interrupted {
				run.Cause = strings.Trim(condition.Reason+": "+condition.Message, ": ")
			}
		}
	}
	return true
}

func joinRuns(records []omapi.PipelineStatus, jobs []batchv1.Job) []RunStatus {
	runs := make([]RunStatus, 0, len(records)+len(jobs))
	index := map[string]int{}
	for i := range records {
		if _, ok := index[records[i].RunID]; ok {
			continue
		}
		index[records[i].RunID] = len(runs)
		runs = append(runs, newRunStatus(&records[i]))
	}
	for i := range jobs {
		id := report.RunIDOf(&jobs[i])
		at, ok := index[id]
		if !ok {
			at = len(runs)
			index[id] = at
			runs = append(runs, RunStatus{RunID: id, Started: jobs[i].CreationTimestamp.Time})
		}
		runs[at].JobName, runs[at].Job = jobs[i].Name, jobState(&jobs[i])
	}
	slices.SortStableFunc(runs, func(a, b RunStatus) int { return b.Started.Compare(a.Started) })
	return runs
}

func newRunStatus(record *omapi.PipelineStatus) RunStatus {
	run := RunStatus{RunID: record.RunID, State: record.State, Started: time.UnixMilli(record.Timestamp), Cause: record.Cause()}
	// A running record may carry an endDate that means nothing.
	if record.State.Terminal() && record.EndDate > 0 {
		run.Ended = time.UnixMilli(record.EndDate)
	}
	return run
}

func jobState(job *batchv1.Job) string {
	switch {
	case report.Abandoned(job):
		return "Interrupted"
	case report.StartPending(job):
		return "Starting"
	case finished(job) && completed(job):
		return string(batchv1.JobComplete)
	case finished(job) && report.StopRequested(job):
		return "Stopped"
	case finished(job):
		return string(batchv1.JobFailed)
	case report.Suspended(job):
		return string(batchv1.JobSuspended)
	case report.StopRequested(job):
		return "Stopping"
	default:
		return "Active"
	}
}

func completed(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(condition batchv1.JobCondition) bool {
		return condition.Type == batchv1.JobComplete && condition.Status == corev1.ConditionTrue
	})
}
