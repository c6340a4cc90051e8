package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCopySelf(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for range 2 { // An init container may run again.
		require.NoError(t, copySelf(folder))
	}
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no half copy is left")
	out, err := exec.CommandContext(t.Context(), filepath.Join(folder, "exithandler"), "-test.list", "TestCopySelf").CombinedOutput()
	require.NoError(t, err, "the copy can be executed")
	assert.Contains(t, string(out), "TestCopySelf", "and is this program")

	require.ErrorContains(t, copySelf(filepath.Join(folder, "missing")), "mount it writable")
}
