package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkProfile writes CPU and memory profiles of the hook to the folder PIPELINECTL_PROFILE, and prints what they hold
// most of. The hook runs in a process of its own, so that they hold nothing of the servers; again and again, as one run
// is too short for a profile: what only the first takes is not in them.
func BenchmarkProfile(b *testing.B) {
	dir := os.Getenv("PIPELINECTL_PROFILE")
	if dir == "" {
		b.Skip("make profile runs it")
	}
	root, err := filepath.Abs("../..")
	require.NoError(b, err)
	program := filepath.Join(dir, "exithandler.test")
	run(b, root, nil, "go", "test", "-c", "-o", program, "./cmd/exithandler")

	kube, ca := apiServer(b, kubernetes(lines(100)))
	const runID = "0190b0a0-7c1e-7b7e-9d3e-0a1b2c3d4e5f"
	server := httptest.NewServer(forgetful(runID))
	b.Cleanup(server.Close)
	cpu, memory := filepath.Join(dir, "hook.cpu"), filepath.Join(dir, "hook.memory")
	run(b, root, append(environment(b, kube, ca, server.URL, "token", "svc.nightly", runID), "PIPELINECTL_PROFILED=1"),
		program, "-test.run", "^$", "-test.bench", "ProfiledHook", "-test.benchtime", "1000x", "-test.cpuprofile", cpu, "-test.memprofile", memory)
	run(b, root, os.Environ(), "go", "tool", "pprof", "-top", "-cum", "-nodecount=45", program, cpu)
	run(b, root, os.Environ(), "go", "tool", "pprof", "-top", "-cum", "-nodecount=25", "-sample_index=alloc_space", program, memory)
	b.ReportMetric(0, "ns/op") // The output is the result.
}

// forgetful has the record of a run, and after each report one that goes on again.
func forgetful(runID string) http.Handler {
	var reported []byte // The hook's requests about a record come one after another.
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case req.Method == http.MethodPut:
			reported, _ = io.ReadAll(req.Body)
			w.WriteHeader(http.StatusCreated)
		case reported != nil:
			_, _ = w.Write(reported)
			reported = nil
		default:
			fmt.Fprintf(w, `{"runId": %q, "pipelineState": "running", "timestamp": %d}`, runID, timestamp)
		}
	})
}

func run(b *testing.B, dir string, environ []string, name string, args ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environ, os.Stdout, os.Stderr
	require.NoError(b, cmd.Run(), name)
}
