package k8sclient

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

func TestParseSchedule(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason      string
		given, zone string
		want        *schedule
		err         string
	}{
		"None":       {reason: "a pipeline may run on demand only", given: "  "},
		"Expression": {reason: "five fields are cron, in UTC as the schema's default has it", given: " 0  3 *\t* 1-5 ", want: &schedule{expression: "0 3 * * 1-5", zone: "UTC"}},
		"Descriptor": {reason: "OpenMetadata's descriptors come in any case", given: "@Daily", zone: "Europe/Berlin", want: &schedule{expression: "0 0 * * *", zone: "Europe/Berlin"}},
		"Midnight":   {reason: "another name for daily", given: "@midnight", want: &schedule{expression: "0 0 * * *", zone: "UTC"}},
		"Sunday":     {reason: "Sunday is 7 too", given: "0 0 * * 7", want: &schedule{expression: "0 0 * * 0", zone: "UTC"}},
		"Weekend":    {reason: "so it is at the end of a range", given: "0 0 * * 5-7", want: &schedule{expression: "0 0 * * 5,6,0", zone: "UTC"}},
		"Steps":      {reason: "and in one with steps", given: "0 0 * * 1-7/2", want: &schedule{expression: "0 0 * * 1,3,5,0", zone: "UTC"}},
		"List":       {reason: "and in a list, once", given: "0 0 * * 0,3,7", want: &schedule{expression: "0 0 * * 0,3", zone: "UTC"}},
		"Week":       {reason: "a week has seven days", given: "0 0 * * 0-7", want: &schedule{expression: "0 0 * * 0,1,2,3,4,5,6", zone: "UTC"}},
		"Names":      {reason: "names are ranges too, also over the end of the week", given: "0 0 * jan-MAR fri-Sun", want: &schedule{expression: "0 0 * jan-MAR 5,6,0", zone: "UTC"}},
		"Night":      {reason: "and over midnight", given: "0 22-2 * * *", want: &schedule{expression: "0 22,23,0,1,2 * * *", zone: "UTC"}},
		"LongStep":   {reason: "one beyond the range leaves its first value, and does not overflow", given: "0 22-2/9223372036854775807 * * *", want: &schedule{expression: "0 22 * * *", zone: "UTC"}},
		"Winter":     {reason: "and over the new year", given: "0 0 1 11-2 *", want: &schedule{expression: "0 0 1 11,12,1,2 *", zone: "UTC"}},
		"Zeros":      {reason: "digits may lead with zeros", given: "00 03 * * 07", want: &schedule{expression: "00 03 * * 0", zone: "UTC"}},
		"Every":      {reason: "what Kubernetes knows more goes through", given: "@every 2h", want: &schedule{expression: "@every 2h", zone: "UTC"}},
		"Eight":      {reason: "a week has no eighth day", given: "0 0 * * 8", err: "is not a cron expression"},
		"LastDay":    {reason: "Airflow knows the last day of a month", given: "0 0 L * *", err: "which Kubernetes does not know"},
		"NthDay":     {reason: "and the second Monday", given: "0 0 * * mon#2", err: "which Kubernetes does not know"},
		"LastFriday": {reason: "and the last Friday", given: "0 0 * * 5L", err: "which Kubernetes does not know"},
		"Hash":       {reason: "and hashes", given: "H 0 * * *", err: "which Kubernetes does not know"},
		"Fields":     {reason: "six fields are Quartz", given: "0 0 3 * * *", err: "has 6 fields; Kubernetes knows no seconds"},
		"Few":        {reason: "four are nothing", given: "0 3 * *", err: "is not a cron expression"},
		"Reboot":     {reason: "a cluster has no start", given: "@reboot", err: "is not a cron expression"},
		"Word":       {reason: "a word is no schedule", given: "daily", err: "is not a cron expression"},
		"Range":      {reason: "an hour has an end", given: "0 25 * * *", err: "is not a cron expression"},
		"Step":       {reason: "a step is a number over 0", given: "*/0 * * * *", err: "is not a cron expression"},
		"Never":      {reason: "February has no 30th", given: "0 0 30 2 *", err: "names a day that never comes"},
		"Zone":       {reason: "a zone is misspelt easily", given: "@daily", zone: "Europe/Berlim", err: "is not a time zone"},
		"Local":      {reason: "Local is another zone on each machine", given: "@daily", zone: "Local", err: "depends on the machine"},
		"ZoneInside": {reason: "Kubernetes refuses it there", given: "TZ=UTC 0 0 * * *", err: "pipelineTimezone only"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseSchedule(&omapi.IngestionPipeline{
				Name: "p", FullyQualifiedName: "s.p", AirflowConfig: omapi.AirflowConfig{ScheduleInterval: tc.given, PipelineTimezone: tc.zone},
			})
			if tc.err != "" {
				require.ErrorIs(t, err, ErrSchedule, tc.reason)
				require.ErrorContains(t, err, "pipeline s.p")
				require.ErrorContains(t, err, tc.err, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			if got != nil {
				_, err := cron.ParseStandard(got.expression)
				require.NoError(t, err, "the CronJob controller reads it")
				got.parsed = nil
			}
			assert.Equal(t, tc.want, got, tc.reason)
		})
	}
}

func TestAirflowConfigThatIsHonoured(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		airflow  omapi.AirflowConfig
		suspend  bool
		deadline int64
	}{
		"Nothing": {reason: "the parameters say", deadline: 7200},
		"Paused":  {reason: "a paused pipeline keeps its schedule, and does not run", airflow: omapi.AirflowConfig{PausePipeline: new(true)}, suspend: true, deadline: 7200},
		"Timeout": {reason: "the pipeline knows better how long it may take", airflow: omapi.AirflowConfig{WorkflowTimeout: new(int64(60))}, deadline: 60},
		"NoTime":  {reason: "no run ends in no time", airflow: omapi.AirflowConfig{WorkflowTimeout: new(int64(0))}, deadline: 7200},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			pipeline := newPipeline(func(p *omapi.IngestionPipeline) {
				p.AirflowConfig = tc.airflow
				p.AirflowConfig.ScheduleInterval = "@daily"
			})
			objects, err := NewObjects(&config, pipeline, mysql())
			require.NoError(t, err)
			assert.Equal(t, tc.suspend, *objects.CronJob.Spec.Suspend, tc.reason)
			assert.Equal(t, tc.deadline, *objects.CronJob.Spec.JobTemplate.Spec.ActiveDeadlineSeconds, tc.reason)
			assert.Equal(t, tc.deadline, *NewJob(&config, pipeline, testRunID, testTimestamp).Spec.ActiveDeadlineSeconds, tc.reason)
		})
	}
}

// TestPausedAndResumed: what a pipeline says of its schedule holds, whatever was in force; where it says nothing that stays.
func TestPausedAndResumed(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline())
	steps := []struct {
		reason         string
		enabled, pause *bool
		suspended      bool
	}{
		{reason: "it is paused, though its schedule was in force", pause: new(true), suspended: true},
		{reason: "nothing is said", suspended: true},
		{reason: "it is paused no more", pause: new(false)},
		{reason: "nothing is said"},
		{reason: "it is disabled", enabled: new(false), pause: new(false), suspended: true},
		{reason: "it is enabled, and so not paused", enabled: new(true)},
	}
	for _, step := range steps {
		_, err := deploy(t, client, newPipeline(func(p *omapi.IngestionPipeline) { p.Enabled, p.AirflowConfig.PausePipeline = step.enabled, step.pause }))
		require.NoError(t, err)
		cronJob, ok := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
		require.True(t, ok)
		assert.Equal(t, step.suspended, *cronJob.Spec.Suspend, step.reason)
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	date := func(year int, month time.Month, day, hour int) time.Time {
		return time.Date(year, month, day, hour, 0, 0, 0, time.UTC)
	}
	cases := map[string]struct {
		reason string
		value  any
		want   time.Time
		bad    bool
	}{
		"None":         {reason: "most have none"},
		"Empty":        {reason: "an empty one is as if it were not set", value: ""},
		"Milliseconds": {reason: "as OpenMetadata sends it", value: float64(4102444800000), want: date(2100, 1, 1, 0)},
		"Exact":        {reason: "as it is read from JSON", value: json.Number("4102444800000"), want: date(2100, 1, 1, 0)},
		"Exponent":     {reason: "as Go writes it", value: "4.1024448e+12", want: date(2100, 1, 1, 0)},
		"Text":         {reason: "as YAML may quote it", value: "4102444800000", want: date(2100, 1, 1, 0)},
		"Epoch":        {reason: "the beginning of time is a time", value: float64(0), want: date(1970, 1, 1, 0)},
		"Date":         {reason: "a date is at midnight UTC, as in OpenMetadata", value: "2099-01-01", want: date(2099, 1, 1, 0)},
		"RFC3339":      {reason: "as the schema has it", value: "2099-01-01T12:00:00+02:00", want: date(2099, 1, 1, 10)},
		"Fraction":     {reason: "with milliseconds", value: "2099-01-01T12:00:00.000Z", want: date(2099, 1, 1, 12)},
		"Java":         {reason: "an offset without a colon", value: "2099-01-01T12:00:00.000+0000", want: date(2099, 1, 1, 12)},
		"Space":        {reason: "as YAML has timestamps", value: "2099-01-01 12:00:00", want: date(2099, 1, 1, 12)},
		"Word":         {reason: "a word is no date", value: "tomorrow", bad: true},
		"Day":          {reason: "February has no 30th", value: "2099-02-30", bad: true},
		"Huge":         {reason: "no calendar goes so far", value: json.Number("99999999999999999999"), bad: true},
		"Half":         {reason: "a millisecond is not divided", value: 0.5, bad: true},
		"Bool":         {reason: "another type", value: true, bad: true},
		"List":         {reason: "another type", value: []any{2099.0, 1.0, 1.0}, bad: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseDate("startDate", tc.value)
			if tc.bad {
				require.ErrorContains(t, err, "airflowConfig.startDate", tc.reason)
				_, err = parseSchedule(newPipeline(func(p *omapi.IngestionPipeline) { p.AirflowConfig.EndDate = tc.value }))
				require.ErrorIs(t, err, ErrSchedule, "before anything is changed")
				return
			}
			require.NoError(t, err, tc.reason)
			assert.True(t, tc.want.Equal(got), "%s: %s", tc.reason, got)
		})
	}
}

// TestStartDateHolds: a schedule waits for its start in the cluster itself, whatever was before.
func TestStartDateHolds(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, nil)
	at := func(from, to any) *omapi.IngestionPipeline {
		return newPipeline(func(p *omapi.IngestionPipeline) {
			p.AirflowConfig.StartDate, p.AirflowConfig.EndDate, p.AirflowConfig.ScheduleInterval = from, to, "@daily"
		})
	}
	now := func() *batchv1.CronJob {
		cronJob, ok := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
		require.True(t, ok)
		return cronJob
	}
	start := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	result, err := deploy(t, client, at("2099-01-01", nil))
	require.NoError(t, err)
	assert.False(t, result.Disabled)
	assert.False(t, suspended(now()), "nobody has to release it")
	require.NotNil(t, now().Status.LastScheduleTime)
	assert.True(t, now().Status.LastScheduleTime.Time.Equal(start.Add(-time.Second)), "the controller looks for ticks after it: %s", now().Status.LastScheduleTime)
	version := now().ResourceVersion
	_, err = deploy(t, client, at("2099-01-01", nil))
	require.NoError(t, err)
	assert.Equal(t, version, now().ResourceVersion, "it is held already")

	toggled, err := client.SetEnabled(t.Context(), testFQN, false)
	require.NoError(t, err)
	assert.True(t, toggled.Changed)
	assert.True(t, suspended(now()))
	_, err = client.SetEnabled(t.Context(), testFQN, true)
	require.NoError(t, err)
	assert.False(t, suspended(now()))
	assert.True(t, isHeld(now(), window{from: start}), "to enable it does not start it earlier")

	_, err = deploy(t, client, at(nil, nil))
	require.NoError(t, err)
	assert.False(t, suspended(now()))
	assert.Less(t, time.Until(now().Status.LastScheduleTime.Time), time.Second, "it waits no more")

	ended, err := deploy(t, client, at(nil, float64(1_000_000_000_000)))
	require.NoError(t, err)
	assert.True(t, suspended(now()), "an end in the past is one")
	assert.NotEmpty(t, ended.Schedule)
	_, err = client.SetEnabled(t.Context(), testFQN, true)
	require.ErrorIs(t, err, ErrSchedule, "it has ended: %v", err)
	_, err = deploy(t, client, at(nil, nil))
	require.NoError(t, err)
	assert.False(t, suspended(now()), "without an end it goes on")
}

// TestStartDateWithoutPermission: who may not write the status holds the schedule all the same, and is told what to do.
func TestStartDateWithoutPermission(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, nil)
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if strings.HasSuffix(req.URL.Path, "/status") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "cronjobs"}, "x", errors.New(`User "x" cannot patch resource "cronjobs/status"`))
		}
		return nil
	})
	result, err := deploy(t, client, newPipeline(func(p *omapi.IngestionPipeline) {
		p.AirflowConfig.StartDate, p.AirflowConfig.ScheduleInterval = "2099-01-01", "@daily"
	}))
	require.NoError(t, err)
	require.Len(t, result.Warnings, 1)
	assert.Contains(t, result.Warnings[0], "pipelinectl enable "+testFQN)
	cronJob, ok := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
	require.True(t, ok)
	assert.True(t, suspended(cronJob))
}

func TestPipelineWarnings(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		from, to any
		want     []string
	}{
		"None":   {reason: "there is nothing to say"},
		"Past":   {reason: "it has started", from: "2001-01-01"},
		"Future": {reason: "it waits", from: "2099-01-01", want: []string{"held until 2099-01-01T00:00:00Z (airflowConfig.startDate)"}},
		"Ended":  {reason: "it is over", to: float64(1_000_000_000_000), want: []string{"has ended at 2001-09-09T01:46:40Z"}},
		"Case15": {reason: "as the issue has it", from: "2099-01-01", to: float64(4102444800000), want: []string{"held until 2099-01-01T00:00:00Z", "ends at 2100-01-01T00:00:00Z"}},
		"Never":  {reason: "it would never run", from: "2099-01-01", to: "2098-01-01", want: []string{"never in force", "ends at 2098-01-01T00:00:00Z"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := PipelineWarnings(newPipeline(func(p *omapi.IngestionPipeline) {
				p.AirflowConfig = omapi.AirflowConfig{ScheduleInterval: "0 0 * * 7", StartDate: tc.from, EndDate: tc.to}
			}))
			require.Len(t, got, len(tc.want), "%s: %v", tc.reason, got)
			for i, want := range tc.want {
				assert.Contains(t, got[i], want, tc.reason)
			}
		})
	}
}
