package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
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
	// A final state that is of an earlier attempt is another one, also if it has the same name.
	changed := merged.State != record.State || recorded == superseded && merged.State.Terminal()
	if changed {
		merged.EndDate = 0
	}
	if merged.State.Terminal() && merged.EndDate == 0 {
		ended := finding.Ended
		if ended.IsZero() {
			ended = time.Now()
		}
		if ended.Before(finding.Superseded) {
			ended = finding.Superseded // What stands is of the attempt that counts.
		}
		merged.EndDate, changed = ended.UnixMilli(), true
	}
	if finding.Step != nil && !explained(record, finding.Outcome, changed) && wanted(record.Steps, finding.Step, changed && merged.State.Terminal()) {
		merged.Steps = slices.DeleteFunc(slices.Clone(record.Steps), func(step omapi.Step) bool { return step.Name == finding.Step.Name })
		merged.Steps = append(merged.Steps, omapi.NewStep(contradicted(*finding.Step, recorded, merged.State)))
		changed = true
	}
	return &merged, changed
}

// explained: a final state that has its cause misses nothing, and a success needs none; that a run is lost is no cause.
func explained(record *omapi.PipelineStatus, outcome Outcome, changed bool) bool {
	switch {
	case changed:
		return false
	case outcome == Lost:
		return true
	case !record.State.Terminal():
		return false
	}
	success := record.State == omapi.StateSuccess || record.State == omapi.StatePartialSuccess
	return success || record.Cause() != "" && !slices.ContainsFunc(record.Steps, unknown)
}

// wanted: of what ended, the first diagnosis is as good as a later one, and each write fires alerts. So a step of the
// same name stays, unless it is from before the run's end, or has not found the cause.
func wanted(steps []omapi.Step, step *omapi.StepSummary, ends bool) bool {
	at := slices.IndexFunc(steps, func(s omapi.Step) bool { return s.Name == step.Name })
	if at < 0 || ends {
		return true
	}
	found := len(step.Failures) == 0 || step.Failures[0].Name != string(diagnostics.CategoryUnknown)
	return found && unknown(steps[at])
}

// unknown says that a diagnosis has not found the cause.
func unknown(step omapi.Step) bool {
	failure, ok := step.Failure()
	return ok && strings.HasPrefix(step.Name, diagnostics.StepName) && failure.Name == string(diagnostics.CategoryUnknown)
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
