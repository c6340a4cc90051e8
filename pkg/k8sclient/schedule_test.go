package k8sclient

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
