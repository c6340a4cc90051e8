package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// Merge gives the record as it shall be, and whether that differs from what is there. A nil record is a run that has none.
func Merge(record *omapi.PipelineStatus, finding Finding) (*omapi.PipelineStatus, bool) {
	if record == nil {
		record = &omapi.PipelineStatus{RunID: finding.RunID, StartDate: finding.Timestamp, Timestamp: finding.Timestamp}
	}
	merged := *record
	recorded := stateOf(record, &finding)
	merged.State = Decide(finding.Outcome, recorded)
	changed := merged.State != record.State
	if changed {
		merged.EndDate = 0
	}
	if merged.State.Terminal() && merged.EndDate == 0 {
		ended := finding.Ended
		if ended.IsZero() {
			ended = time.Now()
		}
		merged.EndDate, changed = ended.UnixMilli(), true
	}
	// A final state that has its cause misses nothing, and a success needs none.
	explained := !changed && merged.State.Terminal() && (record.Cause() != "" || merged.State == omapi.StateSuccess || merged.State == omapi.StatePartialSuccess)
	if finding.Step != nil && !explained && !hasStep(record.Steps, finding.Step.Name) {
		merged.Steps = append(slices.Clone(record.Steps), omapi.NewStep(contradicted(*finding.Step, recorded, merged.State)))
		changed = true
	}
	return &merged, changed
}

// contradicted makes a cause name both where the workflow had reported that all went well.
func contradicted(step omapi.StepSummary, recorded, decided omapi.PipelineState) omapi.StepSummary {
	if decided != omapi.StateFailed || recorded != omapi.StateSuccess && recorded != omapi.StatePartialSuccess || len(step.Failures) == 0 {
		return step
	}
	step.Failures = slices.Clone(step.Failures)
	step.Failures[0].Error = fmt.Sprintf("the workflow reported %s, but %s", recorded, step.Failures[0].Error)
	return step
}

// hasStep goes by the name: of what ended, the first diagnosis is as good as a later one, and each write fires alerts.
func hasStep(steps []omapi.Step, name string) bool {
	return slices.ContainsFunc(steps, func(step omapi.Step) bool { return step.Name == name })
}
