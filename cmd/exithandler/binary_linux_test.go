package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/internal/syncbuffer"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

const mebibyte = 1 << 20

// binary is the program as `make build` makes it. Without what it is made of in Go's cache that takes as long as it takes.
func binary(t *testing.T) string {
	t.Helper()
	recipe := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-n", "build")
	recipe.Dir = "../.."
	lines, err := recipe.Output()
	require.NoError(t, err)
	folder := t.TempDir()
	var commands strings.Builder
	for line := range strings.Lines(string(lines)) {
		if strings.HasSuffix(strings.TrimSpace(line), " ./cmd/exithandler") {
			commands.WriteString(strings.Replace(line, " -o bin/ ", " -o "+folder+"/ ", 1))
		}
	}
	script := commands.String()
	require.Contains(t, script, folder, "the recipe is another: %s", lines)
	build := exec.CommandContext(t.Context(), "bash", "-c", script)
	build.Dir = "../.."
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	return filepath.Join(folder, "exithandler")
}

// TestBinary: the program is copied into every run's pod, and its sidecar may use 64 MiB, also where a workflow has written
// as much as OpenMetadata takes.
func TestBinary(t *testing.T) {
	t.Parallel()
	program := binary(t)
	info, err := os.Stat(program)
	require.NoError(t, err)
	assert.LessOrEqual(t, info.Size(), int64(15*mebibyte), "it is small")
	const most = 56 * mebibyte // 48 were measured; the kernel takes its part of the 64.
	cases := map[string]struct {
		reason   string
		failures []omapi.StackTraceError
	}{
		"OneString":    {reason: "a stack trace of 10 MiB", failures: []omapi.StackTraceError{{Name: "t", Error: "e", StackTrace: strings.Repeat("x", 10*mebibyte)}}},
		"ManyFailures": {reason: "10,000 failures of 1 KiB", failures: manyFailures(10_000)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { // One after the other: with the race detector the stand-in has seconds to do for each.
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			large := omapi.NewStep(omapi.StepSummary{Name: "Source", Failures: tc.failures})
			// Not by this project's client, which waits half a minute for an answer.
			answer, err := server.PutStatus(t, "svc.nightly", &omapi.PipelineStatus{
				RunID: testRunID, State: omapi.StateRunning, Timestamp: testTimestamp, StartDate: testTimestamp, Steps: []omapi.Step{large},
			})
			require.NoError(t, err)
			require.True(t, answer.IsSuccess(), answer.Status())
			api := newPodAPI(newJob(noRetries))
			api.set(ended(1), nil)
			cmd := exec.CommandContext(t.Context(), program, "watch")
			cmd.Env = append(variablesOf(server, server.Token, "terminationGracePeriodSeconds=1800"), "KUBECONFIG="+kubeconfig(t, api.mux))
			log := &syncbuffer.Buffer{}
			cmd.Stdout, cmd.Stderr = log, log
			require.NoError(t, cmd.Start())
			// It is memory that is scarce here, not time: with this little, so much takes a slow machine minutes.
			assert.Eventually(t, func() bool { return strings.Contains(log.String(), "reported") }, 15*patience, 20*time.Millisecond, tc.reason)
			peak := peakMemory(t, cmd.Process.Pid)
			t.Logf("%s: %.1f MiB", tc.reason, float64(peak)/mebibyte)
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, cmd.Wait(), log)
			assert.Less(t, peak, int64(most), tc.reason)
			run := server.Run(t, "svc.nightly", testRunID)
			assert.Equal(t, "failed", run.State)
			assert.Len(t, run.Rows, 1)
			assert.Greater(t, len(run.Rows[0]), 10*mebibyte, "nothing of the workflow's is lost")
		})
	}
}

func manyFailures(count int) []omapi.StackTraceError {
	failures := make([]omapi.StackTraceError, count)
	for i := range failures {
		failures[i] = omapi.StackTraceError{Name: fmt.Sprint("table ", i), Error: strings.Repeat("e", 1024)}
	}
	return failures
}

// peakMemory is the most that a process has had resident so far, in bytes. The kernel's rusage counts what its parent had too.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		var kibibytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kibibytes); err == nil {
			return kibibytes << 10
		}
	}
	require.Fail(t, "the kernel does not tell")
	return 0
}
