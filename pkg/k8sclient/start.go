package k8sclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// A run is started in three writes: its Job, which cannot run; its record; and the patch that lets the Job run. A write that
// the API server works on late can therefore never start a run that was given up: the last one only goes through while the
// Job is pending, and so does the one that gives it up, so that exactly one of the two takes effect.

// makePending makes a Job one that cannot run: it is suspended, and whoever resumes it too early finds its time over. It
// answers the patch that starts it.
func makePending(job *batchv1.Job) func(timestamp int64) []byte {
	spec := &job.Spec
	suspended, deadline, queue := report.Suspended(job), spec.ActiveDeadlineSeconds, job.Labels[identity.LabelQueue]
	job.Labels[identity.LabelStart] = identity.StartPending
	// The queue admits it when it is to start, not before.
	delete(job.Labels, identity.LabelQueue)
	spec.Suspend, spec.ActiveDeadlineSeconds = new(true), new(int64)
	return func(timestamp int64) []byte {
		patch := []patchOperation{
			{"test", labelPath(identity.LabelStart), identity.StartPending},
			{"remove", labelPath(identity.LabelStart), nil},
			{opAdd, "/metadata/annotations/" + pointer(identity.AnnotationTimestamp), strconv.FormatInt(timestamp, 10)},
			{opAdd, "/spec/activeDeadlineSeconds", deadline},
			{opAdd, "/spec/suspend", suspended},
		}
		if queue != "" {
			patch = append(patch, patchOperation{opAdd, labelPath(identity.LabelQueue), queue})
		}
		return encodePatch(patch)
	}
}

// opAdd sets a value, whether there is one or not.
const opAdd = "add"

// patchOperation is one of a JSON patch (RFC 6902).
type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

func labelPath(label string) string { return "/metadata/labels/" + pointer(label) }

// pointer escapes a key for a JSON pointer.
func pointer(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

func encodePatch(patch []patchOperation) []byte {
	data, _ := json.Marshal(patch) //nolint:errchkjson // Texts, numbers and truths.
	return data
}

// fate is what became of a Job whose start was given up.
type fate int

const (
	fateUnknown fate = iota
	// fateNeverStarts: the Job is interrupted, or is not there. If it appears later, it is pending, and nobody starts it.
	fateNeverStarts
	fateStarted
	// fateStopped: somebody has ended the run before it started.
	fateStopped
)

// starting is a run that is being started.
type starting struct {
	client *Client
	fqn    string
	runID  string
	job    *batchv1.Job
	// own is the Secret of a run that has a configuration of its own.
	own       *corev1.Secret
	patch     func(timestamp int64) []byte
	timestamp int64
	// left says that the Job may be there.
	left bool
	// queued is how far the first write of the record came.
	queued recording
	// sent says that the patch that starts the run may take effect.
	sent bool
}

// recording is how far a write to OpenMetadata came.
type recording int

const (
	notRecorded recording = iota
	maybeRecorded
	recorded
)

func (c *Client) newStart(fqn, runID string, job *batchv1.Job, own *corev1.Secret) *starting {
	return &starting{client: c, fqn: fqn, runID: runID, job: job, own: own, timestamp: report.TimestampOf(job), patch: makePending(job)}
}

// run starts the run, or gives it up. It answers no error exactly if the run has started.
func (s *starting) run(ctx context.Context) error {
	err := s.start(ctx)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.client.undoTimeout)
	defer cancel()
	return s.giveUp(ctx, err)
}

func (s *starting) start(ctx context.Context) error {
	c := s.client
	if err := c.createWithSecret(ctx, s.job, s.own); err != nil {
		uncertain, ok := errors.AsType[*jobLeftError](err)
		if s.left = ok; ok {
			return fmt.Errorf("the run was given up, and does not start even if its Job is still created: %w", uncertain.err)
		}
		return err
	}
	s.left = true
	timestamp, err := report.Queue(ctx, c.om, s.fqn, s.runID, s.timestamp)
	if err != nil {
		if !refused(err) {
			s.queued = maybeRecorded
		}
		return err
	}
	s.queued, s.timestamp = recorded, timestamp
	if _, err = c.jobClient().patch(ctx, s.job.Name, types.JSONPatchType, s.patch(timestamp)); err == nil {
		return nil
	}
	// A repetition is refused as invalid if the patch went through before, and only its answer was lost.
	s.sent = uncertain(err) || apierrors.IsInvalid(err)
	return c.failed("start Job "+s.job.Name, err)
}

// refused says that OpenMetadata has not done what it was asked for, and will not.
func refused(err error) bool {
	return errors.Is(err, omapi.ErrConflict) || errorsAsStatus(err) && !omapi.Retryable(err)
}

func errorsAsStatus(err error) bool {
	_, ok := errors.AsType[*omapi.Error](err)
	return ok
}

// giveUp ends the start that has failed because of the cause, and answers nil if the run has started all the same.
func (s *starting) giveUp(ctx context.Context, cause error) error {
	fate, err := fateNeverStarts, error(nil)
	if s.left {
		fate, err = s.client.interruptStart(ctx, s.job.Name)
	}
	switch {
	case fate == fateStarted:
		return nil
	case fate == fateStopped:
		// The record may have been written after the kill had done so.
		return errors.Join(cause, fmt.Errorf("run %s was stopped before it started", s.runID), s.record(ctx, report.Stopped, nil))
	case fate == fateUnknown && s.sent:
		return errors.Join(cause, fmt.Errorf("whether run %s has started is not known; see pipelinectl status %s: %w", s.runID, s.fqn, err))
	}
	// Nobody will start it, whether its Job is there, comes late, or cannot be reached.
	if s.queued == notRecorded && errorsAsStatus(cause) {
		return errors.Join(cause, s.remove(ctx)) // OpenMetadata has refused the run; it has no record.
	}
	if err := s.record(ctx, report.Failed, notStarted(cause)); err != nil {
		return errors.Join(cause, err) // The Job stays, as a reminder.
	}
	if s.queued == maybeRecorded {
		return cause // That write may come late and take the place of the last one: the Job tells who looks again.
	}
	return errors.Join(cause, s.remove(ctx))
}

// record makes the record of a run that did not start final.
func (s *starting) record(ctx context.Context, outcome report.Outcome, step *omapi.StepSummary) error {
	c := s.client
	if s.queued == maybeRecorded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.undoTimeout/3) // It did not answer a moment ago.
		defer cancel()
	}
	finding := report.Finding{FQN: s.fqn, RunID: s.runID, Timestamp: s.timestamp, Outcome: outcome, Step: step}
	if _, err := report.Report(ctx, c.om, finding); err != nil {
		return fmt.Errorf("run %s did not start, but OpenMetadata could not be told, and may show it as queued until the next pipelinectl run, kill, deploy or delete of the pipeline, or pipelinectl serve, tells it: %w", s.runID, err)
	}
	return nil
}

func notStarted(cause error) *omapi.StepSummary {
	return &omapi.StepSummary{
		Name: "Start", Errors: 1,
		Failures: []omapi.StackTraceError{{Name: "JobNotCreated", Error: cause.Error()}},
	}
}

// remove deletes the Job, if it is there. One that stays does no harm: its time is over.
func (s *starting) remove(ctx context.Context) error {
	if !s.left {
		return nil
	}
	_, err := s.client.deleteOwned(ctx, s.client.jobClient(), s.job.Name, s.fqn)
	return err
}

// interruptStart ends the start of a Job for good, if it is pending, and says what became of it. fateUnknown comes with an
// error.
func (c *Client) interruptStart(ctx context.Context, name string) (fate, error) {
	jobs := c.jobClient()
	for {
		_, err := jobs.patch(ctx, name, types.JSONPatchType, report.InterruptPatch())
		switch {
		case err == nil, apierrors.IsNotFound(err):
			return fateNeverStarts, nil
		case !apierrors.IsInvalid(err):
			return fateUnknown, c.failed("interrupt the start of Job "+name, err)
		}
		found, err := jobs.get(ctx, name)
		if apierrors.IsNotFound(err) {
			return fateNeverStarts, nil
		}
		if err != nil {
			return fateUnknown, c.failed("read Job "+name, err)
		}
		job, _ := found.(*batchv1.Job)
		switch {
		case report.StopRequested(job):
			return fateStopped, nil
		case job.Labels[identity.LabelStart] == identity.StartInterrupted:
			return fateNeverStarts, nil
		case !report.StartPending(job):
			return fateStarted, nil
		}
	}
}

// finishStarts finishes what commands have left that were interrupted while they started a run of the pipeline: the run
// does not start, its record says so, and its Job goes. It answers the runs that it has finished.
func (c *Client) finishStarts(ctx context.Context, fqn string, jobs []batchv1.Job) ([]KillResult, error) {
	var (
		finished []KillResult
		errs     []error
	)
	for i := range jobs {
		if job := &jobs[i]; report.Abandoned(job) {
			result, err := c.finishStart(ctx, fqn, job)
			if errs = append(errs, err); result != nil {
				finished = append(finished, *result)
			}
		}
	}
	return finished, errors.Join(errs...)
}

func (c *Client) finishStart(ctx context.Context, fqn string, job *batchv1.Job) (*KillResult, error) {
	fate, err := c.interruptStart(ctx, job.Name)
	if fate != fateNeverStarts {
		return nil, err // It goes on, or is ended by somebody else.
	}
	result := &KillResult{FQN: fqn, RunID: report.RunIDOf(job), JobName: job.Name}
	if c.om != nil {
		job.Labels[identity.LabelStart] = identity.StartInterrupted
		finding := report.FindingOf(job, report.Failed)
		run := &diagnostics.Run{Namespace: job.Namespace, JobName: job.Name, Job: job}
		finding.Step = new(run.Step(run.Judge(), "pipelinectl"))
		reported, err := report.Report(ctx, c.om, finding)
		if err != nil && !errors.Is(err, omapi.ErrNotFound) {
			return nil, fmt.Errorf("run %s of pipeline %s was interrupted before it started, but its record is not final: %w", finding.RunID, fqn, err)
		}
		result.State = reported.State
	}
	_, err = c.deleteOwned(ctx, c.jobClient(), job.Name, fqn)
	return result, err
}

// FinishInterrupted finishes what commands have left that were interrupted while they started or ended runs, of all
// pipelines. Run, Kill and Delete do so for their pipeline, and pipelinectl serve does. It makes one request if there is
// nothing to finish.
func (c *Client) FinishInterrupted(ctx context.Context) error {
	return c.finishLeft(ctx, deployedLabels)
}

// finishLeft finishes what commands have left that were interrupted while they started or ended a run of the pipelines that
// a label selector finds. It makes one request if there is nothing to finish.
func (c *Client) finishLeft(ctx context.Context, selector string) error {
	found, err := c.jobClient().list(ctx, selector+","+identity.LabelStart)
	if err != nil {
		return c.failed("list the Jobs of runs that were interrupted", err)
	}
	ctx, cancel := context.WithTimeout(ctx, forcePatience) // Nobody asked for it.
	defer cancel()
	var errs []error
	for _, o := range found {
		job, ok := o.(*batchv1.Job)
		fqn := o.GetAnnotations()[identity.AnnotationFQN]
		switch {
		case !ok || fqn == "":
		case report.Abandoned(job):
			_, err := c.finishStart(ctx, fqn, job)
			errs = append(errs, err)
		case report.StopRequested(job) && finished(job) && c.om != nil:
			_, err := c.finishStop(ctx, fqn, job, false)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// leftOver says that a command that started or ended the Job's run was interrupted, and that the Job waits for somebody to
// finish that.
func leftOver(job *batchv1.Job) bool {
	return report.Abandoned(job) || report.StopRequested(job) && report.Suspended(job) && !finished(job)
}

// checkRuns says which runs wait for somebody to finish what a command has begun.
func (c *Client) checkRuns(ctx context.Context) Check {
	const name = "runs"
	found, err := c.jobClient().list(ctx, deployedLabels)
	if err != nil {
		return Check{name, CheckWarning, "cannot be read: " + err.Error(), "check that the cluster is reachable"}
	}
	var pipelines []string
	for _, o := range found {
		job, ok := o.(*batchv1.Job)
		if fqn := job.Annotations[identity.AnnotationFQN]; ok && leftOver(job) && !slices.Contains(pipelines, fqn) {
			pipelines = append(pipelines, fqn)
		}
	}
	if len(pipelines) == 0 {
		return Check{Name: name, State: CheckOK, Detail: "none is left half started or half ended"}
	}
	slices.Sort(pipelines)
	return Check{
		name, CheckWarning, "commands were interrupted that started or ended runs of " + strings.Join(pipelines, ", "),
		"finish that: pipelinectl kill " + strings.Join(pipelines, " ") + ", or let pipelinectl serve run",
	}
}

// checkQueue asks whether there is a Kueue that could admit runs.
func (c *Client) checkQueue(ctx context.Context) []Check {
	const name = "queue"
	queue := c.config.QueueName
	if queue == "" {
		return nil
	}
	err := c.kube.CoreV1().RESTClient().Get().AbsPath("/apis/kueue.x-k8s.io").Do(ctx).Error()
	switch {
	case err == nil:
		return []Check{{Name: name, State: CheckOK, Detail: queue + ", of Kueue"}}
	case apierrors.IsNotFound(err):
		return []Check{{name, CheckFailed, "the cluster has no Kueue, so no run is ever admitted by queue " + queue, "install Kueue, or leave queueName empty"}}
	default:
		return []Check{{name, CheckWarning, "whether the cluster has Kueue cannot be asked: " + err.Error(), "runs start only if it has"}}
	}
}
