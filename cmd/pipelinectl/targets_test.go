package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

// deployedPipelines is an API server that has pipelines svc.a and svc.b, on demand, and takes no writes.
func deployedPipelines(t *testing.T) http.Handler {
	t.Helper()
	configMap := func(name string) map[string]any {
		return map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": "om-config-" + name, "annotations": map[string]string{"pipelines.openmetadata.org/fqn": "svc." + name}},
			"data":     map[string]string{"pipeline": `{"name":"` + name + `","fullyQualifiedName":"svc.` + name + `","pipelineType":"metadata"}`},
		}
	}
	secret := func(name string) map[string]any {
		return map[string]any{
			"apiVersion": "v1", "kind": "Secret",
			"metadata": map[string]any{"name": "om-secret-" + name, "annotations": map[string]string{"pipelines.openmetadata.org/fqn": "svc." + name}},
		}
	}
	lists := map[string]map[string]any{
		"configmaps": {"apiVersion": "v1", "kind": "ConfigMapList", "items": []any{configMap("a"), configMap("b")}},
		"cronjobs":   {"apiVersion": "batch/v1", "kind": "CronJobList", "items": []any{}},
		"secrets":    {"apiVersion": "v1", "kind": "SecretList", "items": []any{secret("a"), secret("b")}},
		"jobs":       {"apiVersion": "batch/v1", "kind": "JobList", "items": []any{}},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		assert.Equal(t, http.MethodGet, req.Method, "%s is a write", req.URL)
		last := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
		answer := lists[last]
		if name, ok := strings.CutPrefix(last, "om-config-"); ok && (name == "a" || name == "b") {
			answer = configMap(name)
		}
		if name, ok := strings.CutPrefix(last, "om-secret-"); ok && (name == "a" || name == "b") {
			answer = secret(name)
		}
		if answer == nil {
			refusing(apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, last)).ServeHTTP(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		assert.NoError(t, json.NewEncoder(w).Encode(answer))
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	base := []string{"--kubeconfig", kubeconfig(t, deployedPipelines(t)), "--openmetadata-url", "http://om.invalid/api", "--set", "ingestionImage=a:1", "--dry-run=client"}
	for command, done := range map[string]string{
		"delete": "deleted", "run": "started", "kill": "killed, where it runs", "enable": "enabled", "disable": "disabled", "toggle": "toggled",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			got := execute(append([]string{command, "--all"}, base...)...)
			require.Equal(t, 0, got.code, got.errOut)
			assert.Equal(t, "pipeline svc.a "+done+" (client dry run)\npipeline svc.b "+done+" (client dry run)\n", got.out)
			got = execute(append([]string{command, "svc.a", "svc.nowhere"}, base...)...)
			assert.Equal(t, exitError, got.code)
			assert.Contains(t, got.errOut, "the pipeline is not deployed: svc.nowhere")
		})
	}
}

// TestMistypedName: who has the name nearly right is told it.
func TestMistypedName(t *testing.T) {
	t.Parallel()
	kube := kubeconfig(t, deployedPipelines(t))
	for name, tc := range map[string]struct{ reason, given, want string }{
		"Letter":  {reason: "a letter is wrong", given: "scv.a", want: "not deployed: scv.a in namespace openmetadata-pipelines; did you mean svc.a? Else deploy it first: pipelinectl deploy -f FILE"},
		"Own":     {reason: "its service is left out", given: "b", want: "did you mean svc.b?"},
		"Case":    {reason: "names have cases", given: "SVC.B", want: "did you mean svc.b?"},
		"Service": {reason: "a service may have several", given: "svc", want: "did you mean svc.a or svc.b?"},
		"Sibling": {reason: "a pipeline that is spelt nearly so may still be another", given: "svc.c", want: "Else deploy it first"},
		"Other":   {reason: "it is another one", given: "svc.nowhere", want: "openmetadata-pipelines; deploy it first: pipelinectl deploy -f FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute("status", tc.given, "--openmetadata-url", "http://om.invalid/api", "--kubeconfig", kube)
			assert.Equal(t, exitError, got.code, tc.reason)
			assert.Contains(t, got.errOut, tc.want, tc.reason)
		})
	}
}

// TestDeleteThatFails: what is still there is not said to be deleted.
func TestDeleteThatFails(t *testing.T) {
	t.Parallel()
	forbidden := refusing(apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x", errors.New(`User "me" cannot delete resource "configmaps"`)))
	for name, tc := range map[string]struct {
		reason  string
		failing string
		want    string
		inPart  bool
	}{
		"AtTheEnd":  {reason: "what is gone is named", failing: "om-config-a", inPart: true, want: "pipeline svc.a is deleted in part, removed: Secret/om-secret-a; then: cannot delete ConfigMap om-config-a"},
		"AtTheHead": {reason: "nothing is gone", failing: "om-secret-a", want: "cannot delete Secret om-secret-a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reads := deployedPipelines(t)
			for _, output := range []string{"table", "name"} {
				var gone sync.Map
				kube := kubeconfig(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					_, missing := gone.Load(req.URL.Path)
					switch {
					case missing:
						refusing(apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, "x")).ServeHTTP(w, req)
					case req.Method == http.MethodPatch:
						assert.True(t, strings.HasSuffix(req.URL.Path, "/om-config-a"), "it says that it is being deleted")
						fallthrough
					case req.Method == http.MethodGet:
						reads.ServeHTTP(w, httptest.NewRequestWithContext(req.Context(), http.MethodGet, req.URL.String(), nil))
					case strings.HasSuffix(req.URL.Path, tc.failing):
						forbidden.ServeHTTP(w, req)
					default:
						gone.Store(req.URL.Path, true)
						w.Header().Set("Content-Type", "application/json")
						fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
					}
				}))
				got := execute("delete", "svc.a", "--openmetadata-url", "http://om.invalid/api", "--kubeconfig", kube, "-o", output)
				assert.Equal(t, exitAuth, got.code, got.errOut)
				assert.Empty(t, got.out, tc.reason)
				assert.Contains(t, got.errOut, tc.want, tc.reason)
				assert.Equal(t, tc.inPart, strings.Contains(got.errOut, "in part"), tc.reason)
			}
		})
	}
}

func TestStatusOfSeveral(t *testing.T) {
	t.Parallel()
	// No address of OpenMetadata: what Kubernetes knows is shown.
	base := []string{"--kubeconfig", kubeconfig(t, deployedPipelines(t))}
	got := execute(append([]string{"status", "-l", "app.kubernetes.io/component=ingestion", "-o", "json"}, base...)...)
	require.Equal(t, 0, got.code, got.errOut)
	var list []k8sclient.PipelineStatus
	require.NoError(t, json.Unmarshal([]byte(got.out), &list))
	assert.Len(t, list, 2)
	assert.Contains(t, got.errOut, "warning: pipeline svc.b: what Kubernetes knows is shown, without OpenMetadata's records")

	got = execute(append([]string{"status", "svc.a", "-o", "json"}, base...)...)
	require.Equal(t, 0, got.code, got.errOut)
	var one k8sclient.PipelineStatus
	require.NoError(t, json.Unmarshal([]byte(got.out), &one), "of one that is named it is no list")
	assert.Equal(t, "svc.a", one.FQN)

	got = execute(append([]string{"status", "svc.a", "svc.b"}, base...)...)
	require.Equal(t, 0, got.code, got.errOut)
	const a = "Pipeline:  svc.a\nSchedule:  on demand\nRuns:      none\n"
	assert.Equal(t, a+"\n"+strings.Replace(a, "svc.a", "svc.b", 1), got.out, "a blank line is between two")
}
