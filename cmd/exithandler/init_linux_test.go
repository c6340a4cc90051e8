package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain makes the test binary the command itself where it is told so: `run` ends the process.
func TestMain(m *testing.M) {
	if os.Getenv("EXITHANDLER_TEST_MAIN") != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func command(t *testing.T, env []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "EXITHANDLER_TEST_MAIN=1"), env...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		args   []string
		want   int
	}{
		"Zero":          {reason: "a success is one", args: []string{"run", "--", "sh", "-c", "exit 0"}, want: 0},
		"Code":          {reason: "the code is the command's own", args: []string{"run", "--", "sh", "-c", "exit 3"}, want: 3},
		"Greatest":      {reason: "codes go to 255", args: []string{"run", "--", "sh", "-c", "exit 255"}, want: 255},
		"Killed":        {reason: "128+n, as a shell has it", args: []string{"run", "--", "sh", "-c", "kill -KILL $$"}, want: 137},
		"Segfault":      {reason: "so for every signal", args: []string{"run", "--", "sh", "-c", "kill -SEGV $$"}, want: 139},
		"NotFound":      {reason: "as a shell has it", args: []string{"run", "--", "no-such-command"}, want: exitNotFound},
		"NotExecutable": {reason: "as a shell has it", args: []string{"run", "--", "/etc/passwd"}, want: exitCannotExecute},
		"NoCommand":     {reason: "wrong arguments", args: []string{"run", "--"}, want: exitUsage},
		"Unknown":       {reason: "wrong arguments", args: []string{"fly"}, want: exitUsage},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, out := command(t, nil, tc.args...)
			err := cmd.Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok {
				require.NoError(t, err, out)
			} else {
				assert.Equal(t, tc.want, exit.ExitCode(), "%s: %s", tc.reason, out)
			}
			assert.Equal(t, tc.want, cmd.ProcessState.ExitCode(), tc.reason)
		})
	}
}

func TestRunForwardsSignals(t *testing.T) {
	t.Parallel()
	cmd, _ := command(t, nil, "run", "--", "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
	cmd.Stdout = nil
	ready, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = ready.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait() // The code says it.
	assert.Equal(t, 7, cmd.ProcessState.ExitCode())
}

func TestRunGivesTheWholeConfiguration(t *testing.T) {
	t.Parallel()
	cmd, out := command(t, []string{"config=a: {password: <from-secret>}", "configSecret=/a/password: hunter2"},
		"run", "--", "sh", "-c", `echo "$config"; echo "secret:$configSecret"`)
	require.NoError(t, cmd.Run(), out)
	assert.Contains(t, out.String(), "password: hunter2")
	assert.Contains(t, out.String(), "secret:\n", "the overlay is not given on")

	cmd, out = command(t, []string{"config=a: {password: <from-secret>}", "configSecret=/b: x"}, "run", "--", "true")
	require.Error(t, cmd.Run())
	assert.Contains(t, out.String(), "/a/password", "what is missing is named")
	assert.NotContains(t, out.String(), "hunter2")
}
