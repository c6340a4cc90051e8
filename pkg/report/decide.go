// Package report holds the rules by which every reporter writes the record of a run: the Job decides, the workflow's
// own record refines, and a final state stands.
package report

import (
	"slices"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

const (
	// none is the state of a run that has no record.
	none = omapi.PipelineState("")
	// superseded is a final state that an earlier attempt wrote than the one that counts.
	superseded = omapi.PipelineState("final state of an earlier attempt")
)

type rule struct {
	outcome Outcome
	// from are the states of the record that the rule is for.
	from []omapi.PipelineState
	to   omapi.PipelineState
}

// rules is the decision table. The first rule that fits is taken; a state that no rule names stays as it is.
func rules() []rule {
	const (
		queued, running  = omapi.StateQueued, omapi.StateRunning
		success, partial = omapi.StateSuccess, omapi.StatePartialSuccess
		failed, stopped  = omapi.StateFailed, omapi.StateStopped
	)
	return []rule{
		{Waiting, []omapi.PipelineState{none}, queued},
		{Waiting, []omapi.PipelineState{superseded}, running}, // The run had started before this attempt.
		// A retry will come, or has: what an attempt that failed wrote, also of a success, is not the run's.
		{Undecided, []omapi.PipelineState{none, queued, superseded}, running},
		{Complete, []omapi.PipelineState{none, queued, running, superseded}, success},
		{Failed, []omapi.PipelineState{none, queued, running, success, partial, superseded}, failed},
		{Stopped, []omapi.PipelineState{none, queued, running, superseded}, stopped},
		// Nobody knows how it ended, so whoever knew and wrote it is right.
		{Lost, []omapi.PipelineState{queued, running}, failed},
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

// stateOf reads a record as the table's rows name it.
func stateOf(record *omapi.PipelineStatus, finding *Finding) omapi.PipelineState {
	switch {
	case record.State != none && !record.State.Known():
		return omapi.StateQueued // As OpenMetadata's own client maps what it does not know.
	case record.State.Terminal() && record.State != omapi.StateStopped && record.EndDate > 0 && record.EndDate < finding.Superseded.UnixMilli():
		return superseded
	default:
		return record.State
	}
}
