package cgroup

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In these tests plain directories stand for the kernel's: a written control file
// then shows what the kernel would have been told last.
func TestCreateInheritsTheCPUSet(t *testing.T) {
	mount := t.TempDir()
	group := filepath.Join(mount, "group")
	require.NoError(t, os.Mkdir(group, 0o700))
	write(t, filepath.Join(mount, "cpuset.cpus"), "0-3\n")
	write(t, filepath.Join(mount, "cpuset.mems"), "0\n")
	write(t, filepath.Join(group, "cpuset.cpus"), "\n")
	write(t, filepath.Join(group, "cpuset.mems"), "1\n")

	require.NoError(t, Create([]Hierarchy{{Mount: mount}}, "group"))

	assert.Equal(t, "0-3\n", read(t, filepath.Join(group, "cpuset.cpus")), "an empty set is filled")
	assert.Equal(t, "1\n", read(t, filepath.Join(group, "cpuset.mems")), "a set one stays")
}

func TestCreateEnablesControllers(t *testing.T) {
	mount := t.TempDir()
	write(t, filepath.Join(mount, "cgroup.controllers"), "cpu memory io\n")
	write(t, filepath.Join(mount, "cgroup.subtree_control"), "cpu\n")

	require.NoError(t, Create([]Hierarchy{{Mount: mount, V2: true}}, "group"))

	// What was written last: io would have come after it.
	assert.Equal(t, "+memory", read(t, filepath.Join(mount, "cgroup.subtree_control")))
	assert.DirExists(t, filepath.Join(mount, "group"))
}

func TestRemove(t *testing.T) {
	one, two := Hierarchy{Mount: t.TempDir()}, Hierarchy{Mount: t.TempDir()}
	deep := filepath.Join(one.Mount, "group", "kubepods", "pod1")
	require.NoError(t, os.MkdirAll(deep, 0o700))
	other := filepath.Join(one.Mount, "other", "kubepods")
	require.NoError(t, os.MkdirAll(other, 0o700))
	all := []Hierarchy{one, two}
	assert.Equal(t, []string{filepath.Join(one.Mount, "group")}, Existing(all, "group"))

	require.NoError(t, Remove(t.Context(), all, "group"))
	assert.Empty(t, Existing(all, "group"))
	assert.DirExists(t, other)
	require.NoError(t, Remove(t.Context(), all, "group"), "removing again is no error")
}

func TestRemoveGivesUp(t *testing.T) {
	mount := t.TempDir()
	group := filepath.Join(mount, "group")
	require.NoError(t, os.Mkdir(group, 0o700))
	write(t, filepath.Join(group, "busy"), "") // Keeps a plain directory from being removed.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, Remove(ctx, []Hierarchy{{Mount: mount}}, "group"), context.DeadlineExceeded)
}

func write(t *testing.T, path, data string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
