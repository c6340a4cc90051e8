// Package report holds the rules by which every reporter writes the record of a run: the Job decides, the workflow's
// own record refines, and a final state stands.
package report

import (
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// Outcome is what the Job says of the run.
type Outcome string

// The outcomes.
const (
	// Undecided: the run goes on, or a retry will come.
	Undecided Outcome = "undecided"
	Complete  Outcome = "complete"
	Failed    Outcome = "failed"
	// Stopped by a person.
	Stopped Outcome = "stopped"
)

// OutcomeOf reads a Job. FailureTarget and SuccessCriteriaMet count: they come when it is decided, while pods still end.
func OutcomeOf(job *batchv1.Job) Outcome {
	if job == nil {
		return Undecided
	}
	if job.Annotations[identity.AnnotationStopRequested] != "" {
		return Stopped
	}
	for _, condition := range job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete, batchv1.JobSuccessCriteriaMet:
			return Complete
		case batchv1.JobFailed, batchv1.JobFailureTarget:
			return Failed
		case batchv1.JobSuspended:
		}
	}
	if job.DeletionTimestamp != nil {
		return Failed
	}
	return Undecided
}

// TimestampOf is the timestamp that all records of the Job's run have, in milliseconds: the one that the client chose,
// else the Job's creation time.
func TimestampOf(job *batchv1.Job) int64 {
	if ms, err := strconv.ParseInt(job.Annotations[identity.AnnotationTimestamp], 10, 64); err == nil {
		return ms
	}
	return job.CreationTimestamp.UnixMilli()
}

// none is the state of a run that has no record.
const none = omapi.PipelineState("")

type rule struct {
	outcome Outcome
	// from are the states of the record that the rule is for.
	from []omapi.PipelineState
	// to is the state that the record shall have; empty: the one it has.
	to omapi.PipelineState
}

// rules is the decision table. The first rule that fits is taken; a state that no rule names stays as it is.
func rules() []rule {
	return []rule{
		{Undecided, []omapi.PipelineState{none, omapi.StateQueued, omapi.StateFailed}, omapi.StateRunning},
		{Complete, []omapi.PipelineState{none, omapi.StateQueued, omapi.StateRunning}, omapi.StateSuccess},
		{Failed, []omapi.PipelineState{none, omapi.StateQueued, omapi.StateRunning, omapi.StateSuccess, omapi.StatePartialSuccess}, omapi.StateFailed},
		{Stopped, []omapi.PipelineState{none, omapi.StateQueued, omapi.StateRunning}, omapi.StateStopped},
	}
}

// Decide gives the state that the record of a run shall have.
func Decide(outcome Outcome, recorded omapi.PipelineState) omapi.PipelineState {
	for _, rule := range rules() {
		if rule.outcome == outcome && slices.Contains(rule.from, recorded) {
			return rule.to
		}
	}
	return recorded
}
