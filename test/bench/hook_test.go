// Package bench measures the exit handler beside a program that does no more than its requests.
package bench

import (
	"bytes"
	"cmp"
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
	"sync"
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
	kube, ca            string
	handler, bare, peak string
	fqn                 string
	put                 chan time.Time
	delay               time.Duration

	runs  int64
	mu    sync.Mutex // guards trips
	trips []trip
}

// trip is one request, from its arrival to its answer.
type trip struct{ from, to time.Time }

func newWorld(b *testing.B, log string, delay time.Duration) *world {
	b.Helper()
	w := &world{Server: omtest.Start(b, openmetadata.Options{}), put: make(chan time.Time, 1), delay: delay}
	w.fqn = w.Pipeline(b, "svc", "nightly")
	w.handler, w.bare, w.peak = build(b, "./cmd/exithandler"), build(b, "./test/bench/bare"), build(b, "./test/bench/peak")
	w.kube, w.ca = apiServer(b, w.delayed(kubernetes(log)))
	// In front of the stand-in: it tells when the write came.
	front := httptest.NewServer(w.delayed(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPut {
			w.put <- time.Now()
		}
		w.ServeHTTP(rw, req)
	})))
	b.Cleanup(front.Close)
	w.URL = front.URL + "/api"
	return w
}

// apiServer answers as one: with TLS and HTTP/2. It gives its address, and the file with its certificate authority.
func apiServer(b *testing.B, handler http.Handler) (url, ca string) {
	b.Helper()
	kube := httptest.NewUnstartedServer(handler)
	kube.EnableHTTP2 = true
	kube.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // Connections that were opened in vain.
	kube.StartTLS()
	b.Cleanup(kube.Close)
	ca = filepath.Join(b.TempDir(), "ca.crt")
	require.NoError(b, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: kube.Certificate().Raw}), 0o600))
	return kube.URL, ca
}

// delayed answers each request later, as a network does, and remembers it.
func (w *world) delayed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		from := time.Now()
		if w.delay > 0 {
			timer := time.NewTimer(w.delay)
			defer timer.Stop()
			<-timer.C
		}
		next.ServeHTTP(rw, req)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trips = append(w.trips, trip{from, time.Now()})
	})
}

// inSequence is the most requests since the last call that were made one after another: none began before the one before
// it was answered.
func (w *world) inSequence() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortFunc(w.trips, func(a, b trip) int { return a.to.Compare(b.to) })
	n := 0
	var last time.Time
	for _, trip := range w.trips {
		if trip.from.After(last) {
			n, last = n+1, trip.to
		}
	}
	w.trips = nil
	return n
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

// sample is one run of a program.
type sample struct {
	// took is from its start to the arrival of its write.
	took       time.Duration
	inSequence int
}

// run starts a program and measures until its write has come; it gives what the program printed.
func (w *world) run(b *testing.B, program ...string) (sample, string) {
	b.Helper()
	w.runs++
	runID := uuid.NewString()
	record := &omapi.PipelineStatus{RunID: runID, State: omapi.StateRunning, Timestamp: timestamp + w.runs*1000, StartDate: timestamp}
	require.NoError(b, w.Client(b).PutStatus(b.Context(), w.fqn, record))
	<-w.put
	w.inSequence()
	cmd := exec.CommandContext(b.Context(), program[0], program[1:]...)
	cmd.Env = append(environment(b, w.kube, w.ca, w.URL, w.Token, w.fqn, runID),
		"KUBERNETES_URL="+w.kube, "KUBERNETES_CA="+w.ca, "RECORD_URL="+w.URL+"/v1/services/ingestionPipelines/"+w.fqn+"/pipelineStatus", "TOKEN="+w.Token, "RUN="+runID, "JOB="+jobName)
	begun := time.Now()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(b, cmd.Run(), &stderr)
	written := <-w.put
	return sample{took: written.Sub(begun), inSequence: w.inSequence()}, strings.TrimSpace(stdout.String())
}

// environment is what the hook has in a pod.
func environment(b *testing.B, kube, ca, url, token, fqn, runID string) []string {
	b.Helper()
	kubeconfig := filepath.Join(b.TempDir(), "kubeconfig")
	require.NoError(b, os.WriteFile(kubeconfig, fmt.Appendf(nil, `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}], contexts: [{name: c, context: {cluster: c}}], current-context: c}`, kube, ca), 0o600))
	return []string{
		"KUBECONFIG=" + kubeconfig, "namespace=pipelines", "jobName=" + jobName, "podName=p", "pipelineRunId=" + runID, "ingestionPipelineFQN=" + fqn,
		"config=workflowConfig: {openMetadataServerConfig: {hostPort: '" + url + "', securityConfig: {jwtToken: '" + token + "'}}}",
	}
}

// memory is the most that a program had in its life, in bytes. It is not measured with the time: who measures it takes some.
func (w *world) memory(b *testing.B, program string) int64 {
	b.Helper()
	_, printed := w.run(b, w.peak, program)
	kibibytes, err := strconv.ParseInt(printed, 10, 64)
	require.NoError(b, err)
	return kibibytes << 10
}

func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// limits are what the hook may take.
type limits struct {
	log    string
	delay  time.Duration
	memory int64 // bytes
}

func compare(b *testing.B, limits limits) {
	b.Helper()
	const (
		least    = 11
		times    = 1.5
		memories = 5
	)
	w := newWorld(b, limits.log, limits.delay)
	var handler, bare struct {
		took   []time.Duration
		trips  []int
		memory []int64
	}
	for range max(b.N, least) {
		h, _ := w.run(b, w.handler)
		r, _ := w.run(b, w.bare)
		handler.took, handler.trips = append(handler.took, h.took), append(handler.trips, h.inSequence)
		bare.took, bare.trips = append(bare.took, r.took), append(bare.trips, r.inSequence)
	}
	for range memories {
		handler.memory, bare.memory = append(handler.memory, w.memory(b, w.handler)), append(bare.memory, w.memory(b, w.bare))
	}
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	ratio := float64(median(handler.took)) / float64(median(bare.took))
	b.ReportMetric(0, "ns/op") // Of a whole comparison: it says nothing.
	b.ReportMetric(milliseconds(median(handler.took)), "handler-ms")
	b.ReportMetric(milliseconds(median(bare.took)), "bare-ms")
	b.ReportMetric(ratio, "times-bare")
	b.ReportMetric(float64(median(handler.memory))/mebibyte, "handler-MiB")
	b.ReportMetric(float64(median(bare.memory))/mebibyte, "bare-MiB")
	if ratio > times {
		b.Errorf("the hook takes %.2f times as long as bare requests, more than %.1f", ratio, times)
	}
	if most := median(handler.memory); most > limits.memory {
		b.Errorf("the hook takes %.1f MiB, more than %d", float64(most)/mebibyte, limits.memory/mebibyte)
	}
	// Without a delay, requests that are made at the same time may still be answered one after another.
	if limits.delay == 0 {
		return
	}
	made, needed := median(handler.trips), median(bare.trips)
	b.ReportMetric(float64(made), "handler-trips")
	b.ReportMetric(float64(needed), "bare-trips")
	if made > needed {
		b.Errorf("the hook makes %d requests one after another, and needs %d", made, needed)
	}
}

func lines(length int) string { return strings.Repeat(strings.Repeat("x", length-1)+"\n", 500) }

// BenchmarkHook is from the start of the process to the write of the status, beside bare requests in the same run. It fails
// where the hook takes more than it may.
func BenchmarkHook(b *testing.B) {
	b.Run("Loopback", func(b *testing.B) { compare(b, limits{log: lines(100), memory: 16 * mebibyte}) })
	b.Run("Delay20ms", func(b *testing.B) {
		compare(b, limits{log: lines(100), delay: 20 * time.Millisecond, memory: 16 * mebibyte})
	})
	b.Run("Log100MB", func(b *testing.B) { compare(b, limits{log: lines(200_000), memory: 24 * mebibyte}) })
}
