package k8sclient

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedactor(t *testing.T) {
	t.Parallel()
	const secret, longer = "hunter2", "hunter2-and-more"
	filler := strings.Repeat("x", longestLine)
	cases := map[string]struct{ reason, text, want string }{
		"None":    {reason: "text passes as it is", text: "one\ntwo", want: "one\ntwo"},
		"Line":    {reason: "a value is hidden", text: "a hunter2 b\n", want: "a <redacted> b\n"},
		"Last":    {reason: "also in a line without an end", text: "hunter2", want: "<redacted>"},
		"Longest": {reason: "one that holds another is hidden whole", text: longer + "\n", want: "<redacted>\n"},
		"LongLine": {
			reason: "a line of any length is passed on in parts", text: filler + filler + secret + filler + longer + filler,
			want: filler + filler + "<redacted>" + filler + "<redacted>" + filler,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1, 7, 4096, longestLine, len(tc.text)} {
				if size == 1 && len(tc.text) > longestLine {
					continue // Slow, and of no more use.
				}
				var out strings.Builder
				r := newRedactor(&out, []string{secret, longer})
				for rest := tc.text; rest != ""; {
					part := rest[:min(size, len(rest))]
					rest = rest[len(part):]
					n, err := r.Write([]byte(part))
					require.NoError(t, err)
					require.Len(t, part, n)
				}
				require.NoError(t, r.Close())
				assert.Equal(t, tc.want, out.String(), "%s, in parts of %d", tc.reason, size)
			}
		})
	}
}

func TestPager(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("\u8ba2", PageBytes) // Three bytes each; a page's size is a multiple of three.
	odd := "a" + text
	for _, size := range []int{1000, 1 << 20} {
		var all strings.Builder
		total := 1
		for page := 0; page < total; page++ {
			p := &pager{page: page}
			for rest := odd; rest != ""; {
				part := rest[:min(size, len(rest))]
				rest = rest[len(part):]
				_, err := p.Write([]byte(part))
				require.NoError(t, err)
			}
			kept, pages, err := p.done()
			require.NoError(t, err)
			assert.LessOrEqual(t, len(kept), PageBytes)
			all.WriteString(kept)
			total = pages
		}
		assert.Equal(t, 4, total)
		assert.True(t, odd == all.String(), "the pages are the log, cut between runes") //nolint:testifylint // A diff of megabytes helps nobody.
	}
	_, _, err := (&pager{page: 1}).done()
	require.ErrorIs(t, err, ErrNoPage)
	kept, total, err := (&pager{}).done()
	require.NoError(t, err)
	assert.Equal(t, []any{"", 1}, []any{kept, total}, "an empty log is one empty page")
}
