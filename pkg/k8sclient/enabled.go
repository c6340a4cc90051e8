package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// Whether a schedule is in force is said in one place: the field enabled of OpenMetadata's entity. What disable and enable say
// is written there and on the CronJob; it holds against a deploy when OpenMetadata could not be told, and when what is deployed is a
// copy of the entity, such as a file. When OpenMetadata says something else later, that is newer and holds.

// tellTimeout bounds what OpenMetadata is told beside the work itself.
const tellTimeout = 10 * time.Second

// toldYes is the value of the annotation that OpenMetadata has been told.
const toldYes = "true"

// enabled is what a pipeline says of its schedule.
func enabled(pipeline *omapi.IngestionPipeline) bool {
	paused := pipeline.AirflowConfig.PausePipeline
	return (pipeline.Enabled == nil || *pipeline.Enabled) && (paused == nil || !*paused)
}

// decision is what enable or disable said last.
type decision struct {
	made, enabled, told bool
}

func decisionOf(cronJob *batchv1.CronJob) decision {
	value, err := strconv.ParseBool(cronJob.Annotations[identity.AnnotationEnabled])
	return decision{made: err == nil, enabled: value, told: cronJob.Annotations[identity.AnnotationEnabledTold] == toldYes}
}

// inForce says whether a schedule is in force, now or from its start on.
func inForce(cronJob *batchv1.CronJob) bool {
	if d := decisionOf(cronJob); d.made {
		return d.enabled && !windowOf(cronJob).ended(time.Now())
	}
	return !suspended(cronJob) || windowOf(cronJob).future(time.Now())
}

// decide says whether the deployed schedule shall be in force, and what the user should know of it.
func (d *deployment) decide(was *batchv1.CronJob) {
	says := enabled(d.pipeline)
	if was == nil {
		d.active = says
		return
	}
	d.decision = decisionOf(was)
	before, ended := inForce(was), windowOf(was).ended(time.Now())
	switch holds := d.decision.made && (!d.decision.told || d.isCopy || d.keepSuspend); {
	case holds:
		d.active = d.decision.enabled
	case d.keepSuspend:
		d.active = before || ended
	default:
		d.active = says
		d.overruled = d.decision.made && says != d.decision.enabled
	}
	if !d.keepSuspend {
		d.noteSchedule(says, before, ended)
	}
}

// noteSchedule tells the user when the schedule is in force otherwise than the deployed pipeline says, or than before.
func (d *deployment) noteSchedule(says, before, ended bool) {
	say := func(format string, args ...any) {
		d.scheduleNotes = append(d.scheduleNotes, "pipeline "+d.fqn+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case d.active != says && !d.active:
		say("it is still disabled, as it was disabled here; to enable it: pipelinectl enable %s", d.fqn)
	case d.active != says:
		say("it is still enabled, as it was enabled here; to disable it: pipelinectl disable %s", d.fqn)
	case d.active && !before && !ended:
		say("its schedule was disabled, and is enabled now, as %s", d.source())
	case !d.active && before:
		say("its schedule was enabled, and is disabled now, as %s", d.source())
	}
}

// source is who says whether the pipeline is enabled.
func (d *deployment) source() string {
	if paused := d.pipeline.AirflowConfig.PausePipeline; paused != nil && *paused {
		return "its airflowConfig.pausePipeline says"
	}
	if d.isCopy {
		return "its file says"
	}
	return "OpenMetadata says"
}

// settleSchedule does what follows a deploy: the schedule waits for its start, and OpenMetadata is told. What fails is told, and no
// failure of the deploy.
func (d *deployment) settleSchedule(ctx context.Context) {
	if d.dryRun {
		return
	}
	cronJob := d.written()
	if cronJob != nil {
		if err := d.client.hold(ctx, cronJob, d.active); err != nil {
			d.warnings = append(d.warnings, fmt.Sprintf("pipeline %s: its schedule is suspended, as nobody could tell Kubernetes to wait for its start: %v; then enable it: pipelinectl enable %s", d.fqn, err, d.fqn))
		}
	}
	untold := d.decision.made && !d.decision.told
	told, err := d.client.tell(ctx, d.fqn, d.fieldsToTell(untold))
	if err != nil {
		d.warnings = append(d.warnings, fmt.Sprintf("OpenMetadata does not show that pipeline %s is deployed: %v", d.fqn, err))
	}
	if cronJob != nil && (d.overruled || untold && told) {
		d.annotateDecision(ctx, cronJob.Name)
	}
}

// fieldsToTell are the fields of the entity that OpenMetadata does not show as they are now.
func (d *deployment) fieldsToTell(untold bool) map[string]bool {
	fields := map[string]bool{}
	changed := d.result().Action() != ActionUnchanged
	if deployed := d.pipeline.Deployed; d.isCopy && changed || !d.isCopy && (deployed == nil || !*deployed) {
		fields["deployed"] = true
	}
	if untold {
		fields["enabled"] = d.decision.enabled
	}
	return fields
}

// annotateDecision marks on the CronJob that OpenMetadata has been told the decision, or forgets a decision that no longer holds.
func (d *deployment) annotateDecision(ctx context.Context, name string) {
	annotations := map[string]any{identity.AnnotationEnabledTold: toldYes}
	if d.overruled {
		annotations = map[string]any{identity.AnnotationEnabledTold: nil, identity.AnnotationEnabled: nil}
	}
	if err := d.client.patchCronJob(ctx, name, map[string]any{fieldMetadata: map[string]any{fieldAnnotations: annotations}}); err != nil {
		d.warnings = append(d.warnings, d.client.failed("annotate CronJob "+name, err).Error())
	}
}

// written is the CronJob as the deploy has left it; nil for a pipeline without one.
func (d *deployment) written() *batchv1.CronJob {
	for _, a := range slices.Backward(d.tried) {
		if cronJob, ok := a.after.(*batchv1.CronJob); ok && cronJob != nil {
			return cronJob
		}
	}
	return nil
}

// tell changes fields of the entity in OpenMetadata, and says whether that is done. A pipeline that OpenMetadata does not have is
// no error.
func (c *Client) tell(ctx context.Context, fqn string, fields map[string]bool) (bool, error) {
	if c.om == nil || len(fields) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	err := c.om.SetPipelineFields(ctx, fqn, maps.Clone(fields))
	if errors.Is(err, omapi.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
