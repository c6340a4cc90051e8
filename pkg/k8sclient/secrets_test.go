package k8sclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/entities"
)

// secretInput are the secrets of a pipeline by where they stand; each value has hunter in it.
func secretInput() map[string]any {
	return map[string]any{
		"dbtConfigSource": map[string]any{
			"dbtSecurityConfig": map[string]any{"awsConfig": map[string]any{"awsSecretAccessKey": "hunter-aws", "awsSessionToken": "hunter-session"}},
			"accountKey":        "hunter-account", "gitlabPat": "hunter-pat", "dbPwd": "hunter-pwd",
		},
		"sslConfig":    map[string]any{"sslKey": "-----BEGIN PRIVATE KEY-----\nhunter-ssl\n-----END PRIVATE KEY-----\n"},
		"extraHeaders": map[string]any{"X-Tenant": "hunter-tenant"},
		"endpoint":     "https://hooks.slack.com/services/hunter-slack",
		"uri":          "https://x.example/blob?sv=1&sig=hunter-sig",
		"repository":   "https://hunter-user@git.example/x.git",
		"list":         []any{map[string]any{"password": "hunter-list"}},
		"header":       "Bearer hunter-bearer",
		"jaas":         `x.PlainLoginModule required username="u" password="hunter-jaas";`,
		"dsn":          "host=h password='hunter-libpq'",
		"extraConfig":  map[string]any{"fs.azure.account.key.acc.dfs.core.windows.net": "hunter-abfs", "client.secret.acc": "hunter-oauth"},
		"authType":     map[string]any{"jwt": "hunter-jwt"},
		"houseNumber":  "hunter-house",
	}
}

// TestNoSecretLeaves looks for each secret of the input in every object but the Secrets, and in every result.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		edit   func(*omapi.IngestionPipeline)
	}{
		"Source": {reason: "a source's configuration", edit: func(p *omapi.IngestionPipeline) { p.SourceConfig = map[string]any{"config": secretInput()} }},
		"Application": {reason: "both configurations of an application", edit: func(p *omapi.IngestionPipeline) {
			p.PipelineType = omapi.PipelineApplication
			p.SourceConfig = map[string]any{"config": map[string]any{"sourcePythonClass": "a.B", "appConfig": secretInput(), "appPrivateConfig": secretInput()}}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.client.config.ExtraEnvVars = []corev1.EnvVar{{Name: "CI_PAT", Value: "hunter-variable"}}
			pipeline := newPipeline(withToken("hunter-token"), tc.edit)
			_, err := deploy(t, w.client, pipeline)
			require.NoError(t, err)
			// What was no secret when the revision was kept is one when it comes back.
			w.client.config.SecretKeys = []string{"houseNumber"}
			deployed, err := deploy(t, w.client, newPipeline(withToken("hunter-token")))
			require.NoError(t, err)
			rolledBack, err := w.client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
			require.NoError(t, err)
			run, job := w.start(t)
			w.addPod(t, "p", job, 1, corev1.PodStatus{})
			values, err := w.client.SecretValues(t.Context(), testFQN)
			require.NoError(t, err)
			all := strings.Join(values, "\n")
			input, err := json.Marshal(secretInput())
			require.NoError(t, err)
			for _, hunter := range append(regexp.MustCompile(`hunter-[a-z0-9]+`).FindAllString(string(input), -1), "hunter-token", "hunter-variable") {
				assert.Contains(t, all, hunter, "%s: all are in the Secret", tc.reason)
			}
			w.kube.setLog("p", strings.Join(values, "\n"))

			for key, text := range w.kube.contents(t, "configmaps", "cronjobs", "jobs", "pods") {
				assert.NotContains(t, text, "hunter", key)
			}
			outputs := map[string]any{"deploy": deployed, "rollback": rolledBack, "run": run}
			for what, get := range map[string]func() (any, error){
				"deployed": func() (any, error) { return w.client.Deployed(t.Context(), testFQN) },
				"status":   func() (any, error) { return w.client.Status(t.Context(), testFQN) },
				"list":     func() (any, error) { return w.client.List(t.Context(), "") },
				"history":  func() (any, error) { return w.client.History(t.Context(), testFQN) },
				"queued":   func() (any, error) { return w.client.QueuedRuns(t.Context(), testFQN) },
				"health":   func() (any, error) { return w.client.Health(t.Context()), nil },
				"page":     func() (any, error) { return w.client.LogPage(t.Context(), testFQN, "", "") },
			} {
				outputs[what], err = get()
				require.NoError(t, err, what)
			}
			w.setPod("p", endedPod())
			outputs["delete"], err = w.client.Delete(t.Context(), testFQN, DeleteOptions{})
			require.NoError(t, err)
			for what, output := range outputs {
				text, err := json.Marshal(output)
				require.NoError(t, err)
				assert.NotContains(t, string(text), "hunter", what)
				assert.NotContains(t, fmt.Sprintf("%+v", output), "hunter", what)
			}
		})
	}
}

// TestLogsHideOldSecrets: an old run's log may show what was secret when it ran.
func TestLogsHideOldSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withToken("old-token"))
	run, job := w.start(t)
	w.addPod(t, "p", job, 1, corev1.PodStatus{})
	w.end(run.JobName, batchv1.JobComplete)
	w.kube.setLog("p", "old-token and new-token\n")
	_, err := deploy(t, w.client, newPipeline(withToken("new-token")))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, w.client.Logs(t.Context(), testFQN, LogOptions{}, &out))
	assert.Equal(t, "<redacted> and <redacted>\n", out.String())
}

// TestNoPasswordOfTheSchemas renders a pipeline with a value in every field that OpenMetadata's schemas mark as a password, and looks
// for it in what is not the Secret.
func TestNoPasswordOfTheSchemas(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../workflow/testdata/passwords.json")
	require.NoError(t, err)
	var list struct {
		Fields []struct {
			Model   string   `json:"model"`
			Name    string   `json:"name"`
			Parents []string `json:"parents"`
		} `json:"fields"`
	}
	require.NoError(t, json.Unmarshal(data, &list))
	const sentinel = "SENTINEL"
	models := map[string]any{}
	count := 1 // The variable.
	for _, field := range list.Fields {
		model, _ := models[field.Model].(map[string]any)
		if model == nil {
			model = map[string]any{}
			models[field.Model] = model
		}
		for _, parent := range append(field.Parents, "connectionConfig") {
			if field.Name == "clientId" && parent == "connectionConfig" {
				continue // It is a password in one place only.
			}
			fields, _ := model[parent].(map[string]any)
			if fields == nil {
				fields = map[string]any{}
				model[parent] = fields
			}
			if fields[field.Name] == nil {
				fields[field.Name] = sentinel
				count++
			}
		}
	}
	config := DefaultConfig()
	config.ExtraEnvVars = []corev1.EnvVar{{Name: "DATABASE_URL", Value: "postgres://me:" + sentinel + "@h/x"}}
	pipeline := newPipeline(func(p *omapi.IngestionPipeline) {
		p.PipelineType = omapi.PipelineApplication
		p.SourceConfig = map[string]any{"config": map[string]any{"sourcePythonClass": "a.B", "appConfig": models}}
	})
	objects, err := NewObjects(&config, pipeline, nil)
	require.NoError(t, err)
	found, err := Explain(&config, pipeline)
	require.NoError(t, err)
	for what, object := range map[string]any{
		"ConfigMap": objects.ConfigMap, "CronJob": objects.CronJob, "Job": NewJob(&config, pipeline, "1b4e28ba-2fa1-41d2-883f-0016d3cca427", 1), "explanation": found,
	} {
		text, err := json.Marshal(object)
		require.NoError(t, err)
		assert.NotContains(t, string(text), sentinel, what)
	}
	secrets := 0
	for _, value := range objects.Secret.Data {
		secrets += strings.Count(string(value), sentinel)
	}
	assert.Equal(t, count, secrets)
	assert.Equal(t, count+1, len(found), "with the token") //nolint:testifylint // The list of all helps nobody.
}

// TestSecretParameters: what cannot be, is said before anything is done.
func TestSecretParameters(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		edit   func(*Config)
		err    string
	}{
		"Password":   {reason: "the schemas' passwords stay secret", edit: func(c *Config) { c.PublicKeys = []string{"api_key"} }, err: "publicKeys"},
		"Both":       {reason: "it is one or the other", edit: func(c *Config) { c.PublicKeys, c.SecretKeys = []string{"houseNo"}, []string{"HOUSE_NO"} }, err: "publicKeys"},
		"Annotation": {reason: "it stands in the pod", edit: func(c *Config) { c.PodAnnotations = map[string]string{"x": "Bearer SENTINEL"} }, err: "podAnnotations"},
		"Vault": {reason: "its annotations speak of secrets and hold none", edit: func(c *Config) {
			c.PodAnnotations = map[string]string{
				"vault.hashicorp.com/agent-inject-secret-db": "database/creds/x", "vault.hashicorp.com/agent-inject-token": "true",
				"vault.hashicorp.com/agent-inject-template-db": `{{ with secret "x" }}postgres://{{ .Data.username }}:{{ .Data.password }}@h/x{{ end }}`,
			}
		}},
		"Public": {reason: "the user knows better", edit: func(c *Config) {
			c.PodAnnotations, c.PublicKeys = map[string]string{"x": "Bearer SENTINEL"}, []string{"x"}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			tc.edit(&config)
			err := config.Validate()
			if tc.err == "" {
				require.NoError(t, err, tc.reason)
				return
			}
			require.ErrorContains(t, err, tc.err, tc.reason)
			assert.NotContains(t, err.Error(), "SENTINEL")
		})
	}
}

func TestDeployRefusesMasks(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	_, err := deploy(t, newTestClient(t, server), newPipeline(func(p *omapi.IngestionPipeline) {
		p.SourceConfig = map[string]any{"config": map[string]any{"password": "*********"}}
	}))
	require.ErrorIs(t, err, workflow.ErrMasked)
	require.ErrorContains(t, err, "pipeline mysql_prod.nightly")
	require.ErrorContains(t, err, "/source/sourceConfig/config/password")
	assert.Empty(t, server.names())
}

// TestLogsHideOthersSecrets: a variable may come from a Secret that is somebody else's.
func TestLogsHideOthersSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := func(name string) corev1.EnvVar {
		return corev1.EnvVar{Name: "FROM_" + strings.ToUpper(name), ValueFrom: secretRef(name, "key")}
	}
	w.client.config.ExtraEnvVars = []corev1.EnvVar{ref("there"), ref("gone"), {Name: "HOUSE", Value: "hunter-house"}}
	w.client.config.SecretKeys = []string{"house"}
	_, err := w.client.kube.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "there"}, Data: map[string][]byte{"key": []byte("hunter-others\n")},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = deploy(t, w.client, newPipeline())
	require.NoError(t, err)
	run, job := w.start(t)
	w.addPod(t, "p", job, 1, corev1.PodStatus{})
	w.end(run.JobName, batchv1.JobComplete)
	w.kube.setLog("p", "hunter-others and hunter-house\n")
	var out bytes.Buffer
	require.NoError(t, w.client.Logs(t.Context(), testFQN, LogOptions{}, &out))
	assert.Equal(t, "<redacted> and <redacted>\n", out.String())
	for _, container := range job.Spec.Template.Spec.Containers {
		assert.Contains(t, container.Env, corev1.EnvVar{Name: identity.EnvSecretVariables, Value: "FROM_THERE,FROM_GONE,HOUSE"}, "the reporters in the pod have the same")
	}
}

// TestLogsHideTheServicesPassword: a workflow reads it from OpenMetadata by itself, so that no Secret of ours has it.
func TestLogsHideTheServicesPassword(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		fault  *admin.Fault
		hidden bool
	}{
		"Told":    {reason: "a bot sees it", hidden: true},
		"Refused": {reason: "no answer is no reason to keep the log back", fault: &admin.Fault{Kind: admin.FaultStatus, Status: 403, Path: "services/databaseServices"}},
		"Hangs":   {reason: "nor is one that does not come", fault: &admin.Fault{Kind: admin.FaultHang, Path: "services/databaseServices"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, withToken("bot-token"))
			om := entities.Client{URL: w.om.URL, Token: w.om.Token}
			_, err := om.CreateService(t.Context(), entities.Service("mysql_prod", map[string]string{"dbPassword": "hunter+2/3", "mode": "fast-read"}))
			require.NoError(t, err)
			if tc.fault != nil {
				w.om.Fault(t, *tc.fault)
			}
			run, job := w.start(t)
			w.addPod(t, "p", job, 1, corev1.PodStatus{})
			w.end(run.JobName, batchv1.JobComplete)
			w.kube.setLog("p", "bot-token mysql://me:hunter%2B2%2F3@h and hunter+2/3, fast-read\n")
			want := "<redacted> mysql://me:<redacted>@h and hunter+2/3, fast-read\n"
			if tc.hidden {
				want = "<redacted> mysql://me:<redacted>@h and <redacted>, fast-read\n"
			}
			for range 2 {
				var out bytes.Buffer
				require.NoError(t, w.client.Logs(t.Context(), testFQN, LogOptions{}, &out))
				assert.Equal(t, want, out.String(), tc.reason)
			}
			asked, err := w.om.Requests(admin.RequestFilter{Method: "GET", Path: "services/databaseServices"})
			require.NoError(t, err)
			if tc.hidden {
				assert.Len(t, asked, 1, "the answer serves for a while")
			}
		})
	}
}
