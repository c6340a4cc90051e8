package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInstall(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		args   []string
		want   []string
	}{
		"Program": {reason: "the program alone", want: []string{"exithandler"}},
		"Script":  {reason: "and the script by the name of OpenMetadata's", args: []string{"-script"}, want: []string{"exit_handler.py", "exithandler"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for range 2 { // An init container may run again.
				require.Equal(t, exitOK, install(append(tc.args, folder)))
			}
			entries, err := os.ReadDir(folder)
			require.NoError(t, err)
			names := make([]string, len(entries))
			for i := range entries {
				names[i] = entries[i].Name()
			}
			require.Equal(t, tc.want, names, "no half copy is left: %s", tc.reason)
			out, err := exec.CommandContext(t.Context(), filepath.Join(folder, "exithandler"), "-test.list", "TestInstall").CombinedOutput()
			require.NoError(t, err, "the copy can be executed")
			assert.Contains(t, string(out), "TestInstall", "and is this program")
		})
	}
	folder := t.TempDir()
	assert.Equal(t, exitError, install([]string{filepath.Join(folder, "missing")}))
	for _, args := range [][]string{nil, {"-script"}, {"-unknown", folder}, {folder, folder}} {
		assert.Equal(t, exitUsage, install(args), args)
	}
}
