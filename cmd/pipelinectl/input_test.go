package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-resty/resty/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// TestCases are inputs that real use brought.
func TestCases(t *testing.T) {
	t.Parallel()
	t.Run("Several", func(t *testing.T) {
		t.Parallel()
		found, err := readEntities(t.Context(), []string{"testdata/cases/02-several-json.json"})
		require.NoError(t, err)
		require.Len(t, found.pipelines, 2)
		assert.Equal(t, "shop.orders", found.pipelines[0].FQN())
		assert.Equal(t, "shop.items", found.pipelines[1].FQN())
	})
	t.Run("Surrogates", func(t *testing.T) {
		t.Parallel()
		found, err := readEntities(t.Context(), []string{"testdata/cases/03a-json-surrogates.json"})
		require.NoError(t, err)
		require.Len(t, found.pipelines, 1)
		assert.Equal(t, "Orders 🚀", found.pipelines[0].DisplayName)
		got := execute("render", "-f", "testdata/cases/03a-json-surrogates.json", "--service-type", "Mysql", "--openmetadata-url", "http://om/api")
		require.Equal(t, 0, got.code, got.errOut)
		assert.Contains(t, got.out, "^café$")
	})
	t.Run("ServiceByIDOffline", func(t *testing.T) {
		t.Parallel()
		got := execute("render", "-f", "testdata/cases/09-create-payload-service-id.json", "--openmetadata-url", "http://om/api")
		assert.Equal(t, exitError, got.code)
		assert.Contains(t, got.errOut, "pipeline trino_dbt: its service is named by id 11111111-1111-1111-1111-111111111111 only")
		assert.Contains(t, got.errOut, "give service.name, or put the service's entity with that id beside")
		service := write(t, "service.json", `{"id":"11111111-1111-1111-1111-111111111111","name":"trino.prod","serviceType":"Trino"}`)
		got = execute("render", "-f", "testdata/cases/09-create-payload-service-id.json", "-f", service, "--openmetadata-url", "http://om/api")
		require.Equal(t, 0, got.code, got.errOut)
		assert.Contains(t, got.out, `\"trino.prod\".trino_dbt`)
		assert.NotContains(t, got.out, "SENTINEL-sak")
	})
}

// deployed deploys files in a dry run, which needs a server and no cluster.
func deployed(t *testing.T, om *omtest.Server, args ...string) outcome {
	t.Helper()
	return execute(append([]string{
		"deploy", "--dry-run=client", "--kubeconfig", kubeconfig(t, http.NotFoundHandler()), "--openmetadata-url", om.URL, "--openmetadata-token", om.Token,
		"--set", "ingestionImage=a:1", "--set", "sidecar=never",
	}, args...)...)
}

// made makes an entity on the server and gives its id.
func made(t *testing.T, om *omtest.Server, path string, entity map[string]any) string {
	t.Helper()
	var answer struct {
		ID string `json:"id"`
	}
	response, err := resty.New().R().SetContext(t.Context()).SetAuthToken(om.Token).SetBody(entity).SetResult(&answer).Put(om.URL + path)
	require.NoError(t, err)
	require.True(t, response.IsSuccess(), response)
	return answer.ID
}

func TestServicesOfTheServer(t *testing.T) {
	t.Parallel()
	om := omtest.Start(t, openmetadata.Options{})
	made(t, om, "/v1/services/securityServices", map[string]any{"name": "ranger", "serviceType": "Ranger"})
	id := made(t, om, "/v1/services/databaseServices", map[string]any{"name": "trino", "serviceType": "Trino"})
	create, err := os.ReadFile("testdata/cases/09-create-payload-service-id.json")
	require.NoError(t, err)
	known := write(t, "known.json", strings.ReplaceAll(string(create), "11111111-1111-1111-1111-111111111111", id))
	twice := write(t, "twice.json", `{"name":"trino_dbt","pipelineType":"dbt","service":{"name":"trino","type":"databaseService"},"sourceConfig":{}}`)
	cases := map[string]struct {
		reason string
		args   []string
		code   int
		want   string
	}{
		"Security": {reason: "the types are not a closed list", args: []string{"-f", "testdata/cases/07a-security-service.yaml"}, want: "pipeline ranger.r-metadata deployed (client dry run)"},
		"ID":       {reason: "as a create request names it", args: []string{"-f", known}, want: "pipeline trino.trino_dbt deployed (client dry run)"},
		"Unknown":  {reason: "what was not found is told", args: []string{"-f", "testdata/cases/09-create-payload-service-id.json"}, code: exitError, want: "pipeline trino_dbt: cannot read databaseService 11111111-1111-1111-1111-111111111111"},
		"Twice":    {reason: "the same pipeline, named in two ways", args: []string{"-f", known, "-f", twice}, code: exitError, want: "pipeline trino.trino_dbt is there twice"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := deployed(t, om, tc.args...)
			assert.Equal(t, tc.code, got.code, "%s: %s", tc.reason, got.errOut)
			assert.Contains(t, got.out+got.errOut, tc.want, tc.reason)
		})
	}
}

func TestWrongTypes(t *testing.T) {
	t.Parallel()
	base := `{"name":"a","pipelineType":"metadata","service":{"name":"svc","type":"databaseService"},"sourceConfig":{},"airflowConfig":{}}`
	cases := map[string]struct{ old, new, want string }{
		"Schedule": {`"airflowConfig":{}`, `"airflowConfig":{"scheduleInterval":5}`, "airflowConfig.scheduleInterval must be text, not a number"},
		"Config":   {`"airflowConfig":{}`, `"airflowConfig":"daily"`, "airflowConfig must be a map, not text"},
		"Retries":  {`"airflowConfig":{}`, `"airflowConfig":{"retries":1.5}`, "airflowConfig.retries must be a whole number, not 1.5"},
		"Pause":    {`"airflowConfig":{}`, `"airflowConfig":{"pausePipeline":"no"}`, "airflowConfig.pausePipeline must be true or false, not text"},
		"Service":  {`{"name":"svc","type":"databaseService"}`, `"svc"`, "service must be a map, not text"},
		"FQN":      {`"name":"svc"`, `"name":["svc"]`, "service.name must be text, not a list"},
		"Source":   {`"sourceConfig":{}`, `"sourceConfig":[1]`, "sourceConfig must be a map, not a list"},
		"Name":     {`"name":"a"`, `"name":12`, "name must be text, not a number"},
		"Enabled":  {`"name":"a"`, `"name":"a","enabled":1`, "enabled must be true or false, not a number"},
		"IDOnly":   {`{"name":"svc","type":"databaseService"}`, `{"id":"x"}`, "give service.type too"},
		"Page":     {base, `{"data":{"name":"a"}}`, "data must be a list, as in the answer of a list call, not a map"},
		"Number":   {base, `[12]`, "entity 1: no ingestion pipeline in it"},
		"Services": {base, `{"name":"svc","serviceType":7}`, "a service: serviceType must be text, not a number"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(base, tc.old, tc.new, 1)
			require.NotEqual(t, base, text)
			_, err := readEntities(t.Context(), []string{write(t, "a.json", text)})
			require.ErrorContains(t, err, tc.want)
			for _, word := range []string{"Go ", "struct", "unmarshal", "omapi", " json:"} {
				assert.NotContains(t, err.Error(), word, "not in Go's words")
			}
		})
	}
}

// TestExactInput: numbers and texts come out of the input as they went in.
func TestExactInput(t *testing.T) {
	t.Parallel()
	found, err := readEntities(t.Context(), []string{write(t, "a.json", `{"data":[{"name":"a","pipelineType":"metadata","service":{"name":"svc"},
"sourceConfig":{"big":9007199254740993,"float":1.10,"text":"\ttab\n=<<","slash":"a\/b"}}],"paging":{"total":1}}`)})
	require.NoError(t, err)
	source := found.pipelines[0].SourceConfig
	assert.Equal(t, "9007199254740993", fmt.Sprint(source["big"]))
	assert.Equal(t, "1.10", fmt.Sprint(source["float"]))
	assert.Equal(t, "\ttab\n=<<", source["text"])
	assert.Equal(t, "a/b", source["slash"])
	override, err := readOverride(t.Context(), `{"rows":9007199254740993}`)
	require.NoError(t, err)
	assert.Equal(t, "9007199254740993", fmt.Sprint(override["rows"]))
	_, err = readOverride(t.Context(), `{"rows":1}{"rows":2}`)
	require.ErrorContains(t, err, "holds 2 values", "what follows is not dropped")
	entity, err := readJSON(t.Context(), write(t, "w.yaml", "name: a\nrows: 9007199254740993\n"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"name":"a","rows":9007199254740993}`, string(entity))
	assert.Contains(t, string(entity), "9007199254740993")
	_, err = readJSON(t.Context(), write(t, "w.yaml", "name: a\n---\nname: b\n"))
	require.ErrorContains(t, err, "the second on line 3")
	assert.Equal(t, omapi.EntityReference{Name: "svc"}, found.pipelines[0].Service)
}
