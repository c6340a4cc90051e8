package images

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/internal/yamlcorpus"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// TestWorkflowsParse lets the ingestion package read the configurations that are made for it: its models are closed, so
// one field too many ends a run before it has begun.
func TestWorkflowsParse(t *testing.T) {
	if os.Getenv("PIPELINECTL_E2E") == "" || os.Geteuid() != 0 {
		t.Skip("PIPELINECTL_E2E is not set, or not root: this test needs built images, run it by make test-integration")
	}
	texts := map[string]string{}
	files, err := filepath.Glob("../../examples/types/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		pipeline, service := readExample(t, file)
		pipeline.RaiseOnError, pipeline.EnableStreamableLogs = new(true), true
		pipeline.OpenMetadataServerConnection = map[string]any{
			"hostPort": "http://om:8585/api", "authProvider": "openmetadata", "securityConfig": map[string]any{"jwtToken": "token"},
		}
		config, err := workflow.Build(pipeline, service)
		require.NoError(t, err, file)
		config["pipelineRunId"] = "8a1f0c52-6f0f-4d0b-9d5e-2f4c8a6b7c11"
		texts[string(pipeline.PipelineType)], err = config.YAML()
		require.NoError(t, err, file)
	}
	assert.Len(t, texts, len(workflow.Types()), "every type that can be deployed is here")
	texts["automation"] = automation
	input, err := json.Marshal(texts)
	require.NoError(t, err)

	script, err := filepath.Abs("testdata/parse.py")
	require.NoError(t, err)
	container := newContainer(t, "ingestion")
	command := exec.CommandContext(t.Context(), "buildah", "run", "--isolation", "chroot", "--volume", script+":/parse.py:ro", container, "--", "python", "/parse.py")
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &stdout, &stderr
	require.NoError(t, command.Run(), stderr.String())
	var failed map[string]string
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &failed), stdout.String())
	assert.Empty(t, failed)
}

// TestPasswordsAreKnown holds the list of passwords against the ingestion package in the image: whoever gives it a newer one is told
// here that there are passwords which would stand in ConfigMaps.
func TestPasswordsAreKnown(t *testing.T) {
	if os.Getenv("PIPELINECTL_E2E") == "" || os.Geteuid() != 0 {
		t.Skip("PIPELINECTL_E2E is not set, or not root: this test needs built images, run it by make test-integration")
	}
	script, err := filepath.Abs("passwords.py")
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), "buildah", "run", "--isolation", "chroot", "--volume", script+":/passwords.py:ro", newContainer(t, "ingestion"), "--", "python", "/passwords.py")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), stderr.String())
	requirePasswordsKnown(t, stdout.Bytes())
}

// passwords is what passwords.py prints.
type passwords struct {
	Names  map[string][]string `json:"names"`
	Fields []struct {
		Model   string   `json:"model"`
		Name    string   `json:"name"`
		Parents []string `json:"parents"`
	} `json:"fields"`
}

func requirePasswordsKnown(t *testing.T, text []byte) {
	t.Helper()
	var marked passwords
	require.NoError(t, json.Unmarshal(text, &marked))
	require.Greater(t, len(marked.Fields), 100)
	for _, field := range marked.Fields {
		for _, parent := range append(field.Parents, "config") {
			if len(marked.Names[field.Name]) > 0 && parent == "config" {
				continue
			}
			config := workflow.Config{"a": map[string]any{parent: map[string]any{field.Name: "SENTINEL"}}}
			// What they mark cannot be released; so it is told apart from what is found by its name.
			_, overlay := workflow.Rules{Public: []string{field.Name}}.Split(config)
			assert.Len(t, overlay, 1, "%s.%s below %s is a password and not in pkg/workflow/passwords.txt: make generate", field.Model, field.Name, parent)
		}
	}
}

// TestPasswordsOfAPackage runs the generator on a package that is made for it, and holds the list against it.
func TestPasswordsOfAPackage(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	folder := filepath.Join(t.TempDir(), "metadata", "generated", "schema", "entity")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	for file, text := range map[string]string{
		"token.py": "class Token(RootModel[CustomSecretStr]):\n    root: CustomSecretStr\n",
		"a.py": `
from . import token
from .b import Inner
class Model(BaseModel):
    plain: Annotated[str | None, Field(description='password')] = None
    secretOne: Annotated[CustomSecretStr | None, Field(description='x')] = None
    second_one: Annotated[Optional[CustomSecretStr], Field(alias='second-one')]
    third: Annotated[token.Token | None, Field(title='x')] = None
    listed: Annotated[list[CustomSecretStr] | None, Field(title='x')] = None
    inner: Annotated[Inner, Field(title='x')]
`,
		"b.py": "class Inner(BaseModel):\n    fourth: CustomSecretStr\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600))
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(folder))))
	out, err := exec.CommandContext(t.Context(), python, "passwords.py", root).Output()
	require.NoError(t, err)
	var found passwords
	require.NoError(t, json.Unmarshal(out, &found))
	assert.ElementsMatch(t, []string{"secretOne", "second-one", "third", "listed", "fourth"}, slices.Collect(maps.Keys(found.Names)))
	for _, field := range found.Fields {
		if field.Name == "fourth" {
			assert.Equal(t, []string{"inner"}, field.Parents)
		}
	}
}

// TestPythonOfTheImageReadsTheSame: value by value and type by type.
func TestPythonOfTheImageReadsTheSame(t *testing.T) {
	if os.Getenv("PIPELINECTL_E2E") == "" || os.Geteuid() != 0 {
		t.Skip("PIPELINECTL_E2E is not set, or not root: this test needs built images, run it by make test-integration")
	}
	configurations := yamlcorpus.Configurations(3, 200)
	texts, want := make([]string, len(configurations)), make([]any, len(configurations))
	for i, config := range configurations {
		text, err := workflow.Config(config).Compact()
		require.NoError(t, err)
		texts[i], want[i] = text, yamlcorpus.Typed(config)
	}
	input, err := json.Marshal(texts)
	require.NoError(t, err)
	container := newContainer(t, "ingestion")
	command := exec.CommandContext(t.Context(), "buildah", "run", "--isolation", "chroot", container, "--", "python", "-c", yamlcorpus.Script)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &stdout, &stderr
	require.NoError(t, command.Run(), stderr.String())
	var got []any
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got), stdout.String())
	require.Len(t, got, len(want))
	for i := range got {
		assert.Equal(t, want[i], got[i], texts[i])
	}
}

// automation is the test of a connection as OpenMetadata hands it to a runner. Its pod gets it as it is.
const automation = `
id: 5f0b3f5e-6b1c-4a39-8f27-6d0c6f1d2a11
name: test-connection-shop
fullyQualifiedName: test-connection-shop
workflowType: TEST_CONNECTION
request:
  connection: {config: {type: Mysql, scheme: mysql+pymysql, username: reader, authType: {password: change-me}, hostPort: "mysql:3306"}}
  serviceName: shop
  serviceType: Database
  connectionType: Mysql
openMetadataServerConnection:
  type: OpenMetadata
  hostPort: http://om:8585/api
  authProvider: openmetadata
  securityConfig: {jwtToken: token}
`

// readExample reads a pipeline and its service, which an application has not.
func readExample(t *testing.T, file string) (*omapi.IngestionPipeline, *omapi.Service) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var (
		pipeline omapi.IngestionPipeline
		service  *omapi.Service
	)
	first, second, found := bytes.Cut(data, []byte("\n---\n"))
	require.NoError(t, yaml.Unmarshal(first, &pipeline), file)
	if found {
		require.NoError(t, yaml.Unmarshal(second, &service), file)
	}
	return &pipeline, service
}
