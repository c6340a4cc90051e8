package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// TestEmptyVariables: an empty variable or flag is as if it were not set.
func TestEmptyVariables(t *testing.T) {
	for _, name := range []string{"PIPELINECTL_CONFIG", "OPENMETADATA_CA", "OPENMETADATA_URL", "OPENMETADATA_TOKEN", "OPENMETADATA_HEADERS", "K8S_NAMESPACE", "K8S_RUN_AS_USER"} {
		t.Setenv(name, "")
	}
	got := execute("config")
	require.Equal(t, 0, got.code, got.errOut)
	want := got.out
	assert.NotContains(t, want, "variable ")
	for _, args := range [][]string{
		{"--config", ""}, {"--config="}, {"--kubeconfig", ""}, {"--kubeconfig="}, {"--context", ""}, {"-n", ""}, {"--namespace="}, {"--set", ""}, {"--set", "backoffLimit="},
		{"--openmetadata-url", ""}, {"--openmetadata-ca", ""}, {"--openmetadata-token="}, {"--openmetadata-header", ""}, {"--timeout", ""}, {"--timeout="}, {"-o", ""}, {"--output="},
	} {
		got := execute(append([]string{"config"}, args...)...)
		assert.Equal(t, 0, got.code, "%q: %s", args, got.errOut)
		assert.Equal(t, want, got.out, "%q", args)
	}
	got = execute("list", "--kubeconfig", "")
	assert.Contains(t, got.errOut, "no Kubernetes cluster is configured", "not the current folder")
	got = execute("list", "--kubeconfig", kubeconfig(t, refusing(apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "x"))), "--openmetadata-ca", "", "-l", "")
	assert.Equal(t, 0, got.code, got.errOut)
	got = execute("logs", "a.b", "--tail", "", "--attempt=", "--run", "")
	assert.Contains(t, got.errOut, "no Kubernetes cluster is configured", "numbers have their defaults")
	got = execute("delete", "--all", "", "--dry-run=")
	assert.NotContains(t, got.errOut, "deleted", "a flag without a value takes none")
}

// TestAddressWithoutAPI and with what files bring: commands and pods use the same.
func TestCleanedForPods(t *testing.T) {
	t.Parallel()
	om := omtest.Start(t, openmetadata.Options{})
	om.Pipeline(t, "svc", "nightly")
	address := om.URL[:len(om.URL)-len("/api")]
	for _, given := range []string{address, address + "/", om.URL + "/", " " + om.URL + "\n"} {
		got := execute("deploy", "svc.nightly", "--dry-run=client", "--kubeconfig", kubeconfig(t, http.NotFoundHandler()),
			"--openmetadata-url", given, "--openmetadata-token", om.Token+"\n", "--set", "ingestionImage=a:1", "--set", "sidecar=never")
		assert.Equal(t, 0, got.code, "%q: %s", given, got.errOut)
		got = execute("render", "-f", write(t, "a.yaml", goodPipeline+"---\nname: svc\nserviceType: Mysql\n"), "--show-secrets",
			"--openmetadata-url", given, "--openmetadata-token", om.Token+"\n", "--set", "ingestionImage=a:1")
		require.Equal(t, 0, got.code, got.errOut)
		assert.Contains(t, got.out, `"hostPort": "`+om.URL+`"`, "%q", given)
		assert.Contains(t, got.out, `"`+om.Token+`"`)
		assert.NotContains(t, got.out, om.Token+`\n`)
	}
}
