package k8sclient

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// TestRepairPermissions checks that RepairPermissions lists what the repairs of all problems together ask the API server for.
func TestRepairPermissions(t *testing.T) {
	t.Parallel()
	annotate := func(w *world, resource, name, annotation, value string) {
		w.kube.change(resource, name, func(o object) { o.GetAnnotations()[annotation] = value })
	}
	cases := map[string]struct {
		reason  string
		edit    func(*omapi.IngestionPipeline)
		spoil   func(t *testing.T, w *world)
		problem string
	}{
		"NoConfigMap": {
			reason: "what is left is removed", problem: incompleteConfigMap,
			spoil: func(_ *testing.T, w *world) { w.kube.remove("configmaps", "om-config-nightly") },
		},
		"Delete": {
			reason: "the delete is finished, and ends a run", problem: incompleteDelete,
			spoil: func(t *testing.T, w *world) {
				t.Helper()
				w.start(t)
				annotate(w, "configmaps", "om-config-nightly", identity.AnnotationDeleteRequested, "2026-01-02T03:04:05Z")
			},
		},
		"NoSecret": {
			reason: "the ConfigMap of a first deploy is removed", problem: incompleteSecret, edit: onDemand,
			spoil: func(_ *testing.T, w *world) { w.kube.remove("secrets", "om-secret-nightly") },
		},
		"Later": {
			reason: "the Secret is made that of the configuration in force", problem: incompleteLater,
			spoil: func(_ *testing.T, w *world) {
				annotate(w, "secrets", "om-secret-nightly", identity.AnnotationDeploy, "later")
			},
		},
		"Unwanted": {
			reason: "the CronJob is deleted", problem: incompleteUnwanted,
			spoil: func(_ *testing.T, w *world) {
				annotate(w, "configmaps", "om-config-nightly", identity.AnnotationSchedule, "")
			},
		},
		"OtherCronJob": {
			reason: "the CronJob of the deploy is applied", problem: incompleteCronJob,
			spoil: func(_ *testing.T, w *world) {
				annotate(w, "cronjobs", "om-cronjob-nightly", identity.AnnotationDeploy, "earlier")
			},
		},
		"NoCronJob": {
			reason: "the CronJob is made, and waits for its start", problem: incompleteNoCronJob,
			edit:  func(p *omapi.IngestionPipeline) { p.AirflowConfig.StartDate = "2099-01-01" },
			spoil: func(_ *testing.T, w *world) { w.kube.remove("cronjobs", "om-cronjob-nightly") },
		},
	}
	var (
		mu    sync.Mutex
		asked = map[string]bool{}
	)
	for name, tc := range cases { // No subtests, as what they ask for together is compared.
		w := newWorld(t, func(p *omapi.IngestionPipeline) {
			if tc.edit != nil {
				tc.edit(p)
			}
		})
		tc.spoil(t, w)
		all, err := w.client.allParts(t.Context())
		require.NoError(t, err)
		require.Contains(t, all, testFQN, name)
		require.Equal(t, tc.problem, all[testFQN].problem(), name)
		w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
			mu.Lock()
			defer mu.Unlock()
			for _, permission := range requestPermissions(w.kube, req) {
				asked[permission] = true
			}
			return nil
		})
		repairer := w.client.NewRepairer(slog.New(slog.DiscardHandler), time.Nanosecond)
		for range 3 { // It sees it, acts, and sees that all is well.
			require.NoError(t, repairer.Look(t.Context()), name)
		}
		w.kube.intercept(nil)
		all, err = w.client.allParts(t.Context())
		require.NoError(t, err)
		if p := all[testFQN]; p != nil {
			assert.Empty(t, p.problem(), "%s: %s", name, tc.reason)
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(asked)), RepairPermissions())
}

// requestPermissions are what a request takes, as RepairPermissions writes it. An apply of an object that does not exist takes
// the permission to create it too.
func requestPermissions(server *apiServer, req *http.Request) []string {
	before, path, _ := strings.Cut(req.URL.Path, "/namespaces/"+namespace+"/")
	if path == "" { // The version, or the namespace itself.
		return nil
	}
	parts := strings.Split(path, "/")
	resource := parts[0]
	if len(parts) == 3 {
		resource += "/" + parts[2]
	}
	if strings.HasPrefix(before, "/apis/"+batchv1.GroupName+"/") {
		resource += " " + batchv1.GroupName
	}
	verbs := map[string]string{http.MethodGet: verbGet, http.MethodPost: verbCreate, http.MethodPatch: verbPatch, http.MethodPut: "update", http.MethodDelete: verbDelete}
	verb := verbs[req.Method]
	switch {
	case req.Method == http.MethodGet && len(parts) == 1 && req.URL.Query().Get("watch") != "":
		verb = verbWatch
	case req.Method == http.MethodGet && len(parts) == 1:
		verb = verbList
	}
	out := []string{verb + " " + resource}
	if req.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType) && server.get(parts[0], parts[1]) == nil {
		out = append(out, verbCreate+" "+resource)
	}
	return out
}
