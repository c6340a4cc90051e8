package artifacts

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAllinoneName(t *testing.T) {
	assert.Regexp(t, regexp.MustCompile(`^allinone-v1\.\d+\.\d+-[0-9a-f]{12}$`), AllinoneName())
	assert.Contains(t, string(goMod), "k8s.io/kubernetes "+KubernetesVersion())
}
