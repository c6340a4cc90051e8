package k8sclient

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // The image of a server may have no time zones.

	"github.com/robfig/cron/v3"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// ErrSchedule is wrapped by every error about a schedule or its time zone.
var ErrSchedule = errors.New("invalid schedule")

// schedule is when a CronJob starts runs.
type schedule struct {
	expression string
	// zone is an IANA name; empty for the controller's own zone.
	zone string
}

// parseSchedule checks a pipeline's schedule as the CronJob controller will; nil for a pipeline on demand.
func parseSchedule(pipeline *omapi.IngestionPipeline) (*schedule, error) {
	given := strings.TrimSpace(pipeline.AirflowConfig.ScheduleInterval)
	if given == "" {
		return nil, nil //nolint:nilnil // No schedule is a schedule too.
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: pipeline %s: %s", ErrSchedule, pipeline.FQN(), fmt.Sprintf(format, args...))
	}
	if strings.Contains(given, "TZ=") {
		return nil, fail("airflowConfig.scheduleInterval %q has a time zone in it; Kubernetes takes it in airflowConfig.pipelineTimezone only", given)
	}
	expression := cronExpression(given)
	parsed, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, fail("airflowConfig.scheduleInterval %q is not a cron expression such as \"0 3 * * *\", nor @hourly, @daily, @weekly, @monthly or @yearly: %v", given, err)
	}
	zone := strings.TrimSpace(pipeline.AirflowConfig.PipelineTimezone)
	if strings.EqualFold(zone, "local") {
		return nil, fail("airflowConfig.pipelineTimezone %q depends on the machine; give a name such as Europe/Berlin", zone)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fail("airflowConfig.pipelineTimezone %q is not a time zone such as Europe/Berlin or UTC", zone)
	}
	if parsed.Next(time.Now().In(location)).IsZero() {
		return nil, fail("airflowConfig.scheduleInterval %q names a day that never comes", given)
	}
	return &schedule{expression: expression, zone: zone}, nil
}

// PipelineWarnings are about what a pipeline's airflowConfig asks for and Kubernetes has nothing for. Values that OpenMetadata
// itself puts there are none of them.
func PipelineWarnings(pipeline *omapi.IngestionPipeline) []string {
	var out []string
	warn := func(field, format string, args ...any) {
		out = append(out, fmt.Sprintf("pipeline %s: airflowConfig.%s is ignored: ", pipeline.FQN(), field)+fmt.Sprintf(format, args...))
	}
	airflow := &pipeline.AirflowConfig
	if start, err := time.Parse(time.RFC3339, fmt.Sprint(airflow.StartDate)); err == nil && start.After(time.Now()) {
		warn("startDate", "the schedule is in force at once; disable the pipeline until %s", start.Format(time.RFC3339))
	}
	if airflow.EndDate != nil {
		warn("endDate", "the schedule stays in force; disable or delete the pipeline after %v", airflow.EndDate)
	}
	// The defaults of old and new servers: neither is the user's wish.
	if n := airflow.Retries; n != nil && *n != 0 && *n != 3 {
		warn("retries", "the parameter backoffLimit says how often a run is tried again")
	}
	if airflow.PipelineCatchup {
		warn("pipelineCatchup", "ticks that were missed are not made up for")
	}
	if n := airflow.MaxActiveRuns; n != nil && *n > 1 {
		warn("maxActiveRuns", "scheduled runs of a pipeline never overlap")
	}
	if t := airflow.WorkflowTimeout; t != nil && *t <= 0 {
		warn("workflowTimeout", "%d s is no time; the parameter activeDeadlineSeconds bounds the run", *t)
	}
	return out
}

// deadline is the longest that a run of the pipeline may take, in seconds.
func deadline(config *Config, pipeline *omapi.IngestionPipeline) *int64 {
	if t := pipeline.AirflowConfig.WorkflowTimeout; t != nil && *t > 0 {
		return t
	}
	return &config.ActiveDeadlineSeconds
}

// cronExpression writes out the descriptors that OpenMetadata knows, as its own client does.
func cronExpression(given string) string {
	switch strings.ToLower(given) {
	case "@hourly":
		return "0 * * * *"
	case "@daily", "@midnight":
		return "0 0 * * *"
	case "@weekly":
		return "0 0 * * 0"
	case "@monthly":
		return "0 0 1 * *"
	case "@yearly", "@annually":
		return "0 0 1 1 *"
	default:
		return given
	}
}
