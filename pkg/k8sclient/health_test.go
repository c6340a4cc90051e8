package k8sclient

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

func refuseNamespace(_ *testing.T, w *world) {
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/namespaces/"+namespace) {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, namespace, errors.New(`User "me" cannot get resource "namespaces"`))
		}
		return nil
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	const account = "system:serviceaccount:pipelines:openmetadata-ingestion"
	cases := map[string]struct {
		reason string
		edit   func(*testing.T, *world)
		check  string
		state  string
		detail string
	}{
		"Permissions":    {reason: "all are there", check: "permission jobs", state: CheckOK, detail: "get, list, create, patch, delete, watch"},
		"Verb":           {reason: "one verb of one resource is missing, and named", edit: func(_ *testing.T, w *world) { w.kube.lacking = []string{"patch cronjobs"} }, check: "permission cronjobs", state: CheckFailed, detail: "not allowed: patch"},
		"Log":            {reason: "so it is of a subresource", edit: func(_ *testing.T, w *world) { w.kube.lacking = []string{"get pods/log"} }, check: "permission pods/log", state: CheckFailed, detail: "not allowed: get"},
		"Events":         {reason: "without events only less is known", edit: func(_ *testing.T, w *world) { w.kube.lacking = []string{"list events"} }, check: "permission events", state: CheckWarning, detail: "not allowed: list"},
		"Pods":           {reason: "the pods' own rights", check: "permissions of pods", state: CheckOK, detail: "openmetadata-ingestion"},
		"PodsLack":       {reason: "their reporters would see nothing", edit: func(_ *testing.T, w *world) { w.kube.lacking = []string{account + " list pods", account + " get jobs"} }, check: "permissions of pods", state: CheckFailed, detail: "may not: get jobs, list pods"},
		"PodsNoEvents":   {reason: "their reporters would only know less", edit: func(_ *testing.T, w *world) { w.kube.lacking = []string{account + " list events"} }, check: "permissions of pods", state: CheckWarning, detail: "may not: list events"},
		"PodsNotAllowed": {reason: "who may not ask is told how to", edit: refuseReviews, check: "permissions of pods", state: CheckWarning, detail: "cannot be asked"},
		"Account":        {reason: "no pod could start", check: "service account", state: CheckFailed, detail: "openmetadata-ingestion does not exist"},
		"AccountIsThere": {reason: "it is there", edit: addAccount, check: "service account", state: CheckOK, detail: "openmetadata-ingestion"},
		"Namespace":      {reason: "nothing could be made", edit: func(_ *testing.T, w *world) { w.client.config.Namespace = "nowhere" }, check: "namespace", state: CheckFailed, detail: "nowhere does not exist"},
		"Unreadable":     {reason: "a Role cannot allow to read it", edit: refuseNamespace, check: "namespace", state: CheckOK, detail: "which may not be read"},
		"Terminating":    {reason: "it can be read, and nothing can be made in it", edit: func(_ *testing.T, w *world) { w.kube.terminating = true }, check: "namespace", state: CheckFailed, detail: "is being deleted, so nothing can be created in it; Some resources are remaining"},
		"TerminatingUnreadable": {reason: "it may not be read, and what would be made is refused", edit: func(t *testing.T, w *world) {
			t.Helper()
			w.kube.terminating = true
			refuseNamespace(t, w)
		}, check: "namespace", state: CheckFailed, detail: "is being deleted"},
		"MovingImage": {reason: "it may not fit the server tomorrow", check: "ingestion image", state: CheckWarning, detail: "is whatever is newest"},
		"Image":       {reason: "it stays what it is", edit: func(_ *testing.T, w *world) { w.client.config.IngestionImage = "localhost:5000/a:1" }, check: "ingestion image", state: CheckOK},
		"NoSidecar":   {reason: "ends are seen later", edit: func(_ *testing.T, w *world) { w.client.config.Sidecar = SidecarNever }, check: "sidecar", state: CheckWarning, detail: "off by parameter"},
		"Token":       {reason: "the bot's", check: "openmetadata token", state: CheckOK, detail: "valid"},
		"Expired": {reason: "runs could report nothing", edit: func(t *testing.T, w *world) {
			t.Helper()
			w.client.om = w.om.ClientWith(t, w.om.TokenOf(t, admin.TokenExpired))
		}, check: "openmetadata token", state: CheckFailed, detail: "Expired token!"},
		"NoToken":         {reason: "a server that wants one", edit: func(t *testing.T, w *world) { t.Helper(); w.client.om = w.om.ClientWith(t, "") }, check: "openmetadata token", state: CheckFailed, detail: "answered 401"},
		"NoAuth":          {reason: "a server that wants none", edit: withoutAuth, check: "openmetadata token", state: CheckOK, detail: "none is asked for"},
		"CertificateOpen": {reason: "it is convenient for a try", edit: func(_ *testing.T, w *world) { w.client.config.VerifySSL = omapi.VerifyIgnore }, check: "openmetadata certificate", state: CheckWarning, detail: "is not checked"},
		"ServerAway": {reason: "it does not answer", edit: func(t *testing.T, w *world) {
			t.Helper()
			w.om.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: 503})
		}, check: "openmetadata", state: CheckFailed, detail: "answered 503"},
		"Admission":      {reason: "nothing is refused", check: "admission of pods", state: CheckOK, detail: "let in"},
		"PodSecurity":    {reason: "no run could start", edit: refusePods(http.StatusForbidden, `pods "x" is forbidden: violates PodSecurity "restricted:latest": seccompProfile`), check: "admission of pods", state: CheckFailed, detail: `violates PodSecurity "restricted:latest"`},
		"LimitRange":     {reason: "no run could start", edit: refusePods(http.StatusForbidden, `pods "x" is forbidden: minimum memory usage per Container is 128Mi, but request is 32Mi`), check: "admission of pods", state: CheckFailed, detail: "minimum memory usage"},
		"Quota":          {reason: "it passes when others have ended", edit: refusePods(http.StatusForbidden, `pods "x" is forbidden: exceeded quota: small`), check: "admission of pods", state: CheckWarning, detail: "exceeded quota"},
		"PodsForbidden":  {reason: "who may not create pods cannot try one", edit: refusePods(http.StatusForbidden, `pods is forbidden: User "x" cannot create resource "pods" in API group ""`), check: "admission of pods", state: CheckWarning, detail: "creating pods is not allowed"},
		"PodsLackCreate": {reason: "so it is known beforehand", edit: func(_ *testing.T, w *world) { w.kube.lacking = []string{"create pods"} }, check: "admission of pods", state: CheckWarning, detail: "creating pods is not allowed"},
		"NoDryRun":       {reason: "a webhook with effects is not tried", edit: refusePods(http.StatusBadRequest, `admission webhook "x" does not support dry run`), check: "admission of pods", state: CheckWarning, detail: "does not support dry run"},
		"AdmissionAway":  {reason: "what was not tried is not known", edit: refusePods(http.StatusServiceUnavailable, "the server is tired"), check: "admission of pods", state: CheckWarning, detail: "the server is tired"},
		"AdmissionOfJob": {reason: "Jobs are checked too", check: "admission of jobs", state: CheckOK, detail: "let in"},
		"NoServer":       {reason: "a server that embeds this may have none", edit: func(_ *testing.T, w *world) { w.client.om = nil }, check: "openmetadata", state: CheckFailed, detail: "no OpenMetadata server is configured"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.edit != nil {
				tc.edit(t, w)
			}
			health := w.client.Health(t.Context())
			var found []Check
			failed := false
			for _, check := range health.Checks {
				failed = failed || check.State == CheckFailed
				if check.Name == tc.check {
					found = append(found, check)
				}
			}
			require.Len(t, found, 1, "%v", health.Checks)
			assert.Equal(t, tc.state, found[0].State, "%s: %s", tc.reason, found[0].Detail)
			assert.Contains(t, found[0].Detail, tc.detail, tc.reason)
			assert.Equal(t, tc.state == CheckOK, found[0].Advice == "", "what to do is told")
			assert.Equal(t, !failed, health.Healthy)
		})
	}
}

func refusePods(code int32, message string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.client.transient.Duration = time.Millisecond
		w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
			if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/pods") || req.URL.Query().Get("dryRun") == "" {
				return nil
			}
			reasons := map[int32]metav1.StatusReason{http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusBadRequest: metav1.StatusReasonBadRequest, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable}
			return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reasons[code], Message: message}}
		})
	}
}

func refuseReviews(_ *testing.T, w *world) {
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if strings.HasSuffix(req.URL.Path, "localsubjectaccessreviews") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "localsubjectaccessreviews"}, "", errors.New("no"))
		}
		return nil
	})
}

func addAccount(t *testing.T, w *world) {
	t.Helper()
	w.kube.add(t, "kubectl", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "openmetadata-ingestion"}})
}

// withoutAuth has a server that takes all.
func withoutAuth(t *testing.T, w *world) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"version":"1.12.6","data":[]}`))
	}))
	t.Cleanup(server.Close)
	client, err := omapi.New(omapi.Config{URL: server.URL + "/api"})
	require.NoError(t, err)
	w.client.om = client
}

func TestHostIP(t *testing.T) {
	cases := map[string]struct {
		reason string
		edit   func(*Config)
		pod    bool
		want   string
	}{
		"Configured": {reason: "the user knows best", edit: func(c *Config) { c.HostIP = "192.0.2.1" }, pod: true, want: "192.0.2.1"},
		"NotAllowed": {reason: "it is not to be told, configured or not", edit: func(c *Config) { c.HostIP, c.IngestionIPInfoEnabled = "192.0.2.1", false }},
		"Pod":        {reason: "as OpenMetadata's own client says it in a pod", pod: true, want: "Pod: server-0 in namespace: pipelines"},
		"Outside":    {reason: "and elsewhere", want: "Kubernetes cluster - namespace: pipelines"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HOSTNAME", "server-0")
			t.Setenv("KUBERNETES_SERVICE_HOST", map[bool]string{true: "10.0.0.1"}[tc.pod])
			config := DefaultConfig()
			config.Namespace = namespace
			if tc.edit != nil {
				tc.edit(&config)
			}
			client, err := New(nil, nil, config)
			require.NoError(t, err)
			assert.Equal(t, tc.want, client.HostIP(), tc.reason)
		})
	}
}
