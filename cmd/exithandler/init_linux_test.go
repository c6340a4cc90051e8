package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func notAProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte{0}, 0o700))
	return path
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
		"Directory":     {reason: "as a shell has it", args: []string{"run", "--", "/etc"}, want: exitCannotExecute},
		"BadFormat":     {reason: "it may be executed, and is no program", args: []string{"run", "--", notAProgram(t)}, want: exitCannotExecute},
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
	assert.Contains(t, out.String(), `"password": "hunter2"`)
	assert.Contains(t, out.String(), "secret:\n", "the overlay is not given on")

	cmd, out = command(t, []string{"config=a: {password: <from-secret>}", "configSecret=/b: x"}, "run", "--", "true")
	require.Error(t, cmd.Run())
	assert.Contains(t, out.String(), "/a/password", "what is missing is named")
	assert.NotContains(t, out.String(), "hunter2")
}

// TestRunGivesOnEveryExitCode: all 256.
func TestRunGivesOnEveryExitCode(t *testing.T) {
	t.Parallel()
	const codes, parallel = 256, 8
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for code := range codes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			cmd, out := command(t, nil, "run", "--", "sh", "-c", "exit "+strconv.Itoa(code))
			_ = cmd.Run() // The code says it.
			assert.Equal(t, code, cmd.ProcessState.ExitCode(), out)
		})
	}
	wg.Wait()
}

// startReady starts a command and waits until it has written its first line, which it gives.
func startReady(t *testing.T, script string) (*exec.Cmd, string) {
	t.Helper()
	cmd, _ := command(t, nil, "run", "--", "sh", "-c", script)
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd, strings.TrimSpace(line)
}

func TestRunForwardsEachSignal(t *testing.T) {
	t.Parallel()
	for name, number := range map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
		"PIPE": syscall.SIGPIPE, "ALRM": syscall.SIGALRM, "TERM": syscall.SIGTERM, "CONT": syscall.SIGCONT, "WINCH": syscall.SIGWINCH,
		"XCPU": syscall.SIGXCPU, "IO": syscall.SIGIO, "PWR": syscall.SIGPWR, "SYS": syscall.SIGSYS,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, _ := startReady(t, "trap 'exit 7' "+name+"; echo ready; while :; do sleep 0.05; done")
			require.NoError(t, cmd.Process.Signal(number))
			_ = cmd.Wait() // The code says it.
			assert.Equal(t, 7, cmd.ProcessState.ExitCode())
		})
	}
}

// TestRunForwardsRealTimeSignals: from 35 on, as the Go runtime keeps those before for itself.
func TestRunForwardsRealTimeSignals(t *testing.T) {
	t.Parallel()
	for _, number := range []int{35, 42, 64} {
		t.Run(strconv.Itoa(number), func(t *testing.T) {
			t.Parallel()
			cmd, _ := startReady(t, fmt.Sprintf("trap 'exit 7' %d; echo ready; while :; do sleep 0.05; done", number))
			require.NoError(t, cmd.Process.Signal(syscall.Signal(number)))
			_ = cmd.Wait() // The code says it.
			assert.Equal(t, 7, cmd.ProcessState.ExitCode())
		})
	}
}

func TestRunEndsByEachSignal(t *testing.T) {
	t.Parallel()
	harmless := []syscall.Signal{
		syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH, // Ignored.
		syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, // A stop is no end.
	}
	for number := syscall.Signal(1); number <= 31; number++ {
		if slices.Contains(harmless, number) {
			continue
		}
		t.Run(number.String(), func(t *testing.T) {
			t.Parallel()
			cmd, out := command(t, nil, "run", "--", "sh", "-c", fmt.Sprintf("kill -%d $$; sleep 1", number))
			_ = cmd.Run() // The code says it.
			assert.Equal(t, exitSignalBase+int(number), cmd.ProcessState.ExitCode(), out)
		})
	}
}

// TestRunAsProcess1: the kernel gives process 1 no signal that it has no handler for.
func TestRunAsProcess1(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		script string
		signal syscall.Signal
		want   int
	}{
		"Exit":     {reason: "the code is the command's", script: "echo ready; exit 7", want: 7},
		"Term":     {reason: "a command without a handler ends", script: "echo ready; exec sleep 300", signal: syscall.SIGTERM, want: 128 + 15},
		"Int":      {reason: "so it does by others", script: "echo ready; exec sleep 300", signal: syscall.SIGINT, want: 128 + 2},
		"Trapped":  {reason: "one that has a handler decides", script: "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done", signal: syscall.SIGTERM, want: 9},
		"Segfault": {reason: "a crash is told", script: "echo ready; kill -SEGV $$; sleep 1", want: 128 + 11},
		"Orphan":   {reason: "who is left behind ends with it", script: "sleep 300 & echo ready; exit 3", want: 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, _ := command(t, nil, "run", "--", "sh", "-c", tc.script)
			cmd.Stdout, cmd.SysProcAttr = nil, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			if err := cmd.Start(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
				t.Skipf("a PID namespace needs root, and a kernel that has them: %v", err)
			} else {
				require.NoError(t, err)
			}
			_, err = bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			if tc.signal != 0 {
				require.NoError(t, cmd.Process.Signal(tc.signal))
			}
			_ = cmd.Wait() // The code says it.
			assert.Equal(t, tc.want, cmd.ProcessState.ExitCode(), tc.reason)
		})
	}
}

func TestRunIsAnInit(t *testing.T) {
	t.Parallel()
	t.Run("Zombies", func(t *testing.T) {
		t.Parallel()
		// The orphans are given to the init, and end while the command goes on.
		cmd, _ := startReady(t, "for i in 1 2 3; do (sleep 0.05 &); done; echo ready; exec sleep 30")
		assert.Eventually(t, func() bool { return len(children(t, cmd.Process.Pid)) == 1 }, time.Minute, 20*time.Millisecond, "only the command is left")
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait() // By the signal.
	})
	t.Run("ProcessGroup", func(t *testing.T) {
		t.Parallel()
		cmd, pid := startReady(t, "sleep 300 & echo $!; wait")
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait() // The code says it.
		assert.Equal(t, exitSignalBase+int(syscall.SIGTERM), cmd.ProcessState.ExitCode())
		assert.Eventually(t, func() bool {
			_, err := os.Stat("/proc/" + pid)
			return errors.Is(err, os.ErrNotExist) || state("/proc/"+pid) == "Z"
		},
			time.Minute, 20*time.Millisecond, "the signal reaches all that the command started")
	})
	t.Run("TermIgnored", func(t *testing.T) {
		t.Parallel()
		cmd, _ := startReady(t, "trap '' TERM; echo ready; for i in 1 2 3 4 5; do sleep 0.1; done; exit 5")
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait() // The code says it.
		assert.Equal(t, 5, cmd.ProcessState.ExitCode(), "the command decides when it ends")
	})
	t.Run("PipeKept", func(t *testing.T) {
		t.Parallel()
		// A grandchild holds standard output open, and does not hold the container.
		cmd, pid := startReady(t, "sleep 300 & echo $!; exit 4")
		ended, err := cmd.Process.Wait()
		require.NoError(t, err)
		assert.Equal(t, 4, ended.ExitCode())
		number, err := strconv.Atoi(pid)
		require.NoError(t, err)
		assert.NoError(t, syscall.Kill(number, syscall.SIGKILL), "in a container it would end with process 1")
	})
}

// children are the processes of a parent, zombies too.
func children(t *testing.T, parent int) []string {
	t.Helper()
	// They are those of the thread that made or inherited them.
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skip("this kernel does not tell a process's children")
	}
	out := make([]string, 0, len(files))
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		out = append(out, strings.Fields(string(data))...)
	}
	return out
}

func state(proc string) string {
	data, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	return fields[0]
}

// TestByHand: under kubectl exec the one who looks has a terminal of their own.
func TestByHand(t *testing.T) {
	t.Parallel()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	open := func(path string) *os.File {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOCTTY, 0o600)
		require.NoError(t, err)
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
	terminal, log := open(fmt.Sprint("/dev/pts/", number)), open(filepath.Join(t.TempDir(), "log"))
	assert.True(t, byHand(terminal, log), "a terminal is shown what is reported")
	assert.False(t, byHand(terminal, open(fmt.Sprint("/dev/pts/", number))), "once, where it is the container's own")
	assert.False(t, byHand(log, terminal), "a hook's output goes nowhere")
}

// TestRunAtTheLimitsOfTheKernel: what is handed over is really executed.
func TestRunAtTheLimitsOfTheKernel(t *testing.T) {
	t.Parallel()
	// The secret is longer than its placeholder, so only what is merged may be too large.
	const longest = 128<<10 - 1
	secret := strings.Repeat("s", 100)
	room := longest - len(`config={"a": {"password": "`+secret+`"}, "x": ""}`)
	configuration := func(filler int) []string {
		return []string{`config={"a": {"password": "<from-secret>"}, "x": "` + strings.Repeat("x", filler) + `"}`, `configSecret={"/a/password": "` + secret + `"}`}
	}
	cases := map[string]struct {
		reason string
		env    []string
		want   int
		says   string
	}{
		"Largest":  {reason: "one string of 128 KiB with its NUL", env: configuration(room)},
		"TooLarge": {reason: "one byte more is refused, and said", env: configuration(room + 1), want: exitCannotExecute, says: "variable config has 131072 bytes, and Linux gives a process at most 131071"},
		"Variable": {reason: "the user's own", env: append(configuration(1), "BIG="+strings.Repeat("x", longest-len("BIG=")))},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, out := command(t, tc.env, "run", "--", "sh", "-c", "echo executed")
			err := cmd.Run()
			if tc.want == 0 {
				require.NoError(t, err, out)
				assert.Contains(t, out.String(), "executed", tc.reason)
				return
			}
			assert.Equal(t, tc.want, cmd.ProcessState.ExitCode(), tc.reason)
			assert.Contains(t, out.String(), tc.says, tc.reason)
			assert.NotContains(t, out.String(), "ssss")
		})
	}
}

// TestRunOfTooManyVariables: a quarter of the stack limit is for all of them together.
func TestRunOfTooManyVariables(t *testing.T) {
	t.Parallel()
	env := make([]string, 15)
	for i := range env {
		env[i] = fmt.Sprintf("BIG%d=%s", i, strings.Repeat("x", 120000))
	}
	cmd, out := command(t, env, "run", "--", "sh", "-c", "echo executed")
	require.NoError(t, cmd.Run(), out)
	assert.Contains(t, out.String(), "executed", "1.8 MB, as much as a deploy lets through")

	// A process whose variables are larger could not be started here in the first place.
	err := tooLarge([]string{"python"}, []string{"A=" + strings.Repeat("x", 100), "B=hunter2"})
	require.ErrorContains(t, err, "have 120 bytes together")
	require.ErrorContains(t, err, "the largest is A with 102 bytes")
	assert.NotContains(t, err.Error(), "xxx")
}
