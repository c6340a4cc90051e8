package diagnostics

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

const (
	namespace = "pipelines"
	jobName   = "om-job-nightly-0190b0a0"
	// refusing is where nobody listens. The port of a server that was closed may be another's by now.
	refusing = "http://127.0.0.1:1"
)

// apiServer answers the reads that diagnostics make, over HTTP as the real one does.
type apiServer struct {
	job    *batchv1.Job
	pods   []corev1.Pod
	events []corev1.Event
	// logs are by pod/container.
	logs map[string]string
	// forbidden paths are answered with 403, broken logs end early, hanging paths are not answered.
	forbidden, broken, hanging *regexp.Regexp
	// hung counts the requests that are not answered.
	hung *atomic.Int32
	// jsonOnly is a server that has no protobuf.
	jsonOnly bool
	// sent counts the bytes of logs.
	sent *atomic.Int64
}

func (s *apiServer) start(t *testing.T) Reader {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return newReader(t, server.URL)
}

func newReader(t *testing.T, url string) Reader {
	t.Helper()
	reader, err := NewReader(&rest.Config{Host: url}, namespace)
	require.NoError(t, err)
	return reader
}

func matches(pattern *regexp.Regexp, req *http.Request) bool {
	return pattern != nil && pattern.MatchString(req.URL.Path)
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	core, batch := "/api/v1/namespaces/"+namespace, "/apis/batch/v1/namespaces/"+namespace
	path := req.URL.Path
	switch {
	case matches(s.hanging, req):
		if s.hung != nil {
			s.hung.Add(1)
		}
		<-req.Context().Done()
	case matches(s.forbidden, req):
		refuse(w, apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "", nil))
	case path == batch+"/jobs/"+jobName && s.job != nil:
		s.answer(w, req, s.job)
	case path == core+"/pods":
		s.listPods(w, req)
	case path == core+"/events":
		s.listEvents(w, req)
	case strings.HasPrefix(path, core+"/pods/") && strings.HasSuffix(path, "/log"):
		s.log(w, req, strings.TrimSuffix(strings.TrimPrefix(path, core+"/pods/"), "/log"))
	default:
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, path))
	}
}

func (s *apiServer) listPods(w http.ResponseWriter, req *http.Request) {
	selector, err := labels.Parse(req.URL.Query().Get("labelSelector"))
	if err != nil || selector.Empty() {
		refuse(w, apierrors.NewBadRequest("a selector is wanted"))
		return
	}
	list := &corev1.PodList{}
	for _, pod := range s.pods {
		if selector.Matches(labels.Set(pod.Labels)) {
			list.Items = append(list.Items, pod)
		}
	}
	s.answer(w, req, list)
}

func (s *apiServer) listEvents(w http.ResponseWriter, req *http.Request) {
	selector, err := fields.ParseSelector(req.URL.Query().Get("fieldSelector"))
	if err != nil || selector.Empty() {
		refuse(w, apierrors.NewBadRequest("a selector is wanted"))
		return
	}
	list := &corev1.EventList{}
	for _, event := range s.events {
		set := fields.Set{"involvedObject.kind": event.InvolvedObject.Kind, "involvedObject.name": event.InvolvedObject.Name}
		if selector.Matches(set) {
			list.Items = append(list.Items, event)
		}
	}
	s.answer(w, req, list)
}

// log gives the last lines, as many as are asked for, as the kubelet does.
func (s *apiServer) log(w http.ResponseWriter, req *http.Request, pod string) {
	query := req.URL.Query()
	key := pod + "/" + query.Get("container")
	if query.Get("previous") == "true" {
		key += "/previous"
	}
	text, ok := s.logs[key]
	if !ok {
		refuse(w, apierrors.NewBadRequest("container is waiting to start"))
		return
	}
	wanted, err := strconv.Atoi(req.URL.Query().Get("tailLines"))
	if err != nil {
		refuse(w, apierrors.NewBadRequest("tailLines is wanted"))
		return
	}
	lines := strings.SplitAfter(text, "\n")
	lines = lines[max(0, len(lines)-1-wanted):]
	text = strings.Join(lines, "")
	if matches(s.broken, req) {
		w.Header().Set("Content-Length", strconv.Itoa(2*len(text)))
	}
	if limit, err := strconv.Atoi(query.Get("limitBytes")); err == nil {
		text = text[:min(len(text), limit)]
	}
	if s.sent != nil {
		s.sent.Add(int64(len(text)))
	}
	fmt.Fprint(w, text)
}

// answer is in protobuf for who asks for it.
func (s *apiServer) answer(w http.ResponseWriter, req *http.Request, object runtime.Object) {
	if s.jsonOnly || !strings.HasPrefix(req.Header.Get("Accept"), runtime.ContentTypeProtobuf) {
		reply(w, http.StatusOK, object)
		return
	}
	w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(object, w); err != nil {
		panic(err)
	}
}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.ErrStatus
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	reply(w, int(status.Code), status)
}

func reply(w http.ResponseWriter, code int, object any) {
	data, err := json.Marshal(object)
	if err != nil {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data)
}

// at is a time of the run, in seconds after its start.
func at(seconds int) metav1.Time {
	return metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(seconds) * time.Second))
}

func newJob() *batchv1.Job {
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: jobName, Namespace: namespace, CreationTimestamp: at(0)},
	}
}

func newPodObject(name string, created int, statuses ...corev1.ContainerStatus) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, CreationTimestamp: at(created), Labels: map[string]string{batchv1.JobNameLabel: jobName},
		},
		Spec:   corev1.PodSpec{NodeName: "node-1"},
		Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: statuses},
	}
}

func terminated(name string, code int32, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, Message: message, StartedAt: at(1), FinishedAt: at(9),
	}}}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "ingestion", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func running() corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "ingestion", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(1)}}}
}

func newEventObject(kind, name, reason, message string, seen int) corev1.Event {
	return corev1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name}, Type: corev1.EventTypeWarning,
		Reason: reason, Message: message, LastTimestamp: at(seen), Count: 1,
	}
}
