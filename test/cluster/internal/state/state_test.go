package state

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 1 1 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 12 0 4711 99 100"
	cases := []struct {
		reason string
		data   string
		want   procStat
		fails  bool
	}{
		{reason: "a plain command", data: "12 (etcd) S" + rest, want: procStat{state: 'S', startTicks: 4711}},
		{reason: "a command may hold spaces and parentheses", data: "12 (a) b) R) Z" + rest, want: procStat{state: 'Z', startTicks: 4711}},
		{reason: "a cut line is no process", data: "12 (etcd) S 1 1", fails: true},
		{reason: "an empty file is no process", data: "", fails: true},
		{reason: "the start time is a number", data: "12 (etcd) S 1 1 1 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 12 0 x 99", fails: true},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			got, err := parseStat(c.data)
			assert.Equal(t, c.fails, err != nil, "error: %v", err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestOpen(t *testing.T) {
	cases := []struct {
		reason string
		path   string
		fails  bool
	}{
		{reason: "a directory of its own", path: "/tmp/cluster"},
		{reason: "hidden in the namespaces, but kept there", path: "/var/lib/jenkins/cluster"},
		{reason: "memory, and hidden in the namespaces", path: "/run/cluster", fails: true},
		{reason: "the same by another name", path: "/var/run/cluster", fails: true},
		{reason: "a way around", path: "/tmp/../proc/cluster", fails: true},
		{reason: "shared with everyone", path: "/tmp", fails: true},
		{reason: "shared with everyone", path: "/", fails: true},
	}
	for _, c := range cases {
		t.Run(c.reason+" "+c.path, func(t *testing.T) {
			_, err := Open(c.path)
			assert.Equal(t, c.fails, err != nil, "error: %v", err)
		})
	}
}

func TestCgroupNameDiffersBetweenDirectories(t *testing.T) {
	one, err := Open("/tmp/one")
	require.NoError(t, err)
	same, err := Open("/tmp/x/../one")
	require.NoError(t, err)
	two, err := Open("/tmp/two")
	require.NoError(t, err)
	assert.Equal(t, one.CgroupName(), same.CgroupName())
	assert.NotEqual(t, one.CgroupName(), two.CgroupName())
}

func TestIdentity(t *testing.T) {
	dir, err := Open(t.TempDir())
	require.NoError(t, err)
	_, err = dir.Identity()
	require.ErrorIs(t, err, ErrNone)

	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, cmd.Start())
	id, err := IdentityOf(cmd.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, dir.Record(id))
	read, err := dir.Identity()
	require.NoError(t, err)
	assert.True(t, read.Alive(), "the recorded process runs")
	members, err := read.Members()
	require.NoError(t, err)
	assert.Contains(t, members, cmd.Process.Pid)

	other := read
	other.StartTicks++
	assert.False(t, other.Alive(), "another process with the same PID")
	other = read
	other.BootID = "another boot"
	assert.False(t, other.Alive(), "the machine was started anew")
	unpin, err := read.Pin()
	require.NoError(t, err)
	unpin()

	require.NoError(t, cmd.Process.Kill())
	assert.Eventually(t, func() bool { return !read.Alive() }, 10*time.Second, time.Millisecond, "a zombie is not alive")
	require.Error(t, cmd.Wait())
	assert.False(t, read.Alive())

	require.NoError(t, dir.Forget())
	require.NoError(t, dir.Forget(), "forgetting again is no error")
	_, err = dir.Identity()
	require.ErrorIs(t, err, ErrNone)
}

func TestIdentityUnreadable(t *testing.T) {
	dir, err := Open(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir.identity(), []byte("{"), 0o600))
	_, err = dir.Identity()
	require.Error(t, err)
	assert.NotErrorIs(t, err, ErrNone, "a damaged record is not the same as none: a cluster may run")
}

func TestLock(t *testing.T) {
	dir, err := Open(filepath.Join(t.TempDir(), "new"))
	require.NoError(t, err)
	unlock, err := dir.Lock(t.Context())
	require.NoError(t, err)

	errTooLong := errors.New("too long")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errTooLong)
	defer cancel()
	_, err = dir.Lock(ctx)
	require.ErrorIs(t, err, errTooLong, "the lock is held")

	unlock()
	unlock, err = dir.Lock(t.Context())
	require.NoError(t, err)
	unlock()
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, WriteFile(path, []byte("one"), 0o600))
	require.NoError(t, WriteFile(path, []byte("two"), 0o640))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "two", string(data))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file is left")
	assert.Error(t, WriteFile(filepath.Join(path, "below"), nil, 0o600))
}
