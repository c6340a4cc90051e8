// Package deploy checks that the Roles allow what the programs ask for, and nothing else.
package deploy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/reconcile"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

const (
	namespace = "pipelines"
	hang      = 20 * time.Second
)

// objects are those of all files that kustomization.yaml names.
func objects(t *testing.T) []runtime.Object {
	t.Helper()
	var kustomization struct {
		Resources []string `json:"resources"`
	}
	data, err := os.ReadFile("kustomization.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &kustomization))
	files, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	assert.Len(t, kustomization.Resources, len(files)-1, "every other file is applied")
	var out []runtime.Object
	for _, file := range kustomization.Resources {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
			require.NoError(t, err, "%s:\n%s", file, document)
			out = append(out, object)
		}
	}
	return out
}

// allowed is what a Role allows, such as "get pods/log".
func allowed(t *testing.T, name string) []string {
	t.Helper()
	var out []string
	for _, object := range objects(t) {
		role, ok := object.(*rbacv1.Role)
		if !ok || role.Name != name {
			continue
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						out = append(out, permission(verb, group, resource, ""))
					}
				}
			}
		}
	}
	require.NotEmpty(t, out, "Role %s", name)
	return out
}

func permission(verb, group, resource, subresource string) string {
	if subresource != "" {
		resource += "/" + subresource
	}
	return strings.TrimSpace(verb + " " + resource + " " + group)
}

// asked collects what a program asks for.
type asked struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (a *asked) add(permission string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil {
		a.seen = map[string]bool{}
	}
	a.seen[permission] = true
}

func (a *asked) attributes(attributes *authorizationv1.ResourceAttributes) {
	a.add(permission(attributes.Verb, attributes.Group, attributes.Resource, attributes.Subresource))
}

func (a *asked) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.seen))
}

func client(t *testing.T, kube kubernetes.Interface, om *omtest.Server) *k8sclient.Client {
	t.Helper()
	config := k8sclient.DefaultConfig()
	config.Namespace = namespace
	c, err := k8sclient.New(kube, om.Client(t), config)
	require.NoError(t, err)
	return c
}

// reviews is an API server that is asked what is allowed, and knows nothing else.
func reviews(t *testing.T) (kubernetes.Interface, *asked) {
	t.Helper()
	var asked asked
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review authorizationv1.SelfSubjectAccessReview // The others have its attributes too.
		if json.NewDecoder(req.Body).Decode(&review) != nil || review.Spec.ResourceAttributes == nil {
			http.NotFound(w, req)
			return
		}
		asked.attributes(review.Spec.ResourceAttributes)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}})
	require.NoError(t, err)
	return kube, &asked
}

// TestClientRole: what pipelinectl health asks for is what the package's operations need.
func TestClientRole(t *testing.T) {
	t.Parallel()
	kube, asked := reviews(t)
	client(t, kube, omtest.Start(t, openmetadata.Options{})).Health(t.Context())
	assert.ElementsMatch(t, asked.all(), allowed(t, "pipelinectl"))
}

// TestIngestionRole: what pipelinectl diagnose --hooks asks about is what the reporters in a pod need.
func TestIngestionRole(t *testing.T) {
	t.Parallel()
	kube, asked := reviews(t)
	client(t, kube, omtest.Start(t, openmetadata.Options{})).Hooks(t.Context(), &diagnostics.Run{Job: &batchv1.Job{}})
	assert.ElementsMatch(t, asked.all(), allowed(t, "openmetadata-ingestion"))
}

// reader reads by the clientset, which remembers what it was asked.
type reader struct{ kube *fake.Clientset }

func (r reader) Job(ctx context.Context, name string) (*batchv1.Job, error) {
	return r.kube.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (r reader) Pod(ctx context.Context, name string) (*corev1.Pod, error) {
	return r.kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (r reader) WatchPod(context.Context, string, func(*corev1.Pod) bool) error { return io.EOF }

func (r reader) Pods(ctx context.Context, selector string) ([]corev1.Pod, error) {
	list, err := r.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	return list.Items, err
}

func (r reader) Log(ctx context.Context, pod string, options *corev1.PodLogOptions) (io.ReadCloser, error) {
	return r.kube.CoreV1().Pods(namespace).GetLogs(pod, options).Stream(ctx)
}

func (r reader) Events(ctx context.Context, _, _ string) ([]corev1.Event, error) {
	list, err := r.kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	return list.Items, err
}

// TestServeRole: one run that failed, of a kind whose runs have Secrets of their own, one that is lost, one that goes on and has
// no record, one that was stopped and whose Job is suspended, and two that have ended in pods that a container which is not theirs
// keeps running.
func TestServeRole(t *testing.T) {
	t.Parallel()
	om := omtest.Start(t, openmetadata.Options{})
	fqn := om.Pipeline(t, "svc", "nightly")
	const here = identity.Origin("0123456789ab")
	ended, lost := uuid.NewString(), identity.NewRunID(here)
	require.NoError(t, om.Client(t).PutStatus(t.Context(), fqn, &omapi.PipelineStatus{RunID: lost, State: omapi.StateRunning, Timestamp: 1_700_000_000_000}))
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Name: name, Namespace: namespace, UID: "uid", Annotations: map[string]string{identity.AnnotationFQN: fqn},
			Labels: map[string]string{identity.LabelPipeline: "nightly", identity.LabelRunID: ended, batchv1.JobNameLabel: "job", batchv1.ControllerUidLabel: "uid"},
		}
	}
	attempt := &corev1.Pod{ObjectMeta: meta("pod"), Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
		Name: identity.ContainerName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, StartedAt: metav1.Unix(1_700_000_000, 0), FinishedAt: metav1.Unix(1_700_000_001, 0)}},
	}}}}
	attempt.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "job", UID: "uid", Controller: new(true)}}
	job := &batchv1.Job{ObjectMeta: meta("job"), Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}}}
	configMap := &corev1.ConfigMap{ObjectMeta: meta("om-config-nightly"), Data: map[string]string{
		"pipeline": `{"name": "nightly", "fullyQualifiedName": "` + fqn + `", "pipelineType": "application"}`,
	}}
	running := &batchv1.Job{ObjectMeta: meta("scheduled")}
	running.UID, running.Labels = types.UID(uuid.NewString()), map[string]string{identity.LabelPipeline: "nightly"}
	stopped := &batchv1.Job{ObjectMeta: meta("stopped"), Spec: batchv1.JobSpec{Suspend: new(true)}}
	stopped.UID = "stopped"
	stopped.Annotations = map[string]string{identity.AnnotationFQN: fqn, identity.AnnotationStopRequested: "2026-01-02T03:04:05Z"}
	stopped.Labels = map[string]string{identity.LabelPipeline: "nightly", identity.LabelRunID: uuid.NewString()}
	pods := map[string]struct {
		state      corev1.ContainerState
		finalizers []string
	}{
		"held":    {state: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Unix(1_700_000_000, 0)}}, finalizers: []string{batchv1.JobTrackingFinalizer}},
		"counted": {state: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Unix(1_700_000_000, 0)}}},
		"untold":  {state: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(1_700_000_000, 0)}}},
	}
	others := make([]runtime.Object, 0, 5+2*len(pods))
	others = append(others, job, attempt, configMap, running, stopped)
	for name, tc := range pods {
		owner, pod := &batchv1.Job{ObjectMeta: meta(name)}, &corev1.Pod{ObjectMeta: meta(name)}
		owner.UID, owner.Labels[identity.LabelRunID] = types.UID(name), uuid.NewString()
		pod.Finalizers, pod.Labels[batchv1.JobNameLabel], pod.Labels[batchv1.ControllerUidLabel] = tc.finalizers, name, name
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: name, UID: types.UID(name), Controller: new(true)}}
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: identity.ContainerName, State: tc.state}, {Name: "istio-proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}}
		others = append(others, owner, pod)
	}
	kube := fake.NewClientset(others...)
	metadata := metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())
	metadata.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		list := &metav1.List{}
		if action.GetResource().Resource == "configmaps" {
			list.Items = []runtime.RawExtension{{Object: &metav1.PartialObjectMetadata{ObjectMeta: configMap.ObjectMeta}}}
		}
		return true, list, nil
	})

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	serve := reconcile.New(reconcile.Options{
		Kube: kube, Metadata: metadata, Reader: reader{kube}, Server: om.Client(t), Namespace: namespace,
		Origin:  func(context.Context) (identity.Origin, error) { return here, nil },
		Secrets: client(t, kube, om).SecretValues, Log: slog.New(slog.DiscardHandler), Workers: 1, SweepInterval: time.Hour,
	})
	go func() { done <- serve.Run(ctx) }()
	assert.Eventually(t, func() bool {
		a, b := om.Run(t, fqn, ended), om.Run(t, fqn, lost)
		patches := map[string]bool{}
		for _, action := range kube.Actions() {
			patches[permission(action.GetVerb(), "", action.GetResource().Resource, action.GetSubresource())] = true
		}
		c := om.Run(t, fqn, stopped.Labels[identity.LabelRunID])
		_, err := kube.Tracker().Get(corev1.SchemeGroupVersion.WithResource("configmaps"), namespace, identity.LedgerName)
		return err == nil && c != nil && c.State == "stopped" && a != nil && a.State == "failed" && b.State == "failed" && patches["patch pods"] && patches["patch pods/status"] && patches["get pods"]
	}, hang, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)

	var asked asked
	for _, action := range append(kube.Actions(), metadata.Actions()...) {
		resource, subresource := action.GetResource(), action.GetSubresource()
		if resource == (schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}) {
			continue
		}
		asked.add(permission(action.GetVerb(), resource.Group, resource.Resource, subresource))
	}
	for _, permission := range k8sclient.RepairPermissions() { // TestRepairPermissions of pkg/k8sclient checks them.
		asked.add(permission)
	}
	assert.ElementsMatch(t, asked.all(), allowed(t, "pipelinectl-serve"))
}

// TestBindings: every account that a pod has, and every Role that a binding names, is there.
func TestBindings(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	for _, object := range objects(t) {
		switch o := object.(type) {
		case *corev1.ServiceAccount:
			there["account "+o.Name] = true
		case *rbacv1.Role:
			there["role "+o.Name] = true
		}
	}
	assert.True(t, there["account "+k8sclient.DefaultConfig().ServiceAccountName], "the one that pods have by default")
	bound := map[string]string{}
	for _, object := range objects(t) {
		if binding, ok := object.(*rbacv1.RoleBinding); ok {
			assert.True(t, there["role "+binding.RoleRef.Name], binding.Name)
			bound[binding.Subjects[0].Name] = binding.RoleRef.Name
		}
	}
	for _, object := range objects(t) {
		if deployment, ok := object.(*appsv1.Deployment); ok {
			spec := deployment.Spec.Template.Spec
			assert.Equal(t, spec.ServiceAccountName, bound[spec.ServiceAccountName])
			assert.True(t, there["account "+spec.ServiceAccountName])
			assert.Equal(t, deployment.Spec.Selector.MatchLabels, deployment.Spec.Template.Labels)
		}
	}
}
