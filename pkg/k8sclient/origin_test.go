package k8sclient

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
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
