package k8sclient

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// rootCAOf is the ConfigMap that Kubernetes keeps in each namespace.
func rootCAOf(uid types.UID) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: rootCA, UID: uid}}
}

func TestRunIDTellsTheNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.kube.add(t, "root-ca-cert-publisher", rootCAOf("uid-here"))
	first, _ := w.start(t)
	second, _ := w.start(t)
	for _, run := range []*RunResult{first, second} {
		assert.Equal(t, identity.OriginOf("uid-here"), identity.OriginOfRun(run.RunID))
	}
	assert.NotEqual(t, first.RunID, second.RunID)
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	refused := func(resource, name string) *apierrors.StatusError {
		return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, name, errors.New(`User "x" cannot get resource "`+resource+`"`))
	}
	cases := map[string]struct {
		reason string
		there  bool
		// configMap and namespace are how these are answered; nil is as they are.
		configMap, namespace *apierrors.StatusError
		want                 identity.Origin
		isErr                bool
	}{
		"ConfigMap": {reason: "it has a UID of its own in each namespace of each cluster", there: true, want: identity.OriginOf("uid-here")},
		"Nowhere":   {reason: "a cluster without it, and no namespace that could be read", namespace: refused("namespaces", namespace)},
		"Refused":   {reason: "who may read neither runs pipelines all the same", there: true, configMap: refused("configmaps", rootCA), namespace: refused("namespaces", namespace)},
		"Broken":    {reason: "an error is told, to whoever wants to know", there: true, configMap: apierrors.NewInternalError(errors.New("etcd")), isErr: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.there {
				w.kube.add(t, "root-ca-cert-publisher", rootCAOf("uid-here"))
			}
			w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
				switch {
				case strings.HasSuffix(req.URL.Path, "/configmaps/"+rootCA):
					return tc.configMap
				case strings.HasSuffix(req.URL.Path, "/namespaces/"+namespace):
					return tc.namespace
				default:
					return nil
				}
			})
			got, err := w.client.Origin(t.Context())
			assert.Equal(t, tc.isErr, err != nil, "%v", err)
			assert.Equal(t, tc.want, got, tc.reason)
			run, _ := w.start(t)
			require.NoError(t, uuid.Validate(run.RunID), "a run does not fail for it")
			assert.Equal(t, tc.want, identity.OriginOfRun(run.RunID), tc.reason)
		})
	}
}

// TestStatusOfRunsOfOtherPlaces: a pipeline may be run in several places of one server.
func TestStatusOfRunsOfOtherPlaces(t *testing.T) {
	t.Parallel()
	here, there := identity.OriginOf("uid-here"), identity.OriginOf("uid-there")
	remembered, airflow := uuid.NewString(), uuid.NewString()
	cases := map[string]struct {
		reason    string
		id        string
		state     omapi.PipelineState
		young     bool
		ledger    identity.Origin
		elsewhere bool
		cause     string
	}{
		"Own":        {reason: "its id tells", id: identity.NewRunID(here), cause: "its Job is gone: pipelinectl serve ends it"},
		"Other":      {reason: "its id tells that", id: identity.NewRunID(there), elsewhere: true, cause: "not a run of this namespace, or not known to be"},
		"Airflow":    {reason: "its id tells nothing", id: airflow, elsewhere: true, cause: "not a run of this namespace, or not known to be"},
		"Remembered": {reason: "serve has seen it here", id: remembered, ledger: here, cause: "its Job is gone: pipelinectl serve ends it"},
		"Copied":     {reason: "another cluster's serve has seen it there", id: remembered, ledger: there, elsewhere: true, cause: "not a run of this namespace, or not known to be"},
		"Young":      {reason: "its Job is about to be made", id: airflow, young: true},
		"Ended":      {reason: "it does not matter any more", id: airflow, state: omapi.StateSuccess},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.kube.add(t, "root-ca-cert-publisher", rootCAOf("uid-here"))
			if tc.ledger != "" {
				w.kube.add(t, "serve", &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: identity.LedgerName, Annotations: map[string]string{identity.AnnotationOrigin: string(tc.ledger)}},
					Data:       map[string]string{tc.id: testFQN},
				})
			}
			record := &omapi.PipelineStatus{RunID: tc.id, State: cmp.Or(tc.state, omapi.StateRunning), Timestamp: testTimestamp, StartDate: testTimestamp}
			if tc.young {
				record.Timestamp = time.Now().UnixMilli()
			}
			require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, record))
			status, err := w.client.Status(t.Context(), testFQN)
			require.NoError(t, err)
			require.Len(t, status.Runs, 1)
			assert.Equal(t, tc.elsewhere, status.Runs[0].Elsewhere, tc.reason)
			assert.Contains(t, status.Runs[0].Cause, tc.cause, tc.reason)
			assert.Equal(t, tc.cause == "", status.Runs[0].Cause == "", tc.reason)
		})
	}
}
