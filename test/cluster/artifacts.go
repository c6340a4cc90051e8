// Package artifacts names the binaries that this version of the sources needs,
// so that a change of the sources, of a dependency, of Go or of the way they are
// built gets a file of its own.
package artifacts

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
)

//go:embed go.mod
var goMod []byte

//go:embed go.sum
var goSum []byte

//go:embed build.sh
var build []byte

//go:embed cmd/allinone/main.go
var allinone []byte

//go:embed cmd/pause/main.go
var pause []byte

// PauseSuffix is what the pause program's file name has after the name of the
// all-in-one binary.
const PauseSuffix = ".pause"

// KubernetesVersion returns the version that go.mod requires, such as v1.37.2,
// or "unknown" when go.mod requires none.
func KubernetesVersion() string {
	lines := bufio.NewScanner(bytes.NewReader(goMod))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 2 && fields[0] == "k8s.io/kubernetes" {
			return fields[1]
		}
	}
	return "unknown"
}

// AllinoneName returns the file name of the all-in-one binary that is built
// from these sources by the Go that has built this program.
func AllinoneName() string {
	return allinoneName(goMod, goSum, build, allinone, pause, []byte(runtime.Version()))
}

func allinoneName(inputs ...[]byte) string {
	sum := sha256.New()
	for _, input := range inputs {
		_, _ = fmt.Fprintf(sum, "%d\n%s", len(input), input) // A hash does not fail.
	}
	return "allinone-" + KubernetesVersion() + "-" + hex.EncodeToString(sum.Sum(nil))[:12]
}
