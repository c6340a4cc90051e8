package k8sclient

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

const namespace = "pipelines"

// apiServer keeps objects of one namespace and answers as the real one does, over HTTP: client-go's fake clientset has no
// REST client. Applies are merged by the code that the real one has.
type apiServer struct {
	url string
	// page bounds a list's answer; 0 is no bound.
	page int

	mu      sync.Mutex
	before  func(req *http.Request) *apierrors.StatusError
	version int
	objects map[string]object // by resource/name
	logs    map[string]string // by pod
	// lacking are the permissions that are missing, such as "list pods"; those of a user begin with its name.
	lacking []string
	// terminating: the namespace is being deleted.
	terminating bool
	// logReader answers for logs where it is set: the text, and whether the stream breaks off after it.
	logReader func(pod string, query url.Values) (text string, cut bool)
}

// converter is one for all: making it takes longer than a test.
var converter = sync.OnceValue(func() managedfields.TypeConverter { return applyconfigurations.NewTypeConverter(scheme.Scheme) })

func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := newAPIServer()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func newAPIServer() *apiServer {
	return &apiServer{version: 1, objects: map[string]object{}, logs: map[string]string{}}
}

// StartAPIServer is for the example, which is of another package.
func StartAPIServer() *httptest.Server { return httptest.NewServer(newAPIServer()) }

// intercept sets what sees each request before it is handled, and may refuse it; nil for nothing.
func (s *apiServer) intercept(before func(req *http.Request) *apierrors.StatusError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *apiServer) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: s.url, QPS: -1})
	require.NoError(t, err)
	return client
}

// add puts objects there as somebody else would.
func (s *apiServer) add(t *testing.T, manager string, objects ...object) {
	t.Helper()
	for _, o := range objects {
		resource := strings.ToLower(kindOf(o)) + "s"
		_, err := s.create(resource, o, manager)
		require.NoError(t, err)
	}
}

func (s *apiServer) create(resource string, o object, manager string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := resource + "/" + o.GetName()
	if s.objects[key] != nil {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: resource}, o.GetName())
	}
	o.GetObjectKind().SetGroupVersionKind(gvkOf(o))
	o.SetNamespace(namespace)
	// An object that is made by itself has its fields owned by whoever made it, as one that is applied.
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "status")
	owned, err := merge(nil, &unstructured.Unstructured{Object: content}, gvkOf(o), manager, true)
	if err != nil {
		return nil, err
	}
	o.SetManagedFields(owned.GetManagedFields())
	if created := o.GetCreationTimestamp(); created.IsZero() {
		o.SetCreationTimestamp(metav1.Now())
	}
	if o.GetUID() == "" {
		o.SetUID(types.UID(uuid.NewString()))
	}
	s.store(key, o)
	return o, nil
}

// store needs the lock. A CronJob's generation counts its specifications.
func (s *apiServer) store(key string, o object) {
	s.version++
	if cronJob, ok := o.(*batchv1.CronJob); ok {
		was, _ := s.objects[key].(*batchv1.CronJob)
		switch {
		case was == nil:
			cronJob.Generation = 1
		case was != cronJob && !equality.Semantic.DeepEqual(was.Spec, cronJob.Spec):
			cronJob.Generation = was.Generation + 1
		}
	}
	if job, ok := o.(*batchv1.Job); ok {
		s.control(job)
	}
	o.SetResourceVersion(strconv.Itoa(s.version))
	s.objects[key] = o
	if owners := o.GetOwnerReferences(); len(owners) > 0 && !slices.ContainsFunc(owners, s.exists) {
		delete(s.objects, key) // As the garbage collector does it.
	}
}

// exists needs the lock.
func (s *apiServer) exists(owner metav1.OwnerReference) bool {
	for _, o := range s.objects {
		if o.GetUID() == owner.UID {
			return true
		}
	}
	return false
}

// control does what the Job's controller does with a Job whose time is over as soon as it starts. It needs the lock.
func (s *apiServer) control(job *batchv1.Job) {
	over := job.Spec.ActiveDeadlineSeconds != nil && *job.Spec.ActiveDeadlineSeconds == 0
	if !over || job.Spec.Suspend != nil && *job.Spec.Suspend || len(job.Status.Conditions) > 0 {
		return
	}
	conditions := []batchv1.JobConditionType{batchv1.JobFailureTarget}
	ends := func(o object) bool {
		pod, ok := o.(*corev1.Pod)
		return ok && pod.Labels[batchv1.ControllerUidLabel] == string(job.UID) && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(s.objects)), ends) {
		conditions = append(conditions, batchv1.JobFailed)
	}
	for _, kind := range conditions {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonDeadlineExceeded})
	}
}

// names are those of all objects.
func (s *apiServer) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// contents are the objects without what changes with every write.
func (s *apiServer) contents(t *testing.T, resources ...string) map[string]string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for key, o := range s.objects {
		resource, _, _ := strings.Cut(key, "/")
		if !slices.Contains(resources, resource) {
			continue
		}
		copied, ok := o.DeepCopyObject().(object)
		require.True(t, ok)
		copied.SetManagedFields(nil)
		copied.SetResourceVersion("")
		copied.SetGeneration(0)
		copied.SetUID("")
		copied.SetCreationTimestamp(metav1.Time{})
		data, err := json.Marshal(copied)
		require.NoError(t, err)
		out[key] = string(data)
	}
	return out
}

// get gives a copy of an object; nil where there is none.
func (s *apiServer) get(resource, name string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[resource+"/"+name]; o != nil {
		copied, _ := o.DeepCopyObject().(object)
		return copied
	}
	return nil
}

// change edits an object as its controller would.
func (s *apiServer) change(resource, name string, edit func(object)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := resource + "/" + name
	edited, _ := s.objects[key].DeepCopyObject().(object)
	edit(edited)
	s.store(key, edited)
}

// remove takes an object away as somebody else would.
func (s *apiServer) remove(resource, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, resource+"/"+name)
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/version" {
		reply(w, http.StatusOK, version.Info{GitVersion: "v1.37.2"})
		return
	}
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(req); err != nil {
			refuse(w, err)
			return
		}
	}
	s.handle(w, req)
}

// lose does what a request asks for, and breaks off in place of an answer.
func (s *apiServer) lose(req *http.Request) {
	s.handle(httptest.NewRecorder(), req)
	panic(http.ErrAbortHandler)
}

func (s *apiServer) handle(w http.ResponseWriter, req *http.Request) {
	if strings.HasSuffix(req.URL.Path, "subjectaccessreviews") {
		s.review(w, req)
		return
	}
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	at := slices.Index(parts, "namespaces")
	switch rest := parts[at+1:]; {
	case rest[0] != namespace:
		err := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, rest[0])
		err.ErrStatus.Details.Kind = "namespaces"
		refuse(w, err)
	case len(rest) == 1:
		reply(w, http.StatusOK, s.namespace())
	case s.terminating && (req.Method == http.MethodPost || req.Method == http.MethodPatch):
		err := apierrors.NewForbidden(schema.GroupResource{Resource: rest[1]}, "x", fmt.Errorf("unable to create new content in namespace %s because it is being terminated", namespace))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		refuse(w, err)
	case len(rest) == 2:
		s.collection(w, req, rest[1])
	case len(rest) == 4 && rest[3] == "status":
		s.one(w, req, rest[1], rest[2])
	case len(rest) == 4 && rest[3] == "log":
		s.log(w, req, rest[2])
	default:
		s.one(w, req, rest[1], rest[2])
	}
}

func (s *apiServer) namespace() *corev1.Namespace {
	out := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}}
	if s.terminating {
		out.DeletionTimestamp, out.Status.Phase = new(metav1.Now()), corev1.NamespaceTerminating
		out.Status.Conditions = []corev1.NamespaceCondition{
			{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Message: "All resources successfully discovered"},
			{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Message: "Some resources are remaining: pods. has 1 resource instances"},
		}
	}
	return out
}

// review answers a SelfSubjectAccessReview or a LocalSubjectAccessReview, which names the user.
func (s *apiServer) review(w http.ResponseWriter, req *http.Request) {
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body(req), nil, nil)
	if err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	var (
		user   string
		asked  *authorizationv1.ResourceAttributes
		status *authorizationv1.SubjectAccessReviewStatus
	)
	switch review := decoded.(type) {
	case *authorizationv1.SelfSubjectAccessReview:
		asked, status = review.Spec.ResourceAttributes, &review.Status
	case *authorizationv1.LocalSubjectAccessReview:
		user, asked, status = review.Spec.User, review.Spec.ResourceAttributes, &review.Status
	}
	s.mu.Lock()
	lacking := s.lacking
	s.mu.Unlock()
	status.Allowed = !slices.Contains(lacking, strings.TrimSpace(user+" "+asked.Verb+" "+strings.Trim(asked.Resource+"/"+asked.Subresource, "/")))
	reply(w, http.StatusCreated, decoded)
}

// setLog makes the log of a pod's only container.
func (s *apiServer) setLog(pod, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[pod] = text
}

// log gives the last lines, as many as are asked for, as the kubelet does.
func (s *apiServer) log(w http.ResponseWriter, req *http.Request, pod string) {
	s.mu.Lock()
	text, ok := s.logs[pod]
	reader := s.logReader
	s.mu.Unlock()
	if reader != nil {
		text, cut := reader(pod, req.URL.Query())
		fmt.Fprint(w, text)
		if cut {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		return
	}
	if ok && req.URL.Query().Get("previous") == "true" {
		text = "before the restart of " + pod + "\n"
	}
	if !ok || req.URL.Query().Get("container") != identity.ContainerName {
		refuse(w, apierrors.NewBadRequest("container is waiting to start"))
		return
	}
	if wanted, err := strconv.Atoi(req.URL.Query().Get("tailLines")); err == nil {
		lines := strings.SplitAfter(text, "\n")
		text = strings.Join(lines[max(0, len(lines)-1-wanted):], "")
	}
	fmt.Fprint(w, text)
}

func (s *apiServer) collection(w http.ResponseWriter, req *http.Request, resource string) {
	if req.Method == http.MethodGet {
		s.list(w, req, resource)
		return
	}
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body(req), nil, nil)
	o, ok := decoded.(object)
	if err != nil || !ok {
		refuse(w, apierrors.NewBadRequest(fmt.Sprint(err)))
		return
	}
	if req.URL.Query().Get("dryRun") != "" {
		reply(w, http.StatusCreated, o)
		return
	}
	created, err := s.create(resource, o, req.URL.Query().Get("fieldManager"))
	finish(w, http.StatusCreated, created, err)
}

// createLike does what a POST asks for, whatever it is answered.
func (s *apiServer) createLike(t *testing.T, req *http.Request) {
	t.Helper()
	parts := strings.Split(req.URL.Path, "/")
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body(req), nil, nil)
	if o, ok := decoded.(object); assert.NoError(t, err) && assert.True(t, ok) {
		_, _ = s.create(parts[len(parts)-1], o, req.URL.Query().Get("fieldManager")) // A repeated call finds it there.
	}
}

func (s *apiServer) list(w http.ResponseWriter, req *http.Request, resource string) {
	selector, err := labels.Parse(req.URL.Query().Get("labelSelector"))
	if err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []object{}
	secretType, ofType := strings.CutPrefix(req.URL.Query().Get("fieldSelector"), "type=")
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(key, resource+"/") || !selector.Matches(labels.Set(s.objects[key].GetLabels())) {
			continue
		}
		if secret, ok := s.objects[key].(*corev1.Secret); ok && ofType && string(secret.Type) != secretType {
			continue
		}
		items = append(items, s.objects[key])
	}
	from, _ := strconv.Atoi(req.URL.Query().Get("continue"))
	meta := map[string]any{}
	if s.page > 0 && from+s.page < len(items) {
		meta["continue"] = strconv.Itoa(from + s.page)
		items = items[:from+s.page]
	}
	kinds := map[string][2]string{
		"configmaps": {"v1", "ConfigMapList"}, "secrets": {"v1", "SecretList"}, "pods": {"v1", "PodList"},
		"events": {"v1", "EventList"}, "cronjobs": {"batch/v1", "CronJobList"}, "jobs": {"batch/v1", "JobList"},
	}
	reply(w, http.StatusOK, map[string]any{
		"apiVersion": kinds[resource][0], "kind": kinds[resource][1], "metadata": meta, "items": items[from:],
	})
}

func (s *apiServer) one(w http.ResponseWriter, req *http.Request, resource, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := resource + "/" + name
	live := s.objects[key]
	group := schema.GroupResource{Resource: resource}
	switch {
	case req.Method == http.MethodPatch && req.Header.Get("Content-Type") == string(types.ApplyPatchType):
		applied, code, err := s.apply(req, group, name, live)
		if err == nil && applied != live && req.URL.Query().Get("dryRun") == "" {
			s.store(key, applied)
		}
		finish(w, code, applied, err)
	case live == nil:
		refuse(w, apierrors.NewNotFound(group, name))
	case req.Method == http.MethodPatch:
		patched, err := patched(req, group, live)
		if err == nil {
			s.store(key, patched)
		}
		finish(w, http.StatusOK, patched, err)
	case req.Method == http.MethodDelete:
		err := s.delete(key, live, group, body(req))
		finish(w, http.StatusOK, live, err)
	default:
		reply(w, http.StatusOK, live)
	}
}

// patched is an object after a patch that is no apply.
func patched(req *http.Request, group schema.GroupResource, live object) (object, error) {
	patch := jsonpatch.MergePatch
	if req.Header.Get("Content-Type") == string(types.JSONPatchType) {
		patch = jsonPatch
	}
	out, err := patchWith(patch, live, body(req))
	switch {
	case err != nil:
		return nil, err
	case out.GetUID() != live.GetUID():
		return nil, apierrors.NewConflict(group, live.GetName(), fmt.Errorf("the UID is %s", live.GetUID()))
	case out.GetResourceVersion() != live.GetResourceVersion():
		return nil, apierrors.NewConflict(group, live.GetName(), fmt.Errorf("version %s is not the latest", out.GetResourceVersion()))
	default:
		return out, nil
	}
}

// delete needs the lock. What the object owns goes with it, or loses its owner, as the garbage collector does it.
func (s *apiServer) delete(key string, live object, group schema.GroupResource, options []byte) error {
	var given metav1.DeleteOptions
	if err := json.Unmarshal(options, &given); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if p := given.Preconditions; p != nil {
		if p.UID != nil && *p.UID != live.GetUID() {
			return apierrors.NewConflict(group, live.GetName(), fmt.Errorf("the UID is %s", live.GetUID()))
		}
		if p.ResourceVersion != nil && *p.ResourceVersion != live.GetResourceVersion() {
			return apierrors.NewConflict(group, live.GetName(), fmt.Errorf("the version is %s", live.GetResourceVersion()))
		}
	}
	delete(s.objects, key)
	for other, o := range s.objects {
		if !slices.ContainsFunc(o.GetOwnerReferences(), func(owner metav1.OwnerReference) bool { return owner.UID == live.GetUID() }) {
			continue
		}
		if *given.PropagationPolicy == metav1.DeletePropagationOrphan {
			o.SetOwnerReferences(nil)
		} else {
			delete(s.objects, other)
		}
	}
	return nil
}

// apply needs the lock.
func (s *apiServer) apply(req *http.Request, group schema.GroupResource, name string, live object) (object, int, error) {
	patch := &unstructured.Unstructured{}
	if err := json.Unmarshal(body(req), &patch.Object); err != nil {
		return nil, 0, apierrors.NewBadRequest(err.Error())
	}
	if version := patch.GetResourceVersion(); version != "" && (live == nil || version != live.GetResourceVersion()) {
		return nil, 0, apierrors.NewConflict(group, name, fmt.Errorf("version %s is not the latest", version))
	}
	patch.SetNamespace(namespace)
	gvk := patch.GroupVersionKind()
	query := req.URL.Query()
	merged, err := merge(live, patch, gvk, query.Get("fieldManager"), query.Get("force") == "true")
	if err != nil {
		return nil, 0, err
	}
	if live == nil {
		merged.SetUID(types.UID(uuid.NewString()))
		merged.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
		return merged, http.StatusCreated, nil
	}
	if sameContent(live, merged) {
		return live, http.StatusOK, nil
	}
	if secret, ok := live.(*corev1.Secret); ok && secret.Immutable != nil && *secret.Immutable {
		return nil, 0, apierrors.NewInvalid(gvk.GroupKind(), name, nil)
	}
	return merged, http.StatusOK, nil
}

// merge is a server-side apply.
func merge(live object, patch *unstructured.Unstructured, gvk schema.GroupVersionKind, manager string, force bool) (object, error) {
	fields, err := managedfields.NewDefaultFieldManager(converter(), scheme.Scheme, noDefaults{}, scheme.Scheme, gvk, gvk.GroupVersion(), "", nil)
	if err != nil {
		return nil, err
	}
	var base runtime.Object = live
	if live == nil {
		if base, err = scheme.Scheme.New(gvk); err != nil {
			return nil, err
		}
		base.GetObjectKind().SetGroupVersionKind(gvk)
	}
	merged, err := fields.Apply(base.DeepCopyObject(), patch, manager, force)
	if err != nil {
		return nil, err
	}
	out, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(merged)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, out); err != nil {
		return nil, err
	}
	typed, ok := out.(object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", out)
	}
	return typed, nil
}

type noDefaults struct{}

func (noDefaults) Default(runtime.Object) {}

func sameContent(a, b object) bool {
	plain := func(o object) object {
		copied, _ := o.DeepCopyObject().(object)
		copied.SetManagedFields(nil)
		copied.SetResourceVersion("")
		return copied
	}
	return equality.Semantic.DeepEqual(plain(a), plain(b))
}

// jsonPatch applies a JSON patch; one that fails a test of its own is invalid.
func jsonPatch(document, operations []byte) ([]byte, error) {
	patch, err := jsonpatch.DecodePatch(operations)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	patched, err := patch.Apply(document)
	if err != nil {
		return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return patched, nil
}

func patchWith(apply func(document, patch []byte) ([]byte, error), live object, patch []byte) (object, error) {
	before, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	after, err := apply(before, patch)
	if err != nil {
		return nil, err
	}
	out, err := scheme.Scheme.New(gvkOf(live))
	if err != nil {
		return nil, err
	}
	typed, ok := out.(object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", out)
	}
	return typed, json.Unmarshal(after, typed)
}

func body(req *http.Request) []byte {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return nil
	}
	return data
}

func finish(w http.ResponseWriter, code int, o object, err error) {
	if err == nil {
		reply(w, code, o)
		return
	}
	refused, ok := err.(*apierrors.StatusError) //nolint:errorlint // What this server makes is not wrapped.
	if !ok {
		refused = apierrors.NewBadRequest(err.Error())
	}
	refuse(w, refused)
}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.ErrStatus
	status.Kind, status.APIVersion = "Status", "v1"
	reply(w, int(status.Code), &status)
}

func reply(w http.ResponseWriter, code int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data)
}
