package k8sclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

const (
	// killReserve is what a kill takes on top of the pods' grace period: the kubelet kills and tells, the record is written.
	killReserve = 30 * time.Second
	// forcePatience bounds how long a server is asked that may be away for good.
	forcePatience = 10 * time.Second
)

// KillResult says how one run ended.
type KillResult struct {
	FQN     string `json:"fullyQualifiedName"`
	RunID   string `json:"runId"`
	JobName string `json:"jobName"`
	// State is the run's in OpenMetadata; empty where that does not know the pipeline, or could not be told.
	State omapi.PipelineState `json:"state"`
	// Problem is why OpenMetadata could not be told, of a pipeline that was deleted by force.
	Problem string `json:"problem,omitempty"`
}

// Kill ends the runs of a pipeline, or the one that is named, and returns when their pods have ended and their records
// are final. ErrNothingToKill if there is no run that has not ended, and none of which an earlier kill has not seen the end.
//
// One write marks the Job and ends its time: its controller then deletes the pods with their grace period, so that their
// preStop hook finds the Job and reads why, and fails the Job, so that the schedule goes on. Nothing more is needed for
// that: whatever interrupts a kill after it, pipelinectl serve or another kill writes what is missing of the record, and the
// Job is removed by its time to live. Here the Job is deleted at the end.
func (c *Client) Kill(ctx context.Context, fqn, runID string) ([]KillResult, error) {
	names, err := c.namesLeft(ctx, fqn)
	if err != nil {
		return nil, err
	}
	return c.kill(ctx, fqn, names, runID, false)
}

func (c *Client) kill(ctx context.Context, fqn string, names identity.ObjectNames, runID string, force bool) ([]KillResult, error) {
	jobs, err := c.jobs(ctx, fqn, names)
	if err != nil {
		return nil, err
	}
	var interrupted []KillResult
	if runID == "" && (c.om != nil || force) {
		if interrupted, err = c.finishStarts(ctx, fqn, jobs); err != nil && !force {
			return nil, err
		}
	}
	jobs = slices.DeleteFunc(jobs, func(job batchv1.Job) bool { return !isToEnd(&job, runID) })
	switch {
	case len(jobs) == 0 && len(interrupted) > 0:
		return interrupted, nil
	case len(jobs) == 0:
		return nil, fmt.Errorf("%w: pipeline %s has none in namespace %s that has not ended", ErrNothingToKill, fqn, c.config.Namespace)
	case c.om == nil && !force:
		return nil, fmt.Errorf("end the runs of pipeline %s: %w", fqn, ErrNoServer)
	}
	results, err := c.endAll(ctx, fqn, jobs, force)
	return slices.Concat(interrupted, results), err
}

// isToEnd says whether a kill has to do with a run: it has not ended, or an earlier kill has not seen its end. A run id that is
// not empty leaves out all others.
func isToEnd(job *batchv1.Job, runID string) bool {
	if runID != "" && report.RunIDOf(job) != runID {
		return false
	}
	return !report.Abandoned(job) && (!finished(job) || report.StopRequested(job))
}

// endAll ends the runs of Jobs. All are told to stop before any is waited for.
func (c *Client) endAll(ctx context.Context, fqn string, jobs []batchv1.Job, force bool) ([]KillResult, error) {
	errs := make([]error, len(jobs))
	for i := range jobs {
		errs[i] = c.stop(ctx, &jobs[i])
	}
	ended := make([]*KillResult, len(jobs))
	var wg sync.WaitGroup
	for i := range jobs {
		if errs[i] == nil {
			wg.Go(func() { ended[i], errs[i] = c.awaitKilled(ctx, fqn, &jobs[i], force) })
		}
	}
	wg.Wait()
	var results []KillResult
	for _, result := range ended {
		if result != nil {
			results = append(results, *result)
		}
	}
	return results, errors.Join(errs...)
}

// errStuck is for pods that outlive their grace period.
var errStuck = errors.New("they have not ended in time; if their node is gone: kubectl delete pod --force")

func (c *Client) awaitKilled(ctx context.Context, fqn string, job *batchv1.Job, force bool) (*KillResult, error) {
	grace := c.killReserve
	if seconds := job.Spec.Template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace += time.Duration(*seconds) * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, grace, errStuck)
	defer cancel()

	if err := c.waitForPods(ctx, job); err != nil {
		return nil, err
	}
	return c.finishStop(ctx, fqn, job, force)
}

// finishStop makes the record of a run final that was stopped and whose pods have ended, and removes its Job.
func (c *Client) finishStop(ctx context.Context, fqn string, job *batchv1.Job, force bool) (*KillResult, error) {
	result := &KillResult{FQN: fqn, RunID: report.RunIDOf(job), JobName: job.Name}
	state, err := c.reportKilled(ctx, job, force)
	// A pipeline that OpenMetadata does not know any more has no record.
	if err != nil && !errors.Is(err, omapi.ErrNotFound) {
		err = fmt.Errorf("run %s has ended, but OpenMetadata could not be told, and its record is not final: %w; pipelinectl serve tells it, or kill the run again when OpenMetadata takes it", result.RunID, err)
		if !force {
			return nil, err
		}
		result.Problem = err.Error()
	}
	result.State = state
	_, err = c.deleteOwned(ctx, c.jobClient(), job.Name, fqn)
	return result, err
}

// reportKilled makes the run's record final. The hook has reported where it could; a run whose pod never started has none.
func (c *Client) reportKilled(ctx context.Context, job *batchv1.Job, force bool) (omapi.PipelineState, error) {
	if c.om == nil {
		return "", ErrNoServer
	}
	if force {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, forcePatience)
		defer cancel()
	}
	finding := report.FindingOf(job, report.Stopped)
	run := &diagnostics.Run{Namespace: job.Namespace, JobName: job.Name, Job: job}
	finding.Step = new(run.Step(run.Judge(), "pipelinectl kill"))
	reported, err := report.Report(ctx, c.om, finding)
	return reported.State, err
}

// stop marks the Job as stopped by a person and ends its time, in one write: no pod may end before its hook can read why,
// and nothing else is needed for the Job to fail, also if it was suspended, or is about to be started. The Job becomes what
// it is then.
func (c *Client) stop(ctx context.Context, job *batchv1.Job) error {
	at := cmp.Or(job.Annotations[identity.AnnotationStopRequested], time.Now().UTC().Format(time.RFC3339))
	if finished(job) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		fieldMetadata: map[string]any{
			fieldAnnotations: map[string]string{identity.AnnotationStopRequested: at},
			"labels":         map[string]any{identity.LabelStart: identity.StartStopped},
		},
		"spec": map[string]any{"suspend": false, "activeDeadlineSeconds": 0},
	})
	if err != nil {
		return fmt.Errorf("encode the patch of Job %s: %w", job.Name, err)
	}
	found, err := c.jobClient().patch(ctx, job.Name, types.MergePatchType, patch)
	stopped, _ := found.(*batchv1.Job)
	switch {
	case err == nil:
		*job = *stopped
	case !apierrors.IsNotFound(err):
		return c.failed("stop Job "+job.Name, err)
	}
	return nil
}

func (c *Client) waitForPods(ctx context.Context, job *batchv1.Job) error {
	const interval = 200 * time.Millisecond
	var (
		left    []string
		unread  error
		stopped bool
	)
	held := newHolder(c)
	err := wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		var (
			pods []corev1.Pod
			err  error
		)
		if !stopped {
			stopped, err = c.controllerStopped(ctx, job)
		}
		if err == nil {
			pods, err = c.podsOf(ctx, job)
		}
		if diagnostics.Denied(err) {
			return false, err
		}
		if err != nil {
			if ctx.Err() == nil { // Else it is the end of the wait itself.
				unread = err
			}
			return false, nil // It may be asked again.
		}
		unread = nil
		left = left[:0]
		for i := range pods {
			// What only a container runs on in that is not the run's has ended: the Job takes the pod along.
			over := len(diagnostics.InTheWay(&pods[i])) > 0 && held.patient(&pods[i])
			if phase := pods[i].Status.Phase; !over && phase != corev1.PodSucceeded && phase != corev1.PodFailed {
				left = append(left, pods[i].Name)
			}
		}
		return stopped && len(left) == 0, nil
	})
	if !wait.Interrupted(err) {
		return err
	}
	err = context.Cause(ctx)
	if !errors.Is(err, errStuck) {
		err = fmt.Errorf("it has been told to stop, but is not waited for any longer; kill it again to see it end: %w", err)
	}
	what := fmt.Sprintf("pods %v", left)
	if len(left) == 0 {
		what = "its controller has not ended it"
	}
	// Not as a call that failed: the API server has answered, or unread says what it has not.
	return fmt.Errorf("cannot kill Job %s in namespace %s: %s: %w", job.Name, c.config.Namespace, what, errors.Join(err, unread))
}

// controllerStopped says that the Job's controller makes no pods any more. Without that, one that it was about to make might
// come yet.
func (c *Client) controllerStopped(ctx context.Context, job *batchv1.Job) (bool, error) {
	found, err := c.jobClient().get(ctx, job.Name)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	now, _ := found.(*batchv1.Job)
	for _, condition := range now.Status.Conditions {
		switch condition.Type {
		case batchv1.JobFailureTarget, batchv1.JobFailed, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, batchv1.JobSuspended:
			// Kueue suspends a Job again that was not its to run.
			if condition.Status == corev1.ConditionTrue && (condition.Type != batchv1.JobSuspended || report.Suspended(now)) {
				return true, nil
			}
		}
	}
	return false, nil
}

func finished(job *batchv1.Job) bool {
	for _, condition := range job.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) {
			return true
		}
	}
	return false
}
