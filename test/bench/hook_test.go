// Package bench measures the exit handler beside a program that does no more than its requests.
package bench

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	jobName   = "om-job-nightly-0190b0a0"
	timestamp = int64(1_700_000_000_000)

	mebibyte = 1 << 20
)

// world is both APIs, and both programs.
type world struct {
	*omtest.Server

	// kube is the Kubernetes API's address, ca the file with its certificate authority.
	kube, ca     string
	handler, own string
	fqn          string
	put          chan arrival
	pid          atomic.Int64
	delay        time.Duration
}

func newWorld(b *testing.B, log string, delay time.Duration) *world {
	b.Helper()
	w := &world{Server: omtest.Start(b, openmetadata.Options{}), put: make(chan arrival, 1), delay: delay}
	w.fqn = w.Pipeline(b, "svc", "nightly")
	w.handler, w.own = build(b, "./cmd/exithandler"), build(b, "./test/bench/bare")
	// As an API server: with TLS and HTTP/2.
	kube := httptest.NewUnstartedServer(w.delayed(kubernetes(log)))
	kube.EnableHTTP2 = true
	kube.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // Connections that were opened in vain.
	kube.StartTLS()
	b.Cleanup(kube.Close)
	w.kube, w.ca = kube.URL, filepath.Join(b.TempDir(), "ca.crt")
	require.NoError(b, os.WriteFile(w.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: kube.Certificate().Raw}), 0o600))
	// In front of the stand-in: it tells when the write came.
	front := httptest.NewServer(w.delayed(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPut {
			w.put <- arrival{at: time.Now(), memory: w.peak()}
		}
		w.ServeHTTP(rw, req)
	})))
	b.Cleanup(front.Close)
	w.URL = front.URL + "/api"
	return w
}

// delayed answers each request later, as a network does.
func (w *world) delayed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if w.delay > 0 {
			timer := time.NewTimer(w.delay)
			defer timer.Stop()
			<-timer.C
		}
		next.ServeHTTP(rw, req)
	})
}

func build(b *testing.B, pkg string) string {
	b.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(b, err)
	out := filepath.Join(b.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	message, err := cmd.CombinedOutput()
	require.NoError(b, err, string(message))
	return out
}

func kubernetes(log string) http.Handler {
	mux := http.NewServeMux()
	give := func(path string, object runtime.Object) {
		bodies := map[string][]byte{}
		for _, info := range scheme.Codecs.SupportedMediaTypes() {
			bodies[info.MediaType] = []byte(runtime.EncodeOrDie(info.Serializer, object))
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, req *http.Request) {
			// Who does not care gets JSON, as from an API server.
			wanted, _, _ := strings.Cut(req.Header.Get("Accept"), ",")
			if bodies[wanted] == nil {
				wanted = runtime.ContentTypeJSON
			}
			w.Header().Set("Content-Type", wanted)
			_, _ = w.Write(bodies[wanted])
		})
	}
	job := batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: jobName},
		Status:     batchv1.JobStatus{Failed: 1, Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonBackoffLimitExceeded}}},
	}
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{batchv1.JobNameLabel: jobName}},
		Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "ingestion", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", StartedAt: metav1.Now(), FinishedAt: metav1.Now()}},
		}}},
	}
	give("/apis/batch/v1/namespaces/pipelines/jobs/"+jobName, &job)
	give("/api/v1/namespaces/pipelines/pods", &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{pod}})
	give("/api/v1/namespaces/pipelines/events", &corev1.EventList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "EventList"}})
	lines := strings.SplitAfter(log, "\n")
	mux.HandleFunc("GET /api/v1/namespaces/pipelines/pods/p/log", func(w http.ResponseWriter, req *http.Request) {
		left, _ := strconv.Atoi(req.URL.Query().Get("limitBytes"))
		wanted, _ := strconv.Atoi(req.URL.Query().Get("tailLines"))
		for _, line := range lines[max(0, len(lines)-1-wanted):] {
			line = line[:min(len(line), left)]
			left -= len(line)
			_, _ = w.Write([]byte(line))
		}
	})
	return mux
}

// arrival is a write of a status.
type arrival struct {
	at     time.Time
	memory int64 // bytes
}

// sample is one run of a program.
type sample struct {
	took   time.Duration
	memory int64 // bytes
}

// run starts a program and measures until its write has come.
func (w *world) run(b *testing.B, program string) sample {
	b.Helper()
	runID := uuid.NewString()
	record := &omapi.PipelineStatus{RunID: runID, State: omapi.StateRunning, Timestamp: timestamp + int64(b.N)*1000 + int64(len(runs)), StartDate: timestamp}
	runs = append(runs, runID)
	require.NoError(b, w.client(b).PutStatus(b.Context(), w.fqn, record))
	<-w.put
	kubeconfig := filepath.Join(b.TempDir(), "kubeconfig")
	require.NoError(b, os.WriteFile(kubeconfig, fmt.Appendf(nil, `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}], contexts: [{name: c, context: {cluster: c}}], current-context: c}`, w.kube, w.ca), 0o600))
	cmd := exec.CommandContext(b.Context(), program)
	cmd.Env = []string{
		"KUBECONFIG=" + kubeconfig, "namespace=pipelines", "jobName=" + jobName, "podName=p", "pipelineRunId=" + runID, "ingestionPipelineFQN=" + w.fqn,
		"config=workflowConfig: {openMetadataServerConfig: {hostPort: '" + w.URL + "', securityConfig: {jwtToken: '" + w.Token + "'}}}",
		"KUBERNETES_URL=" + w.kube, "KUBERNETES_CA=" + w.ca, "RECORD_URL=" + w.URL + "/v1/services/ingestionPipelines/" + w.fqn + "/pipelineStatus", "TOKEN=" + w.Token, "RUN=" + runID, "JOB=" + jobName,
	}
	begun := time.Now()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(b, cmd.Start())
	w.pid.Store(int64(cmd.Process.Pid))
	require.NoError(b, cmd.Wait(), &out)
	w.pid.Store(0)
	written := <-w.put
	return sample{took: written.at.Sub(begun), memory: written.memory}
}

// peak is the most memory that the program under test has had so far. The kernel's own rusage is of no use: it counts
// what the parent had when it started the program.
func (w *world) peak() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid.Load()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kibibytes, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kibibytes << 10
		}
	}
	return 0
}

var runs []string

func (w *world) client(b *testing.B) *omapi.Client {
	b.Helper()
	return w.Client(b)
}

func median[T int64 | time.Duration](samples []sample, of func(sample) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func compare(b *testing.B, log string, delay time.Duration, memoryLimit int64) {
	b.Helper()
	const least = 11
	w := newWorld(b, log, delay)
	times := max(b.N, least)
	handler, bare := make([]sample, 0, times), make([]sample, 0, times)
	for range times {
		handler = append(handler, w.run(b, w.handler))
		bare = append(bare, w.run(b, w.own))
	}
	took := func(s sample) time.Duration { return s.took }
	memory := func(s sample) int64 { return s.memory }
	ratio := float64(median(handler, took)) / float64(median(bare, took))
	b.ReportMetric(0, "ns/op") // Of a whole comparison: it says nothing.
	b.ReportMetric(float64(median(handler, took).Microseconds())/1000, "handler-ms")
	b.ReportMetric(float64(median(bare, took).Microseconds())/1000, "bare-ms")
	b.ReportMetric(ratio, "times-bare")
	b.ReportMetric(float64(median(handler, memory))/mebibyte, "handler-MiB")
	b.ReportMetric(float64(median(bare, memory))/mebibyte, "bare-MiB")
	if most := median(handler, memory); most > memoryLimit {
		b.Errorf("the hook takes %.1f MiB, more than %d", float64(most)/mebibyte, memoryLimit/mebibyte)
	}
	requests, err := w.Requests(admin.RequestFilter{RunID: runs[len(runs)-1]})
	require.NoError(b, err)
	require.NotEmpty(b, requests)
}

// BenchmarkHook is from the start of the process to the write of the status, beside bare requests in the same run.
func BenchmarkHook(b *testing.B) {
	line := strings.Repeat("x", 99) + "\n"
	long := strings.Repeat("x", 200_000-1) + "\n"
	b.Run("Loopback", func(b *testing.B) { compare(b, strings.Repeat(line, 500), 0, 16*mebibyte) })
	b.Run("Delay20ms", func(b *testing.B) { compare(b, strings.Repeat(line, 500), 20*time.Millisecond, 16*mebibyte) })
	b.Run("Log100MB", func(b *testing.B) { compare(b, strings.Repeat(long, 500), 0, 24*mebibyte) })
}
