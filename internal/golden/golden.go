// Package golden compares what a test made with a file in its folder testdata.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// update makes the files what the tests made: go test ./pkg/k8sclient -update; then read the diff.
var update = flag.Bool("update", false, "write the golden files in testdata instead of comparing with them")

// Assert compares a text with testdata/NAME.
func Assert(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(path) //nolint:gosec // The test's own file.
	require.NoError(t, err, "there is no golden file; make it with: go test -update")
	assert.Equal(t, string(want), got, "%s differs; where that is meant: go test -update", path)
}
