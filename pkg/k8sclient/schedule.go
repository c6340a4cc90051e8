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
