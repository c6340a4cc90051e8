package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/internal/golden"
	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// TestMain takes away what the user of this machine has set: a test must not reach his cluster. The test binary is the
// command itself when a test says so.
func TestMain(m *testing.M) {
	if os.Getenv("PIPELINECTL_TEST_MAIN") != "" {
		main()
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "K8S_") || strings.HasPrefix(name, "OPENMETADATA_") || strings.HasPrefix(name, "PIPELINECTL_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Unsetenv("COLUMNS")   // The width of the help.
	_ = os.Unsetenv("COMP_LINE") // A shell's question.
	_ = os.Unsetenv("KUBERNETES_SERVICE_HOST")
	_ = os.Setenv("KUBECONFIG", "/does/not/exist")
	os.Exit(m.Run())
}

type outcome struct {
	code        int
	out, errOut string
}

func execute(args ...string) outcome {
	var stdout, stderr bytes.Buffer
	code := run(args, &stdout, &stderr)
	return outcome{code: code, out: stdout.String(), errOut: stderr.String()}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const goodPipeline = `name: nightly
pipelineType: metadata
service: {type: databaseService, name: svc}
sourceConfig: {config: {type: DatabaseMetadata}}
airflowConfig: {}
`

func TestHelp(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{"help.txt": {"--help"}}
	for _, command := range []string{
		"deploy", "render", "list", "enable", "disable", "toggle", "history", "rollback", "delete",
		"run", "status", "logs", "kill", "diagnose", "automate", "serve", "health", "config", "host-ip", "version", "completion",
	} {
		cases["help-"+command+".txt"] = []string{command, "--help"}
	}
	for file, args := range cases {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			got := execute(args...)
			assert.Equal(t, 0, got.code)
			assert.Empty(t, got.errOut, "help that was asked for is data")
			golden.Assert(t, file, got.out)
		})
	}
}

func TestHelpDoesNotShowTheToken(t *testing.T) {
	t.Setenv("OPENMETADATA_TOKEN", "hunter2")
	for _, args := range [][]string{{"--help"}, {"deploy", "--help"}, {"deploy"}, {"config", "-o", "json"}} {
		got := execute(args...)
		assert.NotContains(t, got.out+got.errOut, "hunter2", "%v", args)
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		args   []string
		want   string
		// ours are combinations that the parser does not refuse, so that the help has no more to say.
		ours bool
	}{
		"None":      {reason: "the commands are told", want: `expected one of "deploy"`},
		"Command":   {reason: "a command is mistyped", args: []string{"dploy"}, want: "unexpected argument dploy"},
		"Flag":      {reason: "so is a flag", args: []string{"config", "--outptu=json"}, want: "unknown flag --outptu"},
		"NoName":    {reason: "a run needs a name", args: []string{"run"}, want: "say which pipelines", ours: true},
		"TwoNames":  {reason: "logs are of one at a time", args: []string{"logs", "a.b", "c.d"}, want: "unexpected argument c.d"},
		"DryRun":    {reason: "a delete is not checked by the server", args: []string{"delete", "a.b", "--dry-run=server"}, want: `--dry-run must be one of "none","client"`},
		"Output":    {reason: "the formats are told", args: []string{"config", "-o", "xml"}, want: `--output must be one of "table","wide","json","yaml","name"`},
		"Timeout":   {reason: "a duration has a unit", args: []string{"config", "--timeout", "5"}, want: "--timeout"},
		"Attempts":  {reason: "one attempt or all", args: []string{"logs", "a.b", "--attempt", "1", "--all-attempts"}, want: "can't be used together"},
		"Previous":  {reason: "what has ended is not followed", args: []string{"logs", "a.b", "-f", "-p"}, want: "can't be used together"},
		"Nothing":   {reason: "a deploy needs pipelines", args: []string{"deploy"}, want: "say what to deploy: --file, or fully qualified names", ours: true},
		"NoTarget":  {reason: "nothing is not everything", args: []string{"kill"}, want: "their fully qualified names, --selector, or --all", ours: true},
		"TwoWays":   {reason: "which of the two is meant is not guessed", args: []string{"delete", "a.b", "--all"}, want: "one of the three", ours: true},
		"Selector":  {reason: "so it is of a selector", args: []string{"disable", "-l", "a=b", "--all"}, want: "one of the three", ours: true},
		"Negative":  {reason: "no time is less than none", args: []string{"list", "--timeout=-1s"}, want: "--timeout is less than 0", ours: true},
		"Override":  {reason: "an override is an object", args: []string{"run", "a.b", "--override", "[1]"}, want: "--override is not a JSON object", ours: true},
		"AfterOnly": {reason: "pages have a form of their own", args: []string{"logs", "a.b", "--after", "1"}, want: "--after is for --page", ours: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(tc.args...)
			assert.Equal(t, exitUsage, got.code, tc.reason)
			assert.Empty(t, got.out, tc.reason)
			assert.Contains(t, got.errOut, "pipelinectl: ", tc.reason)
			assert.Contains(t, got.errOut, tc.want, tc.reason)
			assert.Equal(t, !tc.ours, strings.Contains(got.errOut, "see pipelinectl --help"), tc.reason)
		})
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	deploy := func(name, text string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			t.Helper()
			return []string{"deploy", "-f", write(t, name, text)}
		}
	}
	with := func(args ...string) func(*testing.T) []string { return func(*testing.T) []string { return args } }
	cases := map[string]struct {
		reason string
		args   func(*testing.T) []string
		want   []string
	}{
		"NoFile": {reason: "a path is mistyped", args: with("deploy", "-f", "/does/not/exist.yaml"), want: []string{"/does/not/exist.yaml: no such file", "give a file, a folder, or - for standard input"}},
		"Folder": {
			reason: "a folder may be the wrong one", args: func(t *testing.T) []string { t.Helper(); return []string{"deploy", "-f", t.TempDir()} },
			want: []string{"has no .json, .yaml or .yml file"},
		},
		"SeveralFiles": {
			reason: "all that is wrong is said at once",
			args: func(t *testing.T) []string {
				t.Helper()
				return []string{"deploy", "-f", write(t, "a.yaml", "name: a\n"), "-f", "/does/not/exist", "-f", write(t, "b.yaml", strings.Replace(goodPipeline, "metadata", "teleport", 1))}
			},
			want: []string{"a.yaml: document 1, line 1: pipelineType is missing", "/does/not/exist: no such file", `b.yaml: document 1, line 1: pipeline svc.nightly: pipeline type is not supported: "teleport"`},
		},
		"Twice":       {reason: "which of the two would win is chance", args: deploy("a.yaml", goodPipeline+"---\n"+goodPipeline), want: []string{"pipeline svc.nightly is there twice; leave one of them out"}},
		"ServiceOnly": {reason: "a service alone is nothing to deploy", args: deploy("a.yaml", "name: svc\nserviceType: Mysql\n"), want: []string{"no ingestion pipeline in it"}},
		"BadInList":   {reason: "which one of a list is told", args: deploy("a.json", `[{"name":"a","serviceType":"Mysql"},{"name":"b"}]`), want: []string{"entity 2: pipelineType is missing"}},
		"NoOverride":  {reason: "a path is mistyped", args: with("run", "a.b", "--override", "@/does/not/exist.json"), want: []string{"--override: open /does/not/exist.json: no such file"}},
		"NoEntity":    {reason: "an automation is an entity", args: func(t *testing.T) []string { t.Helper(); return []string{"automate", "-f", write(t, "a", "{{")} }, want: []string{"it is neither YAML nor JSON"}},
		"RenderNoType": {reason: "without a server nobody knows", args: func(t *testing.T) []string {
			t.Helper()
			return []string{"render", "--openmetadata-url", "http://om/api", "-f", write(t, "a.yaml", goodPipeline)}
		}, want: []string{"the type of its service svc is not known without a server"}},
		"RenderNoURL": {reason: "nor where the pods find it", args: func(t *testing.T) []string {
			t.Helper()
			return []string{"render", "-f", write(t, "a.yaml", goodPipeline)}
		}, want: []string{"brings no openMetadataServerConnection: give --openmetadata-url"}},
		"Pod":          {reason: "any object may be given by mistake", args: deploy("pod.yaml", "kind: Pod\nmetadata: {name: x}\n"), want: []string{"pod.yaml: document 1, line 1: name is missing: no ingestion pipeline in it", "see examples/"}},
		"Text":         {reason: "so may any text", args: deploy("text", "hello"), want: []string{"text: document 1, line 1: no ingestion pipeline in it"}},
		"NotYAML":      {reason: "so may any bytes", args: deploy("bytes", "{{\x00"), want: []string{"it is neither YAML nor JSON", "see examples/"}},
		"List":         {reason: "a list is no pipeline", args: deploy("list.json", "["+`{"name":"a"}`+"]"), want: []string{"no ingestion pipeline in it"}},
		"Empty":        {reason: "a file may be empty", args: deploy("empty.yaml", "\n---\n# nothing\n"), want: []string{"empty.yaml: no ingestion pipeline in it"}},
		"NoType":       {reason: "what is missing is named", args: deploy("a.yaml", "name: a\nsourceConfig: {}\n"), want: []string{"pipelineType is missing"}},
		"NoSource":     {reason: "what is missing is named", args: deploy("a.yaml", "name: a\npipelineType: metadata\n"), want: []string{"sourceConfig is missing"}},
		"NoService":    {reason: "without a service there is no full name", args: deploy("a.yaml", "name: a\npipelineType: metadata\nsourceConfig: {config: {}}\n"), want: []string{"neither fullyQualifiedName nor service is set"}},
		"WrongShape":   {reason: "a field has another type", args: deploy("a.yaml", "name: a\npipelineType: metadata\nsourceConfig: text\n"), want: []string{"sourceConfig must be a map, not text"}},
		"UnknownType":  {reason: "the types are told, and the pipeline", args: deploy("a.yaml", strings.Replace(goodPipeline, "metadata", "teleport", 1)), want: []string{`pipeline svc.nightly: pipeline type is not supported: "teleport"; it is one of TestSuite, application, autoClassification`}},
		"SecondOfMany": {reason: "none is deployed where one is bad, and the bad one is named", args: deploy("a.yaml", goodPipeline+"---\n"+strings.Replace(goodPipeline, "pipelineType", "pipelineTipe", 1)), want: []string{"a.yaml: document 2, line 7: pipelineType is missing"}},
		"NoAddress":    {reason: "a server is needed", args: deploy("a.yaml", goodPipeline), want: []string{"give --openmetadata-url, OPENMETADATA_URL, or metadataApiEndpoint"}},
		"BadAddress":   {reason: "an address has a scheme", args: with("run", "a.b", "--openmetadata-url", "om:8585"), want: []string{`"om:8585" is not a URL such as`}},
		"NoCluster":    {reason: "what to do is told", args: with("run", "a.b", "--openmetadata-url", "http://om/api"), want: []string{"no Kubernetes cluster is configured", "set KUBECONFIG or give --kubeconfig"}},
		"NoContext":    {reason: "a context is mistyped", args: with("run", "a.b", "--openmetadata-url", "http://om/api", "--context", "nowhere"), want: []string{`context "nowhere" does not exist`}},
		"Disabled":     {reason: "a server may be without a client", args: with("run", "a.b", "--set", "enabled=false"), want: []string{"the pipeline service client is disabled"}},
		"SeveralAtOnce": {
			reason: "each error costs the user a round",
			args:   with("config", "--set", "namespace=Not_One", "--set", "backoffLimit=many", "--set", "imagePullPolicy=Sometimes", "--set", "namespce=x"),
			want:   []string{"invalid configuration:\n", `backoffLimit: "many" is not a whole number, such as 3 (flag)`, "namespce: is not a parameter; did you mean namespace? (flag)"},
		},
		"SeveralValues": {
			reason: "values that can be read may be wrong too, all of them",
			args:   with("config", "--set", "namespace=Not_One", "--set", "backoffLimit=-1", "--set", "imagePullPolicy=Sometimes"),
			want:   []string{`namespace: "Not_One"`, "backoffLimit: -1 is less than 0", `imagePullPolicy: "Sometimes" is not one of`},
		},
		"NoConfigFile": {reason: "a path is mistyped", args: with("config", "--config", "/does/not/exist.yaml"), want: []string{"read the configuration", "no such file", "--config or PIPELINECTL_CONFIG"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(tc.args(t)...)
			assert.Equal(t, exitError, got.code, tc.reason)
			assert.Empty(t, got.out, tc.reason)
			for _, want := range tc.want {
				assert.Contains(t, got.errOut, want, tc.reason)
			}
			assert.True(t, strings.HasPrefix(got.errOut, "pipelinectl: "), got.errOut)
		})
	}
}

func TestReadEntities(t *testing.T) {
	t.Parallel()
	second := strings.Replace(goodPipeline, "nightly", "hourly", 1)
	const (
		service = "name: svc\nserviceType: Mysql\n"
		entity  = `{"name":"a","pipelineType":"metadata","service":{"name":"svc"},"sourceConfig":{},"changeDescription":{"x":[1]}}`
	)
	cases := map[string]struct {
		reason  string
		text    string
		want    []string
		service string
	}{
		"One":      {reason: "YAML", text: goodPipeline, want: []string{"svc.nightly"}},
		"Several":  {reason: "documents are divided by ---", text: goodPipeline + "---\n" + second, want: []string{"svc.nightly", "svc.hourly"}},
		"Comments": {reason: "a comment before the first --- is no document", text: "# These run at night.\n---\n" + goodPipeline + "---\n# The end.\n", want: []string{"svc.nightly"}},
		"JSON":     {reason: "OpenMetadata's API gives JSON", text: entity, want: []string{"svc.a"}},
		"Array":    {reason: "several of them", text: "[" + entity + "]", want: []string{"svc.a"}},
		"Page":     {reason: "or a page of its list", text: `{"data":[` + entity + `],"paging":{"total":1}}`, want: []string{"svc.a"}},
		"Windows":  {reason: "lines may end as Windows has it", text: strings.ReplaceAll(goodPipeline+"---\n"+second, "\n", "\r\n"), want: []string{"svc.nightly", "svc.hourly"}},
		"Long":     {reason: "a pipeline can have many filters", text: goodPipeline + "description: " + strings.Repeat("x", 1<<20) + "\n", want: []string{"svc.nightly"}},
		"Service":  {reason: "with its service, no server needs to be asked", text: service + "---\n" + goodPipeline, want: []string{"svc.nightly"}, service: "Mysql"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := readEntities(t.Context(), []string{write(t, "in.yaml", tc.text)})
			require.NoError(t, err, tc.reason)
			names := make([]string, len(found.pipelines))
			for i := range found.pipelines {
				names[i] = found.pipelines[i].FQN()
			}
			assert.Equal(t, tc.want, names, tc.reason)
			fitting, err := found.serviceOf(found.pipelines[0])
			require.NoError(t, err)
			if tc.service == "" {
				assert.Nil(t, fitting, tc.reason)
			} else if assert.NotNil(t, fitting, tc.reason) {
				assert.Equal(t, tc.service, fitting.ServiceType)
			}
		})
	}
}

func TestReadEntitiesOfAFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, text := range map[string]string{"a.yaml": goodPipeline, "b.json": `{"name":"svc","serviceType":"Mysql"}`, "README.md": "# Not for us"} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	found, err := readEntities(t.Context(), []string{folder})
	require.NoError(t, err)
	assert.Len(t, found.pipelines, 1)
	assert.Len(t, found.services, 1)
}

func TestReadEntitiesFromStandardInput(t *testing.T) {
	file, err := os.Open(write(t, "in.yaml", goodPipeline))
	require.NoError(t, err)
	before := os.Stdin
	os.Stdin = file
	t.Cleanup(func() { os.Stdin = before; _ = file.Close() })
	found, err := readEntities(t.Context(), []string{"-"})
	require.NoError(t, err)
	assert.Len(t, found.pipelines, 1)
}

func TestInterruptWhileStandardInputIsRead(t *testing.T) {
	silent, writer, err := os.Pipe()
	require.NoError(t, err)
	before := os.Stdin
	os.Stdin = silent
	t.Cleanup(func() { os.Stdin = before; _ = writer.Close(); _ = silent.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = readEntities(ctx, []string{"-"})
	require.ErrorIs(t, err, context.Canceled, "one interrupt is enough")
}

func TestReadOverride(t *testing.T) {
	t.Parallel()
	want := map[string]any{"rows": json.Number("20")}
	got, err := readOverride(t.Context(), `{"rows":20}`)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	got, err = readOverride(t.Context(), "@"+write(t, "override.json", `{"rows":20}`))
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// TestExamples renders what the examples make, which is all that a deploy of them would.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/*.yaml")
	require.NoError(t, err)
	args := []string{"render", "--openmetadata-url", "http://om:8585/api", "--openmetadata-token", "hunter2", "-f", strings.Join(files, ",")}
	got := execute(args...)
	require.Equal(t, 0, got.code, got.errOut)
	assert.Equal(t, (len(files)-strings.Count(strings.Join(files, " "), ".service.yaml"))*2, strings.Count(got.out, "---\n"), "a ConfigMap and a Secret of each")
	assert.NotContains(t, got.out, "hunter2")
	assert.NotContains(t, got.out, "stringData", "a value that only stands for the secret would overwrite it")
	assert.Contains(t, got.out, "# Its values are left out: config. See --show-secrets.")
	assert.Contains(t, got.errOut, "warning: the Secrets are printed without their values")
	got = execute(slices.Concat(args, []string{"--show-secrets"})...)
	require.Equal(t, 0, got.code, got.errOut)
	assert.Contains(t, got.out, "hunter2")
	assert.NotContains(t, got.out+got.errOut, "left out")
	assert.NotContains(t, got.errOut, "without their values")
}

// TestConnectionForPods: what pods get where their pipeline brings no connection.
func TestConnectionForPods(t *testing.T) {
	t.Parallel()
	file := write(t, "a.yaml", goodPipeline+"---\nname: svc\nserviceType: Mysql\n")
	cases := map[string]struct {
		reason     string
		args       []string
		want, lack []string
		warning    string
		err        string
	}{
		"Token": {
			reason: "a bot's token", args: []string{"--openmetadata-url", "https://om/api", "--openmetadata-token", "hunter2", "--show-secrets"},
			want: []string{`"authProvider": "openmetadata"`, `"hostPort": "https://om/api"`, `jwtToken": "hunter2"`}, lack: []string{"verifySSL"},
		},
		"NoToken": {reason: "without one no pod could report", args: []string{"--openmetadata-url", "https://om/api", "--show-secrets"}, err: "set OPENMETADATA_TOKEN"},
		"NoAuth": {
			reason: "a server may want no token", args: []string{"--openmetadata-url", "http://om/api", "--set", "authProvider=no-auth", "--show-secrets"},
			want: []string{`"authProvider": "no-auth"`}, lack: []string{"securityConfig", "jwtToken"},
		},
		"CA": {
			reason: "a certificate authority of one's own, where the pods have it",
			args:   []string{"--openmetadata-url", "https://om/api", "--set", "verifySSL=validate", "--set", "sslConfig=/etc/ca/ca.pem", "--openmetadata-token", "x", "--show-secrets"},
			want:   []string{`"verifySSL": "validate"`, `sslConfig/caCertificate": "/etc/ca/ca.pem"`},
		},
		"Insecure": {reason: "for a try", args: []string{"--openmetadata-url", "https://om/api", "--set", "verifySSL=ignore"}, want: []string{`"verifySSL": "ignore"`}, lack: []string{"sslConfig"}},
		"Local":    {reason: "a pod reaches itself there", args: []string{"--openmetadata-url", "http://localhost:8585/api"}, want: []string{`"hostPort": "http://localhost:8585/api"`}, warning: "http://localhost:8585/api is this machine"},
		"LocalIP":  {reason: "so it does by number", args: []string{"--openmetadata-url", "http://[::1]:8585/api"}, warning: "http://[::1]:8585/api is this machine"},
		"Both": {
			reason: "the pods' address is another one than ours", args: []string{"--openmetadata-url", "http://localhost:8585/api", "--set", "metadataApiEndpoint=http://om/api"},
			want: []string{`"hostPort": "http://om/api"`}, lack: []string{"localhost"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(append([]string{"render", "-f", file, "--set", "ingestionImage=a:1"}, tc.args...)...)
			if tc.err != "" {
				assert.Equal(t, exitError, got.code)
				assert.Contains(t, got.errOut, tc.err, tc.reason)
				return
			}
			require.Equal(t, 0, got.code, got.errOut)
			for _, want := range tc.want {
				assert.Contains(t, got.out, want, tc.reason)
			}
			for _, lack := range tc.lack {
				assert.NotContains(t, got.out, lack, tc.reason)
			}
			assert.Equal(t, tc.warning != "", strings.Contains(got.errOut, "is this machine"), tc.reason)
			assert.Contains(t, got.errOut, tc.warning, tc.reason)
		})
	}
}

// TestWarnings: a command that makes objects tells once what may not do what was meant.
func TestWarnings(t *testing.T) {
	t.Parallel()
	kube := kubeconfig(t, refusing(apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "x")))
	base := []string{"--kubeconfig", kube, "--openmetadata-url", "http://om.invalid/api", "--openmetadata-token", "x", "--set", "ingestionImage=a:1", "--set", "startingDeadlineSeconds=5"}
	paused := strings.Replace(goodPipeline, "airflowConfig: {}", "airflowConfig: {endDate: '2030-01-01', retries: 7, pipelineCatchup: true, maxActiveRuns: 2, workflowTimeout: 0, startDate: '2999-01-01T00:00:00Z', scheduleInterval: '@daily'}", 1)
	file := write(t, "a.yaml", paused+"---\nname: svc\nserviceType: Mysql\n")
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"Run":    {args: []string{"run", "svc.nightly"}, want: []string{"with 5 it misses ticks"}},
		"Status": {args: []string{"status", "svc.nightly"}},
		"Render": {args: []string{"render", "-f", file}, want: []string{
			"with 5 it misses ticks", "pipeline svc.nightly: its schedule is never in force: airflowConfig.startDate 2999", "airflowConfig.retries is ignored", "airflowConfig.pipelineCatchup is ignored",
			"airflowConfig.maxActiveRuns is ignored", "airflowConfig.workflowTimeout is ignored: 0 s",
		}},
		"Deploy": {args: []string{"deploy", "--dry-run=client", "-f", file}, want: []string{"with 5 it misses ticks", "its schedule ends at 2030-01-01T00:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(append(slices.Clone(tc.args), base...)...)
			for _, want := range tc.want {
				assert.Equal(t, 1, strings.Count(got.errOut, want), "%s in %s", want, got.errOut)
			}
			assert.Equal(t, len(tc.want) > 0, strings.Contains(got.errOut, "warning: "), got.errOut)
		})
	}
}

func TestNoClusterNamesTheFiles(t *testing.T) {
	for name, tc := range map[string]struct{ reason, variable, want string }{
		"Variable": {reason: "the file that is missing is the one that was named", variable: "/does/not/exist", want: "there is no kubeconfig in /does/not/exist, and"},
		"Several":  {reason: "any of them would have done", variable: "/not/here:/not/there", want: "there is no kubeconfig in /not/here, /not/there, and"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tc.variable)
			got := execute("list")
			assert.Equal(t, exitError, got.code)
			assert.Contains(t, got.errOut, tc.want, tc.reason)
		})
	}
}

// TestContextOfAKubeconfigInTheConfiguration: a wrong cluster is no place for delete --all.
func TestContextOfAKubeconfigInTheConfiguration(t *testing.T) {
	t.Parallel()
	var asked [2]atomic.Int32
	servers := make([]string, 2)
	for i := range servers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			asked[i].Add(1)
			refusing(apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "x", nil)).ServeHTTP(w, req)
		}))
		t.Cleanup(server.Close)
		servers[i] = server.URL
	}
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: one,
clusters: [{name: one, cluster: {server: %q}}, {name: two, cluster: {server: %q}}],
contexts: [{name: one, context: {cluster: one}}, {name: two, context: {cluster: two}}]}`, servers[0], servers[1])
	got := execute("list", "--set", "kubeConfigContent="+content)
	require.Equal(t, exitError, got.code, got.errOut)
	assert.Equal(t, []int32{1, 0}, []int32{asked[0].Load(), asked[1].Load()}, "its own current context")
	got = execute("list", "--set", "kubeConfigContent="+content, "--context", "two")
	require.Equal(t, exitError, got.code, got.errOut)
	assert.Equal(t, []int32{1, 1}, []int32{asked[0].Load(), asked[1].Load()}, "the context that was asked for")
	got = execute("list", "--set", "kubeConfigContent="+content, "--context", "nowhere")
	assert.Contains(t, got.errOut, `context "nowhere" does not exist`)
	got = execute("list", "--set", "kubeConfigContent={{")
	assert.Contains(t, got.errOut, "kubeConfigContent is no kubeconfig")
	assert.Equal(t, []int32{1, 1}, []int32{asked[0].Load(), asked[1].Load()}, "no cluster is asked in place of one that is not known")
}

// TestCertificateAuthority: a server's certificate may be of an authority of one's own.
func TestCertificateAuthority(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"version":"1.12.6"}`)) }))
	t.Cleanup(server.Close)
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	validate := func(path string) func(*k8sclient.Config) {
		return func(c *k8sclient.Config) { c.VerifySSL, c.CACertificate = omapi.VerifyValidate, path }
	}
	cases := map[string]struct {
		reason string
		ca     string
		config func(*k8sclient.Config)
		err    string
	}{
		"Unknown":  {reason: "the system does not know it", config: func(*k8sclient.Config) {}, err: "certificate signed by unknown authority"},
		"Flag":     {reason: "as it is here", ca: ca, config: func(*k8sclient.Config) {}},
		"Config":   {reason: "as the pods have it", config: validate(ca)},
		"Both":     {reason: "the pods have it elsewhere", ca: ca, config: validate("/in/the/pods.pem")},
		"OnlyPods": {reason: "what to do is told", config: validate("/in/the/pods.pem"), err: "give --openmetadata-ca"},
		"Ignore":   {reason: "nothing is checked", config: func(c *k8sclient.Config) { c.VerifySSL = omapi.VerifyIgnore }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := k8sclient.DefaultConfig()
			tc.config(&config)
			g := &globals{URL: server.URL + "/api", CA: tc.ca}
			client, err := g.server(&config, need{server: true})
			if err == nil {
				_, err = client.Version(t.Context())
			}
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
		})
	}
	config := k8sclient.DefaultConfig()
	validate("/in/the/pods.pem")(&config)
	client, err := (&globals{URL: server.URL}).server(&config, need{})
	require.NoError(t, err, "a command that does without the server does")
	assert.Nil(t, client)
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		timeout  *time.Duration
		need     need
		deadline bool
	}{
		"Default": {deadline: true}, "Endless": {need: need{endless: true}}, "Zero": {timeout: new(time.Duration(0))},
		"Given": {timeout: new(time.Minute), need: need{endless: true}, deadline: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &globals{Kubeconfig: kubeconfig(t, http.NotFoundHandler()), Timeout: tc.timeout}
			_, ctx, cancel, err := g.connectWith(t.Context(), tc.need)
			require.NoError(t, err)
			defer cancel()
			_, has := ctx.Deadline()
			assert.Equal(t, tc.deadline, has)
		})
	}
}

func TestServiceOfTheRightType(t *testing.T) {
	t.Parallel()
	database := &omapi.Service{ID: "1", Name: "shop", ServiceType: "Mysql"}
	dashboard := &omapi.Service{ID: "2", Name: "shop", ServiceType: "Looker"}
	nameless := &omapi.Service{Name: "shop", ServiceType: "Looker"}
	of := func(reference omapi.EntityReference, services ...*omapi.Service) (*omapi.Service, error) {
		return (&entities{services: services}).serviceOf(&omapi.IngestionPipeline{Name: "p", Service: reference})
	}
	got, err := of(omapi.EntityReference{ID: "2", Name: "shop"}, database, dashboard)
	require.NoError(t, err)
	assert.Equal(t, dashboard, got, "the id decides")
	got, err = of(omapi.EntityReference{ID: "3", Name: "shop"}, database, dashboard)
	require.NoError(t, err)
	assert.Nil(t, got, "another service of the name is not it")
	_, err = of(omapi.EntityReference{Name: "shop"}, database, nameless)
	require.ErrorContains(t, err, "its service shop may be the one of type Mysql or of type Looker", "a guess could read from the wrong one")
	got, err = of(omapi.EntityReference{Name: "shop"}, database, database)
	require.NoError(t, err)
	assert.Equal(t, database, got, "the same one twice does no harm")
}

// kubeconfig is for a server that answers each request the same.
func kubeconfig(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return write(t, "kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q}}]
contexts: [{name: test, context: {cluster: test}}]
current-context: test
`, server.URL))
}

func refusing(err *apierrors.StatusError) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status := err.ErrStatus
		if status.Code == http.StatusNotFound && req.URL.Query().Has("labelSelector") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","items":[]}`) // A list is never not found.
			return
		}
		status.Kind, status.APIVersion = "Status", "v1"
		data, err := json.Marshal(&status)
		if err != nil {
			status.Code = http.StatusInternalServerError
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Code))
		_, _ = w.Write(data)
	})
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	things := schema.GroupResource{Resource: "things"}
	cases := map[string]struct {
		reason string
		kube   http.Handler
		token  admin.TokenKind
		args   []string
		code   int
		want   string
	}{
		"TokenExpired":   {reason: "not allowed by OpenMetadata", token: admin.TokenExpired, args: []string{"deploy", "-f", "FILE"}, code: exitAuth, want: "Expired token!"},
		"KubeQuota":      {reason: "no permission would help", kube: refusing(apierrors.NewForbidden(things, "x", errors.New("exceeded quota: q"))), args: []string{"status", "svc.nightly"}, code: exitError, want: "a quota or an admission policy"},
		"KubeForbidden":  {reason: "not allowed by Kubernetes", kube: refusing(apierrors.NewForbidden(things, "x", errors.New(`User "me" cannot get resource "things"`))), args: []string{"deploy", "-f", "FILE"}, code: exitAuth, want: "ask for a Role that allows it"},
		"KubeNoAccount":  {reason: "unknown to Kubernetes", kube: refusing(apierrors.NewUnauthorized("no")), args: []string{"status", "svc.nightly"}, code: exitAuth, want: "log in to the cluster again"},
		"KubeBroken":     {reason: "any other error", kube: refusing(apierrors.NewInternalError(errors.New("etcd is away"))), args: []string{"run", "svc.nightly"}, code: exitError, want: "etcd is away"},
		"NotDeployed":    {reason: "what to do first is told", kube: refusing(apierrors.NewNotFound(things, "x")), args: []string{"kill", "svc.nightly"}, code: exitError, want: "pipelinectl deploy -f FILE"},
		"DeleteNothing":  {reason: "so it is for all commands", kube: refusing(apierrors.NewNotFound(things, "x")), args: []string{"delete", "svc.nightly"}, code: exitError, want: "the pipeline is not deployed"},
		"UnknownService": {reason: "OpenMetadata must know the service", args: []string{"deploy", "-f", "OTHER"}, code: exitError, want: "cannot read databaseService nowhere"},
		"SeveralFail":    {reason: "each pipeline's failure is told", args: []string{"deploy", "-f", "OTHER", "-f", "THIRD"}, code: exitError, want: "cannot read databaseService elsewhere"},
		"Timeout":        {reason: "a server that does not answer does not hold the command", kube: hanging(), args: []string{"run", "svc.nightly", "--timeout", "200ms"}, code: exitError, want: "the command's --timeout of 200ms is over"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			om := omtest.Start(t, openmetadata.Options{})
			om.Pipeline(t, "svc", "nightly")
			token := om.Token
			if tc.token != "" {
				token = om.TokenOf(t, tc.token)
			}
			if tc.kube == nil {
				tc.kube = refusing(apierrors.NewNotFound(things, "x"))
			}
			files := map[string]string{
				"FILE": write(t, "good.yaml", goodPipeline), "OTHER": write(t, "other.yaml", strings.Replace(goodPipeline, "name: svc", "name: nowhere", 1)),
				"THIRD": write(t, "third.yaml", strings.Replace(goodPipeline, "name: svc", "name: elsewhere", 1)),
			}
			args := slices.Concat([]string{"--kubeconfig", kubeconfig(t, tc.kube), "--openmetadata-url", om.URL, "--openmetadata-token", token}, tc.args)
			for i, arg := range args {
				if path, ok := files[arg]; ok {
					args[i] = path
				}
			}
			got := execute(args...)
			assert.Equal(t, tc.code, got.code, "%s: %s", tc.reason, got.errOut)
			assert.Contains(t, got.errOut, tc.want, tc.reason)
			assert.NotContains(t, got.errOut, token)
			assert.Empty(t, got.out)
		})
	}
}

func hanging() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
}

func TestCancelledHasACodeOfItsOwn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	assert.Equal(t, exitError, exitCode(ctx, errors.New("x")))
	assert.Equal(t, exitAuth, exitCode(ctx, fmt.Errorf("x: %w", omapi.ErrForbidden)))
	cancel()
	assert.Equal(t, exitCancelled, exitCode(ctx, fmt.Errorf("x: %w", omapi.ErrForbidden)), "whatever went wrong after it")
}

func TestDeployWithoutAnyToken(t *testing.T) {
	t.Parallel()
	got := execute("deploy", "-f", write(t, "a.yaml", goodPipeline), "--openmetadata-url", "http://om/api", "--kubeconfig", kubeconfig(t, http.NotFoundHandler()))
	assert.Equal(t, exitError, got.code)
	assert.Contains(t, got.errOut, "pipeline svc.nightly brings no openMetadataServerConnection, and there is no token to make one: set OPENMETADATA_TOKEN")
}

func TestCurrentTokenWithoutAny(t *testing.T) {
	t.Parallel()
	got := execute("run", "svc.nightly", "--current-token", "--openmetadata-token", "")
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.errOut, "set OPENMETADATA_TOKEN")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := execute("version")
	assert.Equal(t, 0, got.code)
	assert.Empty(t, got.errOut)
	assert.True(t, strings.HasPrefix(got.out, "pipelinectl "), got.out)
}
