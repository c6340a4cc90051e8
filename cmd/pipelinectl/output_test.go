package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/golden"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		args   []string
		file   string
		// warnings are on standard error, so that what is on standard output can be read by a program.
		warnings []string
	}{
		"Text": {
			reason: "the defaults", args: []string{"config"}, file: "config.txt",
			warnings: []string{"warning: ingestionImage: docker.getcollate.io/openmetadata/ingestion:latest is whatever is newest"},
		},
		"Flags": {
			reason: "where a value comes from is told, and no secret",
			args: []string{
				"config", "-n", "data", "--set", "ingestionImage=openmetadata/ingestion:1.12.6", "--set", "extraEnvVars=PASSWORD:hunter2", "--set", "startingDeadlineSeconds=0",
				"--set", "resources.limits.memory=8Gi", "--set", "nodeSelector=disk=ssd,zone=a", "--set", "runAsUser=null",
			},
			file: "config-flags.txt", warnings: []string{"warning: startingDeadlineSeconds: 0 means no catch-up, but a CronJob with 0 never fires; 60 is used"},
		},
		"JSON": {reason: "for programs", args: []string{"config", "-o", "json", "--set", "ingestionImage=a:1"}, file: "config.json"},
		"YAML": {reason: "for programs and people", args: []string{"config", "-o", "yaml", "--set", "ingestionImage=a:1"}, file: "config.yaml"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(tc.args...)
			require.Equal(t, 0, got.code, got.errOut)
			golden.Assert(t, tc.file, got.out)
			for _, warning := range tc.warnings {
				assert.Contains(t, got.errOut, warning, tc.reason)
			}
			if len(tc.warnings) == 0 {
				assert.Empty(t, got.errOut, tc.reason)
			}
			assert.NotContains(t, got.out+got.errOut, "hunter2")
		})
	}
}

func TestConfigOfAllSources(t *testing.T) {
	file := write(t, "parameters.yaml", "namespace: file\nbackoffLimit: 1\nserviceAccountName: file\nuseOMJobOperator: true\ningestionImage: a:1\n")
	t.Setenv("PIPELINECTL_CONFIG", file)
	t.Setenv("K8S_NAMESPACE", "variable")
	t.Setenv("K8S_BACKOFF_LIMIT", "2")
	got := execute("config", "-n", "flag", "-o", "json")
	require.Equal(t, 0, got.code, got.errOut)
	assert.Contains(t, got.errOut, "warning: useOMJobOperator: ignored; there is no operator here")
	var settings []k8sclient.Setting
	require.NoError(t, json.Unmarshal([]byte(got.out), &settings))
	found := map[string]k8sclient.Setting{}
	for _, setting := range settings {
		found[setting.Name] = setting
	}
	assert.Equal(t, k8sclient.Setting{Name: "namespace", Value: "flag", Source: "flag"}, found["namespace"])
	assert.Equal(t, k8sclient.Setting{Name: "backoffLimit", Value: 2.0, Source: "variable K8S_BACKOFF_LIMIT"}, found["backoffLimit"])
	assert.Equal(t, k8sclient.Setting{Name: "serviceAccountName", Value: "file", Source: "file " + file}, found["serviceAccountName"])
}

func TestStatusText(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	runs := []k8sclient.RunStatus{
		{RunID: "0190b0a0-1111-7222-8333-444455556666", State: omapi.StateRunning, Started: begun.Add(time.Hour), JobName: "om-job-nightly-0190b0a0", Job: "Active"},
		{RunID: "0190b0a0-1111-7222-8333-444455556667", State: omapi.StateFailed, Started: begun, Ended: begun.Add(90*time.Second + 123*time.Millisecond), Cause: "OOMKilled: too much\nmore lines"},
		{RunID: "0190b0a0-1111-7222-8333-444455556668", State: omapi.StateSuccess, Started: begun.Add(-time.Hour).In(time.FixedZone("x", 3600)), Ended: begun},
	}
	cases := map[string]struct {
		status k8sclient.PipelineStatus
		file   string
	}{
		"OnDemand":  {k8sclient.PipelineStatus{FQN: "svc.nightly"}, "status-on-demand.txt"},
		"Scheduled": {k8sclient.PipelineStatus{FQN: "svc.nightly", Schedule: "0 3 * * *", Runs: runs}, "status-scheduled.txt"},
		"Suspended": {k8sclient.PipelineStatus{FQN: "svc.nightly", Schedule: "0 3 * * *", Suspended: true}, "status-suspended.txt"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden.Assert(t, tc.file, statusText(&tc.status, false)+"\n")
			golden.Assert(t, strings.TrimSuffix(tc.file, ".txt")+"-wide.txt", statusText(&tc.status, true)+"\n")
		})
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	result := k8sclient.RunResult{FQN: "svc.nightly", RunID: "r", JobName: "j"}
	all := view{data: result, text: "for people", wide: "for people with wide screens", names: []string{"r", "s"}}
	cases := map[string]struct {
		reason string
		view   view
		want   string
	}{
		"table": {reason: "for people", view: all, want: "for people\n"},
		"wide":  {reason: "with more columns", view: all, want: "for people with wide screens\n"},
		"name":  {reason: "for xargs", view: all, want: "r\ns\n"},
		"json":  {reason: "for programs", view: all, want: "{\n  \"fullyQualifiedName\": \"svc.nightly\",\n  \"runId\": \"r\",\n  \"jobName\": \"j\"\n}\n"},
		"yaml":  {reason: "for both", view: all, want: "---\nfullyQualifiedName: svc.nightly\njobName: j\nrunId: r\n"},
	}
	for format, tc := range cases {
		var out bytes.Buffer
		require.NoError(t, streams{out: &out}.print(outputFlag{Output: format}, tc.view))
		assert.Equal(t, tc.want, out.String(), tc.reason)
		require.ErrorIs(t, streams{out: closed{}}.print(outputFlag{Output: format}, tc.view), errClosed, "a full disk or a closed pipe is told")
	}
	var out bytes.Buffer
	require.NoError(t, streams{out: &out}.print(outputFlag{Output: "wide"}, view{text: "for people"}))
	assert.Equal(t, "for people\n", out.String(), "a result may have no wide form")
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := table([]string{"A", "B"}, []string{"", "two\nlines\tand more"}, []string{"long cell", ""})
	assert.Equal(t, "A           B\n-           two lines and more\nlong cell   -", got)
}

func TestCommandName(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"/usr/bin/pipelinectl": "pipelinectl", "kubectl-pipeline": "kubectl pipeline", "/tmp/x.test": "pipelinectl"} {
		assert.Equal(t, want, commandName(file))
	}
}

func TestAsCalled(t *testing.T) {
	t.Parallel()
	const text = "pipelinectl: x is not deployed: pipelinectl deploy -f FILE; image pipelinectl.local/x:1"
	assert.Equal(t, text, asCalled("pipelinectl", text))
	assert.Equal(t, "kubectl pipeline: x is not deployed: kubectl pipeline deploy -f FILE; image pipelinectl.local/x:1", asCalled("kubectl pipeline", text), "as a plugin it has another name")
}

type closed struct{}

var errClosed = errors.New("closed")

func (closed) Write([]byte) (int, error) { return 0, errClosed }

func TestWindowText(t *testing.T) {
	t.Parallel()
	date := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	for want, tc := range map[string]struct {
		from, to time.Time
		disabled bool
	}{
		"@daily":                                        {},
		"@daily (disabled)":                             {from: date(2001), to: date(2099), disabled: true},
		"@daily (from 2099-01-01T00:00:00Z)":            {from: date(2099)},
		"@daily (ended 2001-01-01T00:00:00Z)":           {to: date(2001), disabled: true},
		"@daily (disabled) (from 2099-01-01T00:00:00Z)": {from: date(2099), disabled: true},
	} {
		assert.Equal(t, want, windowText(scheduleText("@daily", tc.disabled), tc.from, tc.to))
	}
}
