package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/harness"
)

const realImage = "pipelinectl.local/ingestion:dev"

// TestRealIngestion runs OpenMetadata's own ingestion package: what the light image only looks like.
func TestRealIngestion(t *testing.T) {
	w := newWorld(t)
	var err error
	w.command, err = w.NewCommand(w.standIn, t.TempDir(), w.namespace, harness.Parameters{IngestionImage: realImage})
	require.NoError(t, err)
	cases := map[string]struct {
		reason  string
		service string
		options map[string]string
		states  []omapi.PipelineState
		tables  int
	}{
		"Succeeds": {
			reason: "its tables arrive, and its own result stands", service: "good",
			options: map[string]string{"rows": "5"}, tables: 5,
			states: []omapi.PipelineState{omapi.StateQueued, omapi.StateRunning, omapi.StateSuccess},
		},
		"PartlySucceeds": {
			reason: "one error in twenty is a partial success", service: "partly",
			options: map[string]string{"rows": "20", "errors": "1"}, tables: 19,
			states: []omapi.PipelineState{omapi.StateQueued, omapi.StateRunning, omapi.StatePartialSuccess},
		},
		"Fails": {
			reason: "its own failure stands", service: "bad",
			options: map[string]string{"rows": "2", "errors": "2"},
			states:  []omapi.PipelineState{omapi.StateQueued, omapi.StateRunning, omapi.StateFailed},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file, fqn := w.pipeline(t, tc.service, tc.options, "")
			started := w.start(t, file, fqn)
			run := w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal)
			assertWrites(t, run, tc.states...)
			assert.Len(t, run.Rows, 1, "one record per run")
			tables, err := w.standIn.Tables(t.Context(), tc.service)
			require.NoError(t, err)
			assert.Len(t, tables, tc.tables, tc.reason)
		})
	}
}
