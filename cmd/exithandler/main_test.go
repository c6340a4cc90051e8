package main

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/pipelinectl/pipelinectl/internal/syncbuffer"
)

// TestMain makes the test binary the command itself where it is told so: `run` ends the process.
func TestMain(m *testing.M) {
	if os.Getenv("EXITHANDLER_TEST_MAIN") != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func command(t *testing.T, env []string, args ...string) (*exec.Cmd, *syncbuffer.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "EXITHANDLER_TEST_MAIN=1"), env...)
	out := &syncbuffer.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}
