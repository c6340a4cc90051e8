package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

const (
	testRunID = "0190b0a0-1111-7222-8333-444455556666"

	// splitConfig is what a deploy writes, wholeConfig what OpenMetadata's own client does.
	splitConfig = `
workflowConfig: {openMetadataServerConfig: {hostPort: "http://om:8585/api", securityConfig: {jwtToken: <from-secret>}}}
source: {serviceConnection: {config: {password: <from-secret>}}}
`
	splitSecret = `
/workflowConfig/openMetadataServerConfig/securityConfig/jwtToken: bot-token
/source/serviceConnection/config/password: hunter2
`
	wholeConfig = `
ingestionPipelineFQN: svc.nightly
pipelineRunId: ` + testRunID + `
workflowConfig:
  openMetadataServerConfig:
    hostPort: https://om:8585/api
    verifySSL: validate
    sslConfig: {caCertificate: /etc/ca.pem}
    securityConfig: {jwtToken: bot-token}
source: {serviceConnection: {config: {password: hunter2, port: 3306, options: [{apiKey: 31337}]}}}
`
)

func TestReadEnvironment(t *testing.T) {
	t.Parallel()
	all := []string{
		"config=" + splitConfig, "configSecret=" + splitSecret, "pipelineRunId=" + testRunID, "ingestionPipelineFQN=svc.nightly",
		"jobName=om-job-nightly-0190b0a0", "namespace=pipelines", "podName=p", "pipelineStatus=Failed", "terminationGracePeriodSeconds=90", "PATH=/bin",
	}
	cases := map[string]struct {
		reason  string
		environ []string
		check   func(t *testing.T, env *environment)
	}{
		"All": {
			reason: "what a deploy gives", environ: all,
			check: func(t *testing.T, env *environment) {
				t.Helper()
				assert.Equal(t, "svc.nightly", env.fqn)
				assert.Equal(t, testRunID, env.runID)
				assert.Equal(t, "om-job-nightly-0190b0a0", env.jobName)
				assert.Equal(t, "pipelines", env.namespace)
				assert.Equal(t, "p", env.podName)
				assert.Equal(t, "Failed", env.hint)
				assert.Equal(t, 90*time.Second, env.gracePeriod)
				assert.Equal(t, "http://om:8585/api", env.server.URL)
				assert.Equal(t, "bot-token", env.server.Token)
				assert.Contains(t, env.server.UserAgent, "a test")
				assert.Contains(t, env.secrets, "hunter2")
				assert.Contains(t, env.secrets, "bot-token")
				require.NoError(t, env.configProblem)
			},
		},
		"Variables": {
			reason:  "names that do not say it are told, and URLs hold passwords",
			environ: append(slices.Clone(all), "HOUSE=hunter-house", "DATABASE_URL=postgres://me:hunter%2Fdb@h/x", "MODE=fast-read", "secretVariables=HOUSE,OTHER"),
			check: func(t *testing.T, env *environment) {
				t.Helper()
				assert.Subset(t, env.secrets, []string{"hunter-house", "postgres://me:hunter%2Fdb@h/x", "hunter/db"})
				assert.NotContains(t, env.secrets, "fast-read")
			},
		},
		"ConfigurationOnly": {
			reason: "OpenMetadata's own client puts all into the configuration", environ: []string{"config=" + wholeConfig},
			check: func(t *testing.T, env *environment) {
				t.Helper()
				assert.Equal(t, "svc.nightly", env.fqn)
				assert.Equal(t, testRunID, env.runID)
				assert.Equal(t, "bot-token", env.server.Token)
				assert.Equal(t, omapi.VerifyValidate, env.server.VerifySSL)
				assert.Equal(t, "/etc/ca.pem", env.server.CACertificate)
				assert.ElementsMatch(t, []string{"bot-token", "hunter2", "31337"}, env.secrets, "a secret is one wherever it comes from")
				assert.Equal(t, defaultGracePeriod, env.gracePeriod)
				assert.Empty(t, env.jobName)
			},
		},
		"VariableWins": {
			reason:  "a retry of a schedule has the id of its own in the variable",
			environ: []string{"config=" + wholeConfig, "pipelineRunId=other", "ingestionPipelineFQN=svc.other"},
			check: func(t *testing.T, env *environment) {
				t.Helper()
				assert.Equal(t, "svc.other", env.fqn)
				assert.Equal(t, "other", env.runID)
			},
		},
		"GraceText":     {reason: "a bad number is no number", environ: append(slices.Clone(all), "terminationGracePeriodSeconds=soon"), check: checkDefaultGrace},
		"GraceZero":     {reason: "nobody reports in no time", environ: append(slices.Clone(all), "terminationGracePeriodSeconds=0"), check: checkDefaultGrace},
		"GraceNegative": {reason: "nobody reports in less than no time", environ: append(slices.Clone(all), "terminationGracePeriodSeconds=-5"), check: checkDefaultGrace},
		"SecretMissing": {
			reason: "without its secrets the configuration still leads to the server", environ: append(slices.Clone(all), "configSecret="),
			check: func(t *testing.T, env *environment) {
				t.Helper()
				assert.Equal(t, "http://om:8585/api", env.server.URL)
				require.ErrorIs(t, env.configProblem, workflow.ErrMissingSecret)
			},
		},
		"SecretBroken": {
			reason: "a broken Secret is told without its content", environ: append(slices.Clone(all), "configSecret=- hunter2"),
			check: func(t *testing.T, env *environment) {
				t.Helper()
				assert.Equal(t, "http://om:8585/api", env.server.URL)
				require.ErrorContains(t, env.configProblem, "variable configSecret")
				assert.NotContains(t, env.configProblem.Error(), "hunter2")
			},
		},
		"UnusableForTheWorkflow": {
			reason:  "the workflow refuses fields that it does not know; a report needs only the server",
			environ: []string{"config={nonsense: 1, source: 5, workflowConfig: {openMetadataServerConfig: {hostPort: 'http://om/api'}}}", "pipelineRunId=r", "ingestionPipelineFQN=svc.nightly"},
			check: func(t *testing.T, env *environment) {
				t.Helper()
				assert.Equal(t, "http://om/api", env.server.URL)
				assert.Empty(t, env.server.Token)
				assert.Empty(t, env.secrets)
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := readEnvironment(tc.environ, "a test")
			require.NoError(t, env.check(), tc.reason)
			tc.check(t, env)
		})
	}
}

func checkDefaultGrace(t *testing.T, env *environment) {
	t.Helper()
	assert.Equal(t, defaultGracePeriod, env.gracePeriod)
}

func TestReadEnvironmentRefuses(t *testing.T) {
	t.Parallel()
	const server = "config=workflowConfig: {openMetadataServerConfig: {hostPort: 'http://om/api'}}"
	cases := map[string]struct {
		reason  string
		environ []string
		want    []string
	}{
		"Nothing": {
			reason: "all that is missing is told at once",
			want: []string{
				"the pipeline is not known: ingestionPipelineFQN is not set", "the run is not known: pipelineRunId is not set",
				"the server is not known", "variable config: the workflow configuration is empty",
			},
		},
		"NoRun":      {reason: "a report is of a run", environ: []string{server, "ingestionPipelineFQN=a.b"}, want: []string{"the run is not known"}},
		"NoPipeline": {reason: "and of a pipeline", environ: []string{server, "pipelineRunId=r"}, want: []string{"the pipeline is not known"}},
		"NoServer":   {reason: "and for a server", environ: []string{"config={}", "pipelineRunId=r", "ingestionPipelineFQN=a.b"}, want: []string{"has no workflowConfig.openMetadataServerConfig.hostPort"}},
		"NotYAML":    {reason: "a broken configuration is told without its content", environ: []string{"config=[hunter2", "pipelineRunId=r", "ingestionPipelineFQN=a.b"}, want: []string{"variable config: the workflow configuration cannot be read"}},
		"Text":       {reason: "so is any text", environ: []string{"config=hunter2", "pipelineRunId=r", "ingestionPipelineFQN=a.b"}, want: []string{"variable config: the workflow configuration is not a YAML map"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := readEnvironment(tc.environ, "a test").check()
			for _, want := range tc.want {
				require.ErrorContains(t, err, want, tc.reason)
			}
			assert.NotContains(t, err.Error(), "hunter2", tc.reason)
		})
	}
}

func TestCommandEnvironment(t *testing.T) {
	t.Parallel()
	environ := []string{"PATH=/bin", "EQUALS=a=b=c", "EMPTY=", "config=" + splitConfig, "configSecret=" + splitSecret, "pipelineRunId=" + testRunID}
	got, err := commandEnvironment(environ)
	require.NoError(t, err)
	vars := variables(got)
	assert.Len(t, vars, 5, "all but the overlay")
	assert.Equal(t, "/bin", vars["PATH"])
	assert.Equal(t, "a=b=c", vars["EQUALS"])
	assert.Contains(t, vars, "EMPTY")
	assert.NotContains(t, vars, "configSecret")
	config, err := workflow.Parse(vars["config"])
	require.NoError(t, err)
	assert.Equal(t, "bot-token", workflow.Connection(config).Token)
	assert.NotContains(t, vars["config"], workflow.Placeholder)

	ordered := []string{"B=1", "A=1", "config=" + splitConfig, "B=2", "configSecret=" + splitSecret, "NOT A PAIR"}
	got, err = commandEnvironment(ordered)
	require.NoError(t, err)
	require.Len(t, got, 5)
	assert.Equal(t, []string{"B=1", "A=1", "config=" + vars["config"], "B=2", "NOT A PAIR"}, got, "the environment is the command's, as it came")

	for reason, environ := range map[string][]string{
		"a configuration that is whole goes through as it is":            {"config=" + wholeConfig},
		"one that is broken too: saying so is the workflow's own affair": {"config={{"},
		"and none": {"PATH=/bin"},
	} {
		got, err := commandEnvironment(environ)
		require.NoError(t, err, reason)
		assert.Equal(t, environ, got, reason)
	}

	_, err = commandEnvironment([]string{"config=" + strings.Replace(splitConfig, "password", "apiKey", 1), "configSecret=" + splitSecret})
	require.ErrorIs(t, err, workflow.ErrMissingSecret)
	require.ErrorContains(t, err, "/source/serviceConnection/config/apiKey; deploy the pipeline again")
	assert.NotContains(t, err.Error(), "hunter2")
}
