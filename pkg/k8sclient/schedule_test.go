package k8sclient

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"

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
		"Expression": {reason: "five fields are cron", given: " 0 3 * * 1-5 ", want: &schedule{expression: "0 3 * * 1-5"}},
		"Descriptor": {reason: "OpenMetadata's descriptors come in any case", given: "@Daily", zone: "Europe/Berlin", want: &schedule{"0 0 * * *", "Europe/Berlin"}},
		"Midnight":   {reason: "another name for daily", given: "@midnight", want: &schedule{expression: "0 0 * * *"}},
		"Fields":     {reason: "six fields are Quartz", given: "0 0 3 * * *", err: "is not a cron expression"},
		"Word":       {reason: "a word is no schedule", given: "daily", err: "is not a cron expression"},
		"Range":      {reason: "an hour has an end", given: "0 25 * * *", err: "is not a cron expression"},
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
