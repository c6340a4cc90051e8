package k8sclient

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // The image of a server may have no time zones.

	"github.com/robfig/cron/v3"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// ErrSchedule is wrapped by every error about a schedule or its time zone.
var ErrSchedule = errors.New("invalid schedule")

// defaultZone is the default of OpenMetadata's schema.
const defaultZone = "UTC"

// schedule is when a CronJob starts runs.
type schedule struct {
	window

	expression string
	// zone is an IANA name.
	zone   string
	parsed cron.Schedule
}

// window is when a schedule is in force, from startDate to endDate; a zero time is no bound.
type window struct{ from, to time.Time }

// future says that the schedule is not in force yet, ended that it is no more.
func (w window) future(now time.Time) bool { return w.from.After(now) }
func (w window) ended(now time.Time) bool  { return !w.to.IsZero() && !w.to.After(now) }

// next is when the schedule fires next; zero for never.
func (s *schedule) next(now time.Time) time.Time {
	if s.future(now) {
		now = s.from.Add(-time.Second)
	}
	location, err := time.LoadLocation(s.zone)
	if err != nil {
		return time.Time{}
	}
	next := s.parsed.Next(now.In(location))
	if s.ended(next) {
		return time.Time{}
	}
	return next
}

// parseSchedule checks a pipeline's schedule as the CronJob controller will; nil for a pipeline on demand.
func parseSchedule(pipeline *omapi.IngestionPipeline) (*schedule, error) {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: pipeline %s: %s", ErrSchedule, pipeline.FQN(), fmt.Sprintf(format, args...))
	}
	out := &schedule{}
	var err error
	if out.window, err = parseWindow(&pipeline.AirflowConfig); err != nil {
		return nil, fail("%v", err)
	}
	given := strings.TrimSpace(pipeline.AirflowConfig.ScheduleInterval)
	if given == "" {
		return nil, nil //nolint:nilnil // No schedule is a schedule too.
	}
	if strings.Contains(given, "TZ=") {
		return nil, fail("airflowConfig.scheduleInterval %q has a time zone in it; Kubernetes takes it in airflowConfig.pipelineTimezone only", given)
	}
	if out.expression, err = normalizeCron(cronExpression(given)); err != nil {
		return nil, fail("airflowConfig.scheduleInterval %q %v", given, err)
	}
	if out.parsed, err = parseCron(out.expression); err != nil {
		return nil, fail("airflowConfig.scheduleInterval %q is not a cron expression such as \"0 3 * * *\", nor @hourly, @daily, @weekly, @monthly or @yearly: %v", given, err)
	}
	out.zone = cmp.Or(strings.TrimSpace(pipeline.AirflowConfig.PipelineTimezone), defaultZone)
	if strings.EqualFold(out.zone, "local") {
		return nil, fail("airflowConfig.pipelineTimezone %q depends on the machine; give a name such as Europe/Berlin", out.zone)
	}
	location, err := time.LoadLocation(out.zone)
	if err != nil {
		return nil, fail("airflowConfig.pipelineTimezone %q is not a time zone such as Europe/Berlin or UTC", out.zone)
	}
	if out.parsed.Next(time.Now().In(location)).IsZero() {
		return nil, fail("airflowConfig.scheduleInterval %q names a day that never comes", given)
	}
	return out, nil
}

// parseCron makes an error of the parser's panics, as the API server does.
func parseCron(expression string) (parsed cron.Schedule, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%v", problem)
		}
	}()
	return cron.ParseStandard(expression)
}

func parseWindow(airflow *omapi.AirflowConfig) (window, error) {
	from, err := parseDate("startDate", airflow.StartDate)
	if err != nil {
		return window{}, err
	}
	to, err := parseDate("endDate", airflow.EndDate)
	return window{from: from, to: to}, err
}

// parseDate takes a date in the forms that servers and people write: milliseconds, as OpenMetadata sends them, RFC 3339, and a
// date alone, which is in UTC as in OpenMetadata.
func parseDate(field string, value any) (time.Time, error) {
	text := strings.TrimSpace(scalar(value))
	switch value.(type) {
	case nil:
		return time.Time{}, nil
	case string, float64, int, int64, json.Number:
	default:
		text = ""
	}
	if _, is := value.(string); is && text == "" {
		return time.Time{}, nil // As if it were not set.
	}
	if number, ok := new(big.Float).SetString(text); ok && number.IsInt() {
		milliseconds, accuracy := number.Int64()
		if accuracy == big.Exact && milliseconds > -maxMilliseconds && milliseconds < maxMilliseconds {
			return time.UnixMilli(milliseconds).UTC(), nil
		}
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04Z07:00",
		"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly,
	} {
		if parsed, err := time.Parse(layout, text); err == nil {
			return parsed.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("airflowConfig.%s %s is not a date such as 2030-01-31, 2030-01-31T12:00:00Z, or a number of milliseconds since 1970", field, strconv.Quote(scalar(value)))
}

// maxMilliseconds is the year 9999.
const maxMilliseconds = 253402300799999

// dateText is how a date is told.
func dateText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// PipelineWarnings are about what a pipeline's airflowConfig asks for and Kubernetes has nothing for. Values that OpenMetadata
// itself puts there are none of them.
func PipelineWarnings(pipeline *omapi.IngestionPipeline) []string {
	var out []string
	warn := func(field, format string, args ...any) {
		out = append(out, fmt.Sprintf("pipeline %s: airflowConfig.%s is ignored: ", pipeline.FQN(), field)+fmt.Sprintf(format, args...))
	}
	airflow := &pipeline.AirflowConfig
	out = append(out, windowWarnings(pipeline)...)
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

// windowWarnings are about a schedule that is not in force now, or that Kubernetes will not end.
func windowWarnings(pipeline *omapi.IngestionPipeline) []string {
	when, err := parseSchedule(pipeline)
	if when == nil || err != nil {
		return nil // An error is told when the objects are made.
	}
	var out []string
	say := func(format string, args ...any) {
		out = append(out, "pipeline "+pipeline.FQN()+": "+fmt.Sprintf(format, args...))
	}
	now := time.Now()
	switch {
	case when.ended(now):
		say("its schedule has ended at %s (airflowConfig.endDate); it runs on demand only", dateText(when.to))
	case !when.to.IsZero() && !when.from.IsZero() && !when.from.Before(when.to):
		say("its schedule is never in force: airflowConfig.startDate %s is not before endDate %s", dateText(when.from), dateText(when.to))
	case when.future(now):
		say("its schedule is held until %s (airflowConfig.startDate)", dateText(when.from))
	}
	if when.to.After(now) {
		say("its schedule ends at %s (airflowConfig.endDate), which a CronJob cannot know: deploy the pipeline again then, or disable it", dateText(when.to))
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
