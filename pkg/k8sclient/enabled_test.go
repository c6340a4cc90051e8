package k8sclient

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// shown is the entity as OpenMetadata shows it.
func (w *world) shown(t *testing.T) *omapi.IngestionPipeline {
	t.Helper()
	pipeline, err := w.om.Client(t).GetPipeline(t.Context(), testFQN)
	require.NoError(t, err)
	return pipeline
}

func (w *world) suspended(t *testing.T) bool {
	t.Helper()
	cronJob, ok := w.kube.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
	require.True(t, ok)
	return suspended(cronJob)
}

// TestEnabledInTwoPlaces: what disable and enable say holds in both places, and no deploy undoes it without a word.
func TestEnabledInTwoPlaces(t *testing.T) {
	t.Parallel()
	disable := func(t *testing.T, w *world) {
		t.Helper()
		result, err := w.client.SetEnabled(t.Context(), testFQN, false)
		require.NoError(t, err)
		assert.Equal(t, result.InOpenMetadata, len(result.Warnings) == 0)
	}
	refuse := func(t *testing.T, w *world) {
		t.Helper()
		w.client.om = w.om.ClientWith(t, w.om.TokenOf(t, admin.TokenNoRight))
	}
	allow := func(t *testing.T, w *world) { t.Helper(); w.client.om = w.om.Client(t) }
	inOpenMetadata := func(value bool) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			require.NoError(t, w.om.Client(t).SetPipelineFields(t.Context(), testFQN, map[string]bool{"enabled": value}))
		}
	}
	// An export has the field always, as the server gives it.
	deployFrom := func(isCopy bool, says ...bool) func(*testing.T, *world) []string {
		return func(t *testing.T, w *world) []string {
			t.Helper()
			value := w.shown(t).Enabled
			if len(says) > 0 {
				value = &says[0]
			}
			pipeline := newPipeline(edited(5), func(p *omapi.IngestionPipeline) { p.Enabled, p.AirflowConfig.PausePipeline = value, new(false) })
			result, err := w.client.Deploy(t.Context(), pipeline, DeployOptions{Service: mysql(), Copy: isCopy})
			require.NoError(t, err)
			return result.Warnings
		}
	}
	rollback := func(t *testing.T, w *world) []string {
		t.Helper()
		deployFrom(true)(t, w)
		result, err := w.client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
		require.NoError(t, err)
		return result.Warnings
	}
	cases := map[string]struct {
		reason    string
		steps     []func(*testing.T, *world)
		last      func(*testing.T, *world) []string
		suspended bool
		// shown is the entity's enabled after the last step.
		shown bool
		warns string
	}{
		"Server":       {reason: "OpenMetadata was told, and says so", steps: []func(*testing.T, *world){disable}, last: deployFrom(false), suspended: true},
		"Copy":         {reason: "a file is older than the decision", steps: []func(*testing.T, *world){disable}, last: deployFrom(true, true), suspended: true, warns: "it is still disabled"},
		"Rollback":     {reason: "another configuration is not another decision", steps: []func(*testing.T, *world){disable}, last: rollback, suspended: true},
		"Untold":       {reason: "OpenMetadata could not be told: case 08", steps: []func(*testing.T, *world){refuse, disable}, last: deployFrom(false), suspended: true, shown: true, warns: "it is still disabled"},
		"ToldLater":    {reason: "a deploy tells what could not be told", steps: []func(*testing.T, *world){refuse, disable, allow}, last: deployFrom(false), suspended: true, warns: "it is still disabled"},
		"EnabledThere": {reason: "what OpenMetadata says later is newer", steps: []func(*testing.T, *world){disable, inOpenMetadata(true)}, last: deployFrom(false), shown: true, warns: "its schedule was disabled, and is enabled now, as OpenMetadata says"},
		"DisabledThen": {reason: "so it is the other way round", steps: []func(*testing.T, *world){inOpenMetadata(false)}, last: deployFrom(false), suspended: true, warns: "is disabled now, as OpenMetadata says"},
		"File":         {reason: "a file that nobody has decided against", steps: nil, last: deployFrom(true, false), suspended: true, shown: true, warns: "is disabled now, as its file says"},
		"Nothing":      {reason: "nothing has changed", last: deployFrom(false), shown: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(p *omapi.IngestionPipeline) { p.AirflowConfig.ScheduleInterval = "@daily" })
			for _, step := range tc.steps {
				step(t, w)
			}
			warnings := strings.Join(tc.last(t, w), "\n")
			assert.Equal(t, tc.suspended, w.suspended(t), tc.reason)
			assert.Equal(t, tc.shown, *w.shown(t).Enabled, tc.reason)
			if tc.warns == "" {
				assert.Empty(t, warnings, tc.reason)
			}
			assert.Contains(t, warnings, tc.warns, tc.reason)
			_, err := w.client.SetEnabled(t.Context(), testFQN, true)
			require.NoError(t, err)
			assert.False(t, w.suspended(t), "to enable it is always possible")
		})
	}
}

// TestDeployedIsShown: OpenMetadata shows that a pipeline is deployed; a token that may not say so is no failure of the deploy.
func TestDeployedIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	assert.True(t, *w.shown(t).Deployed)
	patches := func() int {
		requests, err := w.om.Requests(admin.RequestFilter{Method: http.MethodPatch})
		require.NoError(t, err)
		return len(requests)
	}
	before := patches()
	_, err := w.client.Deploy(t.Context(), w.withConnection(t), DeployOptions{Service: mysql()})
	require.NoError(t, err)
	assert.Equal(t, before, patches(), "it is shown already: each change fires alerts")

	require.NoError(t, w.om.Client(t).SetPipelineFields(t.Context(), testFQN, map[string]bool{"deployed": false}))
	w.client.om = w.om.ClientWith(t, w.om.TokenOf(t, admin.TokenNoRight))
	result, err := w.client.Deploy(t.Context(), w.withConnection(t), DeployOptions{Service: mysql()})
	require.NoError(t, err)
	require.Len(t, result.Warnings, 1)
	assert.Contains(t, result.Warnings[0], "OpenMetadata does not show that pipeline "+testFQN+" is deployed")
}

// withConnection is the entity as OpenMetadata has it, with a connection as it is never told.
func (w *world) withConnection(t *testing.T) *omapi.IngestionPipeline {
	t.Helper()
	pipeline := w.shown(t)
	pipeline.OpenMetadataServerConnection = newPipeline().OpenMetadataServerConnection
	return pipeline
}
