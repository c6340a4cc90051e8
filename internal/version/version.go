// Package version tells which build of the project this is.
package version

import (
	"fmt"
	"runtime"
)

// Set by the linker, see the Makefile.
var (
	version = "dev"     //nolint:gochecknoglobals // The linker can set nothing else.
	commit  = "none"    //nolint:gochecknoglobals // As above.
	date    = "unknown" //nolint:gochecknoglobals // As above.
)

// Short is the version alone.
func Short() string { return version }

// String is one line with version, commit, build date, Go version and platform.
func String() string {
	return fmt.Sprintf("%s (commit %s, built %s, %s, %s/%s)", version, commit, date, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
