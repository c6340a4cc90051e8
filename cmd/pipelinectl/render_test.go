package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/golden"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// TestRenderEveryType renders the example of each pipeline type; test/images lets the ingestion package read what is
// made for it.
func TestRenderEveryType(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/types/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, len(workflow.Types()), "every type has an example")
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute("render", "-f", file, "--openmetadata-url", "http://openmetadata:8585/api")
			require.Equal(t, 0, got.code, got.errOut)
			assert.Equal(t, 2, strings.Count(got.errOut, "warning: "), "%s: of the moving image, and of the Secrets without values", got.errOut)
			assert.NotContains(t, got.out, "change-me", "no secret without --show-secrets")
			golden.Assert(t, filepath.Join("render", name), got.out)
			input, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, strings.Count(string(input), "scheduleInterval:"), strings.Count(got.out, "kind: CronJob"), "a schedule is a CronJob")
		})
	}
}
