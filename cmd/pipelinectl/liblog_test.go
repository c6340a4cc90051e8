package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/internal/syncbuffer"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// command is the program as a process of its own, which a test may set variables for, interrupt, and see crash.
func command(t *testing.T, env []string, args ...string) (cmd *exec.Cmd, stdout, stderr *syncbuffer.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "PIPELINECTL_TEST_MAIN=1"), env...)
	stdout, stderr = &syncbuffer.Buffer{}, &syncbuffer.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// begin starts a command that ends with its test.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// overTLS is a kubeconfig for a server that is reached by a transport of client-go's own. The user is YAML.
func overTLS(t *testing.T, handler http.Handler, user string) string {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return write(t, "kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: test, user: %s}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`, server.URL, user))
}

// breaking sends the beginning of an answer, and then breaks off.
func breaking(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","items":[`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// slow sends the beginning of an answer, and then nothing.
func slow(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","items":[`)
	_ = http.NewResponseController(w).Flush()
	<-req.Context().Done()
	panic(http.ErrAbortHandler)
}

// TestLibrariesLog makes what is below log. The user reads one line that is ours, and the library's only where he asks for it.
func TestLibrariesLog(t *testing.T) {
	t.Parallel()
	empty := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","items":[]}`)
	})
	warning := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Warning", `299 - "v1 is old"`)
		empty(w, req)
	})
	plugin := func(t *testing.T) string {
		t.Helper()
		// It gives a token once, and then fails, as one whose login has expired.
		used := write(t, "used", "")
		script := write(t, "plugin", fmt.Sprintf(`#!/bin/sh
if [ -s %[1]s ]; then exit 1; fi
echo used > %[1]s
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"hunter2"}}'
`, used))
		require.NoError(t, os.Chmod(script, 0o700))
		return fmt.Sprintf(`{exec: {apiVersion: client.authentication.k8s.io/v1, command: %q, interactiveMode: Never}}`, script)
	}
	cases := map[string]struct {
		reason string
		kube   http.Handler
		user   func(*testing.T) string
		env    []string
		args   []string
		code   int
		// want is in the one line that is told, library in what is logged.
		want, library string
	}{
		"HTTP2Disabled": {reason: "Go's and Kubernetes' variables are set for other programs", kube: empty, env: []string{"DISABLE_HTTP2=1"}, want: "no pipeline is deployed", library: "HTTP2 has been explicitly disabled"},
		"HTTP2Ping":     {reason: "so they are wrongly", kube: empty, env: []string{"HTTP2_PING_TIMEOUT_SECONDS=x"}, want: "no pipeline is deployed", library: "Illegal HTTP2_PING_TIMEOUT_SECONDS"},
		"Expired":       {reason: "a login has expired", kube: refusing(apierrors.NewUnauthorized("no")), user: plugin, code: exitAuth, want: "log in to the cluster again", library: "refreshing credentials"},
		"Cut":           {reason: "a load balancer ends a connection", kube: http.HandlerFunc(breaking), code: exitError, want: "no answer from the Kubernetes API", library: "Unexpected error when reading response body"},
		"Slow":          {reason: "time is over during an answer", kube: http.HandlerFunc(slow), args: []string{"--timeout=1s"}, code: exitError, want: "the command's --timeout of 1s is over", library: "Unexpected error when reading response body"},
		"Warning":       {reason: "the API server warns", kube: warning, want: "no pipeline is deployed", library: "v1 is old"},
	}
	for name, tc := range cases {
		for _, verbose := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/verbose=%t", name, verbose), func(t *testing.T) {
				t.Parallel()
				user := "{token: hunter2}"
				if tc.user != nil {
					user = tc.user(t)
				}
				args := append([]string{"list", "--kubeconfig", overTLS(t, tc.kube, user)}, tc.args...)
				if verbose {
					args = append(args, "-v")
				}
				cmd, stdout, stderr := command(t, tc.env, args...)
				_ = cmd.Run()
				assert.Equal(t, tc.code, cmd.ProcessState.ExitCode(), "%s: %s", tc.reason, stderr)
				assert.Empty(t, stdout.String())
				assert.NotContains(t, stderr.String(), "goroutine")
				assert.NotContains(t, stderr.String(), "hunter2")
				assert.Contains(t, stderr.String(), tc.want, tc.reason)
				if verbose {
					assert.Contains(t, stderr.String(), tc.library, tc.reason)
					assert.Contains(t, stderr.String(), "msg=request api=Kubernetes method=GET url=\"https://127.0.0.1:")
					return
				}
				assert.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr)
			})
		}
	}
}

// TestInterruptOfABulkDeploy: an interrupt while the API server works on many requests.
func TestInterruptOfABulkDeploy(t *testing.T) {
	t.Parallel()
	const count = 20
	om := omtest.Start(t, openmetadata.Options{})
	documents := make([]string, 0, 1+count)
	documents = append(documents, "name: svc\nserviceType: Mysql\n")
	for i := range count {
		documents = append(documents, strings.Replace(goodPipeline, "nightly", fmt.Sprint("p", i), 1))
	}
	arrived, answer := make(chan struct{}, 1000), make(chan struct{})
	kube := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/version":
			fmt.Fprint(w, `{"gitVersion":"v1.37.2"}`)
		case req.Method == http.MethodPatch:
			arrived <- struct{}{}
			<-answer
			panic(http.ErrAbortHandler)
		default:
			refusing(apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "x")).ServeHTTP(w, req)
		}
	})
	cmd, stdout, stderr := command(t, nil, "deploy", "-f", write(t, "all.yaml", strings.Join(documents, "---\n")),
		"--kubeconfig", overTLS(t, kube, "{token: hunter2}"), "--openmetadata-url", om.URL, "--openmetadata-token", om.Token, "--set", "ingestionImage=a:1")
	begin(t, cmd)
	<-arrived
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	close(answer)
	_ = cmd.Wait()
	assert.Equal(t, exitCancelled, cmd.ProcessState.ExitCode(), stderr)
	assert.Empty(t, stdout.String())
	assert.NotContains(t, stderr.String(), "goroutine")
	assert.NotContains(t, stderr.String(), "context canceled", "it is said in words")
	assert.Contains(t, stderr.String(), "interrupted")
}

// TestInterruptedCommands: whatever is interrupted, the exit code is 2, and the message says what was interrupted, and not that
// a server does not answer.
func TestInterruptedCommands(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"List": {"list"}, "Logs": {"logs", "svc.nightly", "-f"}, "Status": {"status", "svc.nightly"}, "Run": {"run", "svc.nightly"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 100)
			kube := http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				asked <- struct{}{}
				<-req.Context().Done()
			})
			cmd, stdout, stderr := command(t, nil, append(args, "--kubeconfig", overTLS(t, kube, "{}"), "--openmetadata-url", "http://127.0.0.1:1/api", "--set", "ingestionImage=a:1")...)
			begin(t, cmd)
			<-asked
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			_ = cmd.Wait()
			assert.Equal(t, exitCancelled, cmd.ProcessState.ExitCode(), stderr)
			assert.Empty(t, stdout.String())
			assert.Regexp(t, `^pipelinectl: cannot .*: interrupted\n$`, stderr.String())
		})
	}
}

// TestServeLogsWhatLibrariesLog: each line is an object of the same form.
func TestServeLogsWhatLibrariesLog(t *testing.T) {
	t.Parallel()
	om := omtest.Start(t, openmetadata.Options{})
	var watched atomic.Bool
	kube := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		watched.Store(true)
		refusing(apierrors.NewUnauthorized("no")).ServeHTTP(w, req)
	})
	cmd, _, stderr := command(t, []string{"DISABLE_HTTP2=1"}, "serve", "-v", "--kubeconfig", overTLS(t, kube, "{}"), "--openmetadata-url", om.URL, "--openmetadata-token", om.Token)
	begin(t, cmd)
	require.Eventually(t, func() bool { return watched.Load() && strings.Contains(stderr.String(), "api/v1") }, time.Minute, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), stderr)
	seen := map[string]int{}
	for line := range strings.Lines(stderr.String()) {
		var entry struct {
			Msg string `json:"msg"`
			API string `json:"api"`
		}
		decoder := json.NewDecoder(bytes.NewBufferString(line))
		require.NoError(t, decoder.Decode(&entry), line)
		seen[entry.Msg]++
		if entry.Msg == "request" {
			seen[entry.API]++
		}
	}
	assert.Equal(t, 1, seen["HTTP2 has been explicitly disabled"], "once, in its form: %s", stderr)
	assert.Positive(t, seen["Kubernetes"], "requests are shown")
	assert.NotContains(t, stderr.String(), om.Token)
}

func TestShownURL(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ reason, url, want string }{
		{"what we send is shown", "https://k/api/v1/pods?labelSelector=a%3Db&limit=5", "https://k/api/v1/pods?labelSelector=a=b&limit=5"},
		{"a password is not", "https://u:hunter2@k/x", "https://k/x"},
		{"nor is what is not known", "https://k/x?api_key=hunter2", "https://k/x?api_key=…"},
		{"a name stays escaped as it is sent", "https://k/name/a%2Fb", "https://k/name/a%2Fb"},
	} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tc.url, nil)
		assert.Equal(t, tc.want, shownURL(req.URL), tc.reason)
	}
}
