package artifacts

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAllinoneName(t *testing.T) {
	assert.Regexp(t, `^allinone-v1\.\d+\.\d+-[0-9a-f]{12}$`, AllinoneName())
	assert.Contains(t, string(goMod), "k8s.io/kubernetes "+KubernetesVersion())
	inputs := func(words ...string) string {
		all := make([][]byte, len(words))
		for i, word := range words {
			all[i] = []byte(word)
		}
		return allinoneName(all...)
	}
	assert.NotEqual(t, inputs("a", "b"), inputs("a", "c"), "each input counts")
	assert.NotEqual(t, inputs("ab", "c"), inputs("a", "bc"), "and is told from the next")
}
