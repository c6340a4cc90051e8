package workflow_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/yamlcorpus"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// TestPythonReadsTheSame: value by value and type by type, whichever way the texts are laid out. The image's own Python is asked
// by the tests of the images.
func TestPythonReadsTheSame(t *testing.T) {
	t.Parallel()
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import yaml").Run(); err != nil {
		t.Skipf("python3 with PyYAML is not here: %v", err)
	}
	var texts []string
	var want []any
	for _, config := range yamlcorpus.Configurations(1, 400) {
		for _, write := range []func() (string, error){workflow.Config(config).YAML, workflow.Config(config).Compact} {
			text, err := write()
			require.NoError(t, err)
			texts, want = append(texts, text), append(want, yamlcorpus.Typed(config))
			again, err := workflow.Parse(text)
			require.NoError(t, err)
			assert.Equal(t, yamlcorpus.Typed(config), yamlcorpus.Typed(map[string]any(again)), "read by Go")
		}
	}
	input, err := json.Marshal(texts)
	require.NoError(t, err)
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), "python3", "-c", yamlcorpus.Script)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &stdout, &stderr
	require.NoError(t, command.Run(), stderr.String())
	var got []any
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	require.Len(t, got, len(want))
	for i := range got {
		assert.Equal(t, want[i], got[i], texts[i])
	}
}
