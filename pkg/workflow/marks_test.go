package workflow

import (
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// samples are texts that an expression matches: one of each of its alternatives, as short as it allows.
func samples(t *testing.T, expression *syntax.Regexp) []string {
	t.Helper()
	switch expression.Op {
	case syntax.OpLiteral:
		return []string{string(expression.Rune)}
	case syntax.OpCharClass:
		return []string{string(expression.Rune[0])}
	case syntax.OpCapture:
		return samples(t, expression.Sub[0])
	case syntax.OpStar, syntax.OpQuest, syntax.OpEmptyMatch:
		return []string{""}
	case syntax.OpPlus:
		return samples(t, expression.Sub[0])
	case syntax.OpRepeat:
		out := samples(t, expression.Sub[0])
		for i := range out {
			out[i] = strings.Repeat(out[i], expression.Min)
		}
		return out
	case syntax.OpAlternate:
		var out []string
		for _, sub := range expression.Sub {
			out = append(out, samples(t, sub)...)
		}
		return out
	case syntax.OpConcat:
		out := []string{""}
		for _, sub := range expression.Sub {
			var longer []string
			for _, before := range out {
				for _, after := range samples(t, sub) {
					longer = append(longer, before+after)
				}
			}
			out = longer
		}
		return out
	default:
		t.Fatalf("what does a text look like that %s matches?", expression)
		return nil
	}
}

// TestMarks: the marks that a text is searched for first hide no token.
func TestMarks(t *testing.T) {
	t.Parallel()
	expression, err := syntax.Parse(issued, syntax.Perl)
	require.NoError(t, err)
	all := samples(t, expression)
	require.Greater(t, len(all), len(issuedMarks)/2)
	for _, sample := range all {
		require.Regexp(t, issuedTokens(), sample)
		assert.NotEmpty(t, issuerOf(sample), sample)
	}
}

// BenchmarkTextReason is how fast texts are looked through that hold no secret, as each reporter does with the whole configuration.
func BenchmarkTextReason(b *testing.B) {
	for name, text := range map[string]string{
		"Prose":   strings.Repeat("lorem ipsum dolor=sit amet; x:/y ", 4000),
		"Base64":  strings.Repeat("aGVsbG8gd29ybGQ", 8000),
		"Percent": strings.Repeat("a%20b", 24000),
		"Names":   strings.Repeat("metadata.ingestion.source.database.mysql, ", 3000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				TextReason(text)
			}
		})
	}
}
