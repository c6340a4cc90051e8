package artifacts

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAllinoneName(t *testing.T) {
	assert.Regexp(t, regexp.MustCompile(`^allinone-v1\.\d+\.\d+-[0-9a-f]{12}$`), AllinoneName())
	assert.Contains(t, string(goMod), "k8s.io/kubernetes "+KubernetesVersion())
	inputs := func(words ...string) string {
		var all [][]byte
		for _, word := range words {
			all = append(all, []byte(word))
		}
		return allinoneName(all...)
	}
	assert.Equal(t, inputs("a", "b"), inputs("a", "b"))
	assert.NotEqual(t, inputs("a", "b"), inputs("a", "c"), "each input counts")
	assert.NotEqual(t, inputs("ab", "c"), inputs("a", "bc"), "and is told from the next")
}
