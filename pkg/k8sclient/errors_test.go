package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestHints(t *testing.T) {
	t.Parallel()
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	noNamespace := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "data")
	noNamespace.ErrStatus.Details.Kind = "namespaces"
	terminating := apierrors.NewForbidden(jobs, "x", errors.New("because it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	cases := map[string]struct {
		reason string
		err    error
		want   string
		denied bool
	}{
		"Unauthorized":    {reason: "401", err: apierrors.NewUnauthorized("no"), want: "log in to the cluster again", denied: true},
		"RBAC":            {reason: "403 of the authorizer", err: apierrors.NewForbidden(jobs, "x", errors.New(`User "system:serviceaccount:a:b" cannot create resource "jobs" in API group "batch" in the namespace "data"`)), want: "ask for a Role that allows it", denied: true},
		"Quota":           {reason: "403 of a quota: no Role would help", err: apierrors.NewForbidden(jobs, "x", errors.New("exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: count/jobs.batch=1")), want: "a quota or an admission policy"},
		"PodSecurity":     {reason: "403 of a policy", err: apierrors.NewForbidden(jobs, "x", errors.New(`violates PodSecurity "restricted:latest": seccompProfile`)), want: "a quota or an admission policy"},
		"Webhook":         {reason: "403 of a policy", err: apierrors.NewForbidden(jobs, "x", errors.New(`admission webhook "kyverno" denied the request`)), want: "a quota or an admission policy"},
		"Namespace":       {reason: "404 of the namespace", err: noNamespace, want: "kubectl create namespace data"},
		"NotFound":        {reason: "404 of an object", err: apierrors.NewNotFound(jobs, "x"), want: "check the namespace and the name: pipelinectl list -n data"},
		"Conflict":        {reason: "409", err: apierrors.NewConflict(jobs, "x", errors.New("changed")), want: "somebody else has changed it"},
		"AlreadyExists":   {reason: "409", err: apierrors.NewAlreadyExists(jobs, "x"), want: "somebody else has changed it"},
		"Invalid":         {reason: "422", err: apierrors.NewInvalid(schema.GroupKind{Kind: "Job"}, "x", nil), want: "look for the parameter that the message names"},
		"BadRequest":      {reason: "400", err: apierrors.NewBadRequest("no"), want: "look for the parameter that the message names"},
		"TooManyRequests": {reason: "429", err: apierrors.NewTooManyRequests("no", 1), want: "the API server limits requests"},
		"NoAnswer":        {reason: "no status at all", err: &url.Error{Op: "Get", URL: "https://k", Err: errors.New("connection refused")}, want: "check that the API server is reachable"},
		"BrokenOff":       {reason: "half an answer", err: fmt.Errorf("read the body: %w", io.ErrUnexpectedEOF), want: "check that the API server is reachable"},
		"Credentials":     {reason: "the server was not even asked", err: &url.Error{Op: "Get", URL: "https://k", Err: errors.New("getting credentials: exec: exit code 1")}, want: "check the user of the kubeconfig"},
		"Terminating":     {reason: "the namespace goes", err: terminating, want: "the namespace is being deleted"},
		"Own":             {reason: "no API was asked", err: errors.New("the object is larger than 1 MiB")},
		"Deadline":        {reason: "the command's own", err: context.DeadlineExceeded},
		"Cancelled":       {reason: "the person's own", err: &url.Error{Op: "Get", URL: "https://k", Err: context.Canceled}},
		"ServerError":     {reason: "nothing is known to do", err: apierrors.NewInternalError(errors.New("etcd is away"))},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := &Error{Op: "create Job x", Namespace: "data", Err: tc.err}
			assert.Contains(t, err.Error(), "cannot create Job x in namespace data: ")
			assert.Equal(t, tc.want != "", err.hint() != "", tc.reason)
			assert.Contains(t, err.hint(), tc.want, tc.reason)
			assert.Equal(t, tc.denied, IsNotAllowed(err), tc.reason)
			assert.Equal(t, tc.denied, IsNotAllowed(fmt.Errorf("run x: %w", err)), tc.reason)
		})
	}
}
