package harness

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
)

const space = "/api/v1/namespaces/demo"

// apiServer knows one namespace, and records what is written.
type apiServer struct {
	namespace *corev1.Namespace
	writes    []string
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if req.Method != http.MethodGet {
		s.writes = append(s.writes, req.Method+" "+req.URL.Path)
	}
	var answer any = &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess}
	switch req.Method {
	case http.MethodPost:
		s.namespace = new(corev1.Namespace)
		if err := json.NewDecoder(req.Body).Decode(s.namespace); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer = s.namespace
	case http.MethodDelete:
		if req.URL.Path == space {
			s.namespace = nil
		}
	case http.MethodPatch:
		answer = map[string]any{"apiVersion": "v1", "kind": "Any", "metadata": map[string]any{"name": "any"}}
	case http.MethodGet:
		answer = s.namespace
		if s.namespace == nil {
			missing := apierrors.NewNotFound(corev1.Resource("namespaces"), "demo").Status()
			answer = &missing
			w.WriteHeader(http.StatusNotFound)
		}
	}
	_ = json.NewEncoder(w).Encode(answer) //nolint:errchkjson // Kubernetes' types encode.
}

func newCluster(t *testing.T, s *apiServer) *Cluster {
	t.Helper()
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	config := &rest.Config{Host: listening.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	kube, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	root, err := repositoryRoot()
	require.NoError(t, err)
	return &Cluster{Config: config, Kube: kube, Root: root}
}

func TestNamespace(t *testing.T) {
	const roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/demo/"
	applied := []string{
		"PATCH " + space + "/serviceaccounts/openmetadata-ingestion",
		"PATCH " + roles + "roles/openmetadata-ingestion", "PATCH " + roles + "rolebindings/openmetadata-ingestion",
	}
	namespace := func(labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: labels},
		}
	}
	for _, tc := range []struct {
		name, reason string
		there        *corev1.Namespace
		answer       bool
		asked        int
		writes       []string
		err          string
		own          bool
	}{
		{name: "absent", reason: "it is made", writes: append([]string{"POST /api/v1/namespaces"}, applied...), own: true},
		{
			name: "ours", reason: "it is emptied", there: namespace(map[string]string{ownLabel: "true"}), own: true,
			writes: append([]string{"DELETE " + space + "/pods", "DELETE " + space, "POST /api/v1/namespaces"}, applied...),
		},
		{name: "foreign, yes", reason: "it is used as it is, with the roles that pods need", there: namespace(nil), answer: true, asked: 1, writes: applied},
		{name: "foreign, no", reason: "nothing is touched", there: namespace(nil), asked: 1, err: "is left alone"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := &apiServer{namespace: tc.there}
			c := newCluster(t, server)
			asked := 0
			err := c.Namespace(t.Context(), "demo", func(question string) bool {
				asked++
				assert.Contains(t, question, "demo")
				return tc.answer
			})
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.err)
			}
			assert.Equal(t, tc.writes, server.writes, tc.reason)
			assert.Equal(t, tc.asked, asked)
			own, err := c.Owns(t.Context(), "demo")
			require.NoError(t, err)
			assert.Equal(t, tc.own, own, "what is deleted next time without a question")
		})
	}
}

func TestCommandKeepsStandardError(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, script, err string
	}{
		"Succeeds": {reason: "warnings of one that succeeds are in no error", script: "echo warned >&2; echo done"},
		"Fails":    {reason: "the error has it too", script: "echo warned >&2; echo done; exit 3", err: "exit code 3: warned"},
	} {
		t.Run(name, func(t *testing.T) {
			var told bytes.Buffer
			out, err := (&Command{path: "/bin/sh", Stderr: &told}).Run(t.Context(), "-c", tc.script)
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.err, tc.reason)
			}
			assert.Equal(t, "done\n", out)
			assert.Equal(t, "warned\n", told.String(), tc.reason)
		})
	}
}

func TestRunStandInAgain(t *testing.T) {
	kube := fake.NewClientset()
	c := &Cluster{Kube: kube}
	require.NoError(t, c.runStandIn(t.Context(), "demo"))
	require.NoError(t, c.runStandIn(t.Context(), "demo"), "one of an earlier run is replaced")
	pods, err := kube.CoreV1().Pods("demo").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, pods.Items, 1)
}

func TestWhichCluster(t *testing.T) {
	t.Setenv("CLUSTER", "elsewhere")
	_, err := NewCluster(t.Context())
	require.ErrorContains(t, err, `"elsewhere": set it to local`)
}

func TestLoadTellsWhy(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("LOAD", "false because")
	c := &Cluster{}
	require.ErrorContains(t, c.Load(t.Context(), "light"), "make images IMAGES=light")
	require.NoError(t, os.MkdirAll(filepath.Join(cache, "pipelinectl", "images"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(cache, "pipelinectl", "images", "light.tar"), nil, 0o600))
	require.ErrorContains(t, c.Load(t.Context(), "light"), "false because: exit status 1")
}

func TestCommandsHaveParametersOfTheirOwn(t *testing.T) {
	c, dir := &Cluster{Root: t.TempDir()}, t.TempDir()
	one, err := c.NewCommand(&StandIn{}, dir, "demo", Parameters{IngestionImage: "one"})
	require.NoError(t, err)
	two, err := c.NewCommand(&StandIn{}, dir, "demo", Parameters{IngestionImage: "two"})
	require.NoError(t, err)
	for image, command := range map[string]*Command{"one": one, "two": two} {
		data, err := os.ReadFile(command.Config)
		require.NoError(t, err)
		assert.Contains(t, string(data), "ingestionImage: "+image)
		info, err := os.Stat(command.Config)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	_, err = one.Run(t.Context(), "version")
	require.ErrorContains(t, err, "make build")
}
