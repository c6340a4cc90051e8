// Package images tests that the ingestion images behave, seen from outside, as OpenMetadata's own does.
package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/entities"
)

// hang bounds one run, which takes seconds.
const hang = 2 * time.Minute

// setup is one run of an entry point: the environment of its container, and the server that it reports to.
type setup struct {
	server  *openmetadata.Server
	client  *omapi.Client
	fqn     string
	runID   string
	config  map[string]any
	environ map[string]string
	token   string
	log     string // Of the last attempt.
}

type entryPointCase struct {
	reason  string
	options map[string]string
	prepare func(t *testing.T, s *setup)
	// during is called once the run is at work.
	during func(t *testing.T, s *setup)
	// before are the exit codes of earlier attempts of the run.
	before []int
	code   int
	states []omapi.PipelineState
	check  func(t *testing.T, s *setup, run *admin.Run)
}

// entryPointCases are what upstream's entry point was measured to do.
func entryPointCases() map[string]entryPointCase {
	const running, success, failed, partial = omapi.StateRunning, omapi.StateSuccess, omapi.StateFailed, omapi.StatePartialSuccess
	states := func(s ...omapi.PipelineState) []omapi.PipelineState { return s }
	timestamp := time.Now().Add(-time.Hour).UnixMilli()
	return map[string]entryPointCase{
		"Succeeds":       {reason: "the usual run", states: states(running, success)},
		"PartlySucceeds": {reason: "one row in twenty fails", options: map[string]string{"rows": "20", "errors": "1"}, states: states(running, partial)},
		"Fails": {
			reason: "all rows fail", options: map[string]string{"rows": "20", "errors": "20"}, code: 1, states: states(running, failed),
			check: func(t *testing.T, _ *setup, run *admin.Run) {
				t.Helper()
				assert.Equal(t, 10, run.Writes[1].Failures, "the first ten are kept")
			},
		},
		"FailsWhileReads": {reason: "an exception in the source", options: map[string]string{"fault": "raise", "rows": "2"}, code: 1, states: states(running, failed)},
		"RaisesAtTheEnd":  {reason: "an exception is one failure among many rows", options: map[string]string{"fault": "raise"}, states: states(running, partial)},
		"SourceNotMade":   {reason: "running is written before the source is made", options: map[string]string{"fault": "raise", "faultAt": "constructor"}, code: 1, states: states(running)},
		"ExitsInSource":   {reason: "SystemExit passes for success", options: map[string]string{"fault": "exit:3"}, code: 3, states: states(running, success)},
		"ExitsAtTheEnd":   {reason: "a process can fail after its success", options: map[string]string{"fault": "exit:3", "faultAt": "end"}, code: 3, states: states(running, success)},
		"Killed":          {reason: "nobody is left to report", options: map[string]string{"fault": "signal:SIGKILL"}, code: 137, states: states(running)},
		"Terminated":      {reason: "SIGTERM has no handler", options: map[string]string{"fault": "signal:SIGTERM"}, code: 143, states: states(running)},
		"UnknownField": {reason: "the configuration's schema is closed", code: 1, prepare: func(_ *testing.T, s *setup) {
			s.config["surprise"] = true
		}},
		"RunIDNoUUID": {reason: "the schema wants a UUID", code: 1, prepare: func(_ *testing.T, s *setup) {
			s.environ["pipelineRunId"] = "not-one"
		}},
		"UnknownType": {reason: "no workflow for it", code: 1, prepare: func(_ *testing.T, s *setup) {
			s.environ["pipelineType"] = "surprise"
		}},
		"NotAuthorized": {reason: "the first call fails", code: 1, prepare: func(t *testing.T, s *setup) {
			t.Helper()
			s.fault(t, admin.Fault{Kind: admin.FaultStatus, Status: 401})
		}},
		"WritesRefused": {
			reason: "errors of status writes are swallowed",
			prepare: func(t *testing.T, s *setup) {
				t.Helper()
				s.fault(t, admin.Fault{Kind: admin.FaultStatus, Status: 500, Method: "PUT", Path: "pipelineStatus$"})
			},
			check: func(t *testing.T, s *setup, _ *admin.Run) {
				t.Helper()
				refused, err := s.server.Requests(admin.RequestFilter{Method: "PUT", Path: "pipelineStatus$", Status: 500})
				require.NoError(t, err)
				assert.Len(t, refused, 2, "running and success were tried")
			},
		},
		"Queued": {
			reason: "a record keeps its start and timestamp", states: states(omapi.StateQueued, running, success),
			prepare: func(t *testing.T, s *setup) {
				t.Helper()
				s.put(t, &omapi.PipelineStatus{RunID: s.runID, State: omapi.StateQueued, StartDate: timestamp, Timestamp: timestamp})
			},
			check: func(t *testing.T, s *setup, run *admin.Run) {
				t.Helper()
				assert.Equal(t, []int64{timestamp, timestamp}, []int64{run.StartDate, run.Timestamp})
				assert.NotContains(t, s.written(t, 0), "endDate")
				assert.Contains(t, s.written(t, 1), "endDate", "running has one where a record was there")
			},
		},
		"TellsItsOrigin": {
			reason: "a run's id may be a UUID of version 8, and is all that tells where the run is of: metadata is written over", states: states(omapi.StateQueued, running, success),
			prepare: func(t *testing.T, s *setup) {
				t.Helper()
				s.runID = identity.NewRunID(identity.OriginOf("a namespace"))
				s.environ["pipelineRunId"] = s.runID
				s.put(t, &omapi.PipelineStatus{
					RunID: s.runID, State: omapi.StateQueued, StartDate: timestamp, Timestamp: timestamp, Metadata: json.RawMessage(`{"kubernetes":{"namespace":"a namespace"}}`),
				})
			},
			check: func(t *testing.T, s *setup, run *admin.Run) {
				t.Helper()
				assert.Equal(t, s.runID, run.RunID)
				assert.Contains(t, s.written(t, 0), "kubernetes")
				assert.NotContains(t, s.written(t, 1), "kubernetes")
			},
		},
		"FailedBefore": {
			reason: "a retry writes over the failed attempt's record", states: states(failed, running, success),
			prepare: func(t *testing.T, s *setup) {
				t.Helper()
				s.put(t, &omapi.PipelineStatus{
					RunID: s.runID, State: failed, StartDate: timestamp, Timestamp: timestamp, EndDate: timestamp + 1,
					Steps: []omapi.Step{omapi.NewStep(omapi.StepSummary{Name: "Source", Failures: []omapi.StackTraceError{{Name: "old", Error: "failure"}}})},
				})
			},
			check: func(t *testing.T, _ *setup, run *admin.Run) {
				t.Helper()
				assert.Equal(t, []int{1, 1, 0}, []int{run.Writes[0].Failures, run.Writes[1].Failures, run.Writes[2].Failures}, "running keeps the old ones")
			},
		},
		"FailsThenSucceeds": {
			reason: "an attempt knows of the one before", options: map[string]string{"rows": "2", "errors": "2", "failAttempts": "1"},
			before: []int{1}, states: states(running, failed, running, success),
		},
		"OptionRefused": {
			reason: "options are read after running is written", options: map[string]string{"fault": "raise", "faultAt": "end"}, code: 1, states: states(running),
		},
		"Memory": {reason: "it is held, not leaked into an error", options: map[string]string{"fault": "memory:64"}, states: states(running, success)},
		"Hangs": {
			reason: "SIGTERM has no handler", options: map[string]string{"fault": "hang"}, code: 143, states: states(running),
			during: func(t *testing.T, s *setup) {
				t.Helper()
				s.signal(t, syscall.SIGTERM)
			},
		},
		"IgnoresSigterm": {
			reason: "only SIGKILL ends it", options: map[string]string{"fault": "hang", "ignoreSigterm": "true"}, code: 137, states: states(running),
			during: func(t *testing.T, s *setup) {
				t.Helper()
				require.Eventually(t, func() bool { return ignored(t, s.process(t), syscall.SIGTERM) }, hang, 100*time.Millisecond)
				s.signal(t, syscall.SIGTERM)
				s.signal(t, syscall.SIGKILL)
			},
		},
		"Logs": {
			reason: "it logs as it is told", states: states(running, success), options: map[string]string{
				"logBytes": "5000", "logLineBytes": "3000", "logRaw": "notUtf8,nul", "printSecrets": "true", "dbPassword": "hunter2",
			},
			check: func(t *testing.T, s *setup, _ *admin.Run) {
				t.Helper()
				assert.Equal(t, 50, strings.Count(s.log, "simulated log line ..."))
				for _, want := range []string{
					"\n" + strings.Repeat("x", 3000) + "\n", "raw bytes: \xff\xfe\xc3(\n", "before\x00after",
					"connecting with hunter2\n", "connecting with " + s.token + "\n",
				} {
					assert.Contains(t, s.log, want)
				}
			},
		},
		"NoRunID": {
			reason: "it reports under an id that nobody knows", states: states(running, success), prepare: func(_ *testing.T, s *setup) {
				delete(s.environ, "pipelineRunId")
			},
			check: func(t *testing.T, s *setup, run *admin.Run) {
				t.Helper()
				assert.NotEqual(t, s.runID, run.RunID)
				assert.NoError(t, uuid.Validate(run.RunID))
			},
		},
		"ServerDown": {reason: "the first call fails", code: 1, prepare: func(t *testing.T, s *setup) {
			t.Helper()
			s.fault(t, admin.Fault{Kind: admin.FaultDown})
		}},
		"UnknownFieldInRecord": {reason: "the client's model of a record is closed, and the error is swallowed", prepare: func(t *testing.T, s *setup) {
			t.Helper()
			s.fault(t, admin.Fault{
				Kind: admin.FaultStatus, Status: 200, Method: "GET", Path: "pipelineStatus/",
				Body: `{"runId":"` + s.runID + `","pipelineState":"queued","timestamp":1,"surprise":1}`,
			})
		}},
	}
}

func TestLightImage(t *testing.T) { testEntryPoint(t, "ingestion-light") }

func TestRealImage(t *testing.T) { testEntryPoint(t, "ingestion") }

func testEntryPoint(t *testing.T, image string) {
	t.Helper()
	if os.Getenv("PIPELINECTL_E2E") == "" || os.Geteuid() != 0 {
		t.Skip("PIPELINECTL_E2E is not set, or not root: this test needs built images, run it by make test-integration")
	}
	container := newContainer(t, image)
	for name, tc := range entryPointCases() {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t, tc.options)
			if tc.prepare != nil {
				tc.prepare(t, s)
			}
			for _, code := range append(tc.before, tc.code) {
				require.Equal(t, code, s.run(t, container, tc.during), "%s\n%s", tc.reason, s.log)
			}
			run := s.onlyRun(t)
			states := make([]omapi.PipelineState, 0, len(run.Writes))
			for _, write := range run.Writes {
				states = append(states, omapi.PipelineState(write.State))
			}
			assert.Equal(t, append([]omapi.PipelineState{}, tc.states...), states, "%s\n%s", tc.reason, s.log)
			if tc.check != nil {
				tc.check(t, s, run)
			}
		})
	}
}

// newContainer makes a container of an image, which every run of the test shares.
func newContainer(t *testing.T, image string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "buildah", "from", "pipelinectl.local/"+image+":dev").CombinedOutput()
	require.NoError(t, err, "build it first: test/images/build.sh %s\n%s", image, out)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	container := lines[len(lines)-1]
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		assert.NoError(t, exec.CommandContext(ctx, "buildah", "rm", container).Run())
	})
	return container
}

func newSetup(t *testing.T, options map[string]string) *setup {
	t.Helper()
	server, err := openmetadata.New(openmetadata.Options{})
	require.NoError(t, err)
	listener, err := server.Listen(t.Context(), "127.0.0.1:0", nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		server.ClearFaults()
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		assert.NoError(t, listener.Close(ctx))
	})
	token, err := server.Token(admin.TokenBot)
	require.NoError(t, err)
	url := listener.URL() + "/api"
	om := entities.Client{URL: url, Token: token}
	_, err = om.Create(t.Context(), entities.Service("svc", options), entities.Pipeline("metadata"))
	require.NoError(t, err)
	client, err := omapi.New(omapi.Config{URL: url, Token: token})
	require.NoError(t, err)
	s := &setup{server: server, client: client, token: token, fqn: "svc.metadata", runID: uuid.NewString()}
	s.config = map[string]any{
		"source": map[string]any{
			"type": "customdatabase", "serviceName": "svc",
			"sourceConfig": map[string]any{"config": map[string]any{"type": "DatabaseMetadata"}},
		},
		"sink": map[string]any{"type": "metadata-rest", "config": map[string]any{}},
		"workflowConfig": map[string]any{"openMetadataServerConfig": map[string]any{
			"hostPort": url, "authProvider": "openmetadata", "securityConfig": map[string]any{"jwtToken": token},
		}},
		"ingestionPipelineFQN": s.fqn,
	}
	s.environ = map[string]string{"pipelineType": "metadata", "pipelineRunId": s.runID}
	return s
}

// run runs the container's entry point as a pod does, and gives its exit code.
func (s *setup) run(t *testing.T, container string, during func(*testing.T, *setup)) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	config, err := yaml.Marshal(s.config)
	require.NoError(t, err)
	var variables []string
	s.environ["config"] = string(config)
	for name, value := range s.environ {
		variables = slices.Concat(variables, []string{"--env", name + "=" + value})
	}
	args := slices.Concat([]string{"run", "--isolation", "chroot", "--user", "1000:1000"}, variables,
		[]string{container, "--", "exithandler", "run", "--", "python", "main.py"})
	command := exec.CommandContext(ctx, "buildah", args...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	require.NoError(t, command.Start())
	if during != nil {
		require.Eventually(t, func() bool { return s.onlyRun(t).State == string(omapi.StateRunning) }, hang, 100*time.Millisecond)
		during(t, s)
	}
	err = command.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	s.log = out.String()
	return command.ProcessState.ExitCode()
}

// process is the entry point's process; its environment has the run's id.
func (s *setup) process(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, file := range files {
		environ, _ := os.ReadFile(file) // It may have ended.
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if bytes.Contains(environ, []byte("pipelineRunId="+s.runID+"\x00")) && bytes.HasPrefix(command, []byte("python\x00main.py")) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			require.NoError(t, err)
			return pid
		}
	}
	require.Fail(t, "the entry point does not run")
	return 0
}

func (s *setup) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(s.process(t), signal))
}

// ignored says whether a process ignores a signal, by proc_pid_status(5).
func ignored(t *testing.T, pid int, signal syscall.Signal) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "SigIgn:\t")
	require.True(t, found)
	text, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(text, 16, 64)
	require.NoError(t, err)
	return mask&(1<<(signal-1)) != 0
}

// written is the body of a status write, counted from 0.
func (s *setup) written(t *testing.T, number int) string {
	t.Helper()
	writes, err := s.server.Requests(admin.RequestFilter{Method: "PUT", Path: "pipelineStatus$"})
	require.NoError(t, err)
	require.Greater(t, len(writes), number)
	return writes[number].Body
}

// onlyRun is the one run that was written of; an empty one where none was.
func (s *setup) onlyRun(t *testing.T) *admin.Run {
	t.Helper()
	pipelines, err := s.server.Pipelines()
	require.NoError(t, err)
	require.Len(t, pipelines, 1)
	switch runs := pipelines[0].Runs; len(runs) {
	case 0:
		return &admin.Run{}
	case 1:
		return &runs[0]
	default:
		require.Fail(t, "more than one run", "%+v", runs)
		return nil
	}
}

func (s *setup) fault(t *testing.T, fault admin.Fault) {
	t.Helper()
	_, err := s.server.AddFault(t.Context(), fault)
	require.NoError(t, err)
}

func (s *setup) put(t *testing.T, status *omapi.PipelineStatus) {
	t.Helper()
	require.NoError(t, s.client.PutStatus(t.Context(), s.fqn, status))
}
