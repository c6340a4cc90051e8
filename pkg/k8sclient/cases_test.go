package k8sclient

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/internal/yamlcorpus"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// TestTextsReachTheProcess: what people report of texts that are not what they were.
func TestTextsReachTheProcess(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		file   string
		path   []any
		want   string
		public bool
	}{
		"Tab":     {reason: "a filter whose lines begin with a tab", file: "01a-lineage-filter-tab.json", path: []any{"source", "sourceConfig", "config", "filterCondition"}, want: "\tquery_text NOT ILIKE '%tmp_%'\n\tAND user_name <> 'ETL'\n", public: true},
		"Newline": {reason: "a description that begins with an empty line", file: "01b-automator-leading-newline.json", path: []any{"appConfig", "actions", 0, "description"}, want: "\n**Owner:** data team\n", public: true},
		"Key":     {reason: "a key whose lines are indented, which is a secret", file: "01d-dbt-gcs-key-tab.yaml", path: []any{"source", "sourceConfig", "config", "dbtConfigSource", "dbtSecurityConfig", "gcpConfig", "privateKey"}, want: "\t-----BEGIN PRIVATE KEY-----\n\tAAAA\n\t-----END PRIVATE KEY-----\n"},
		"Equals":  {reason: "a text that is a tag of YAML 1.1", file: "01e-equals-sign.json", path: []any{"source", "sourceConfig", "config", "x"}, want: "=", public: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join("testdata/cases", tc.file))
			require.NoError(t, err)
			var pipeline omapi.IngestionPipeline
			require.NoError(t, yaml.Unmarshal(data, &pipeline))
			pipeline.OpenMetadataServerConnection = newPipeline().OpenMetadataServerConnection
			config := DefaultConfig()
			objects, err := NewObjects(&config, &pipeline, mysql())
			require.NoError(t, err)
			full, err := wholeOf(objects.ConfigMap, objects.Secret)
			require.NoError(t, err)
			var got any = map[string]any(full)
			for _, step := range tc.path {
				switch step := step.(type) {
				case string:
					got = got.(map[string]any)[step] //nolint:forcetypeassert // A test.
				case int:
					got = got.([]any)[step] //nolint:forcetypeassert // A test.
				}
			}
			assert.Equal(t, tc.want, got, tc.reason)
			assert.Equal(t, tc.public, !bytes.Contains(objects.Secret.Data[secretKey], []byte("privateKey")))
			back, err := pipelineOf(objects.ConfigMap)
			require.NoError(t, err)
			assert.Equal(t, pipeline.Name, back.Name)

			text := mergedText(t, objects)
			assert.Equal(t, yamlcorpus.Typed(map[string]any(full)), python(t, text), "read by Python")
		})
	}
}

// python is what Python reads of a text, with its types.
func python(t *testing.T, text string) any {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import yaml").Run(); err != nil {
		t.Skipf("python3 with PyYAML is not here: %v", err)
	}
	input, err := json.Marshal([]string{text})
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), "python3", "-c", yamlcorpus.Script)
	command.Stdin = bytes.NewReader(input)
	out, err := command.Output()
	require.NoError(t, err)
	var got []any
	require.NoError(t, json.Unmarshal(out, &got))
	require.Len(t, got, 1)
	return got[0]
}
