package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ reason, text, want string }{
		"Text":       {"it stays", "a b\tc\nd é 🚀 日本 \u200d", "a b\tc\nd é 🚀 日本 \u200d"}, //nolint:gosmopolitan // Text of any script stays.
		"Colour":     {"CSI", "\x1b[31mred\x1b[0m", "red"},
		"Cursor":     {"CSI with parameters", "a\x1b[2J\x1b[1;1Hb\x1b[?25lc", "abc"},
		"Title":      {"OSC, ended by BEL", "a\x1b]0;title\x07b", "ab"},
		"Link":       {"OSC, ended by ST", "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"},
		"Open":       {"one without an end takes no more than its line", "a\x1b]0;title\nb", "a\nb"},
		"OpenCSI":    {"one that was cut", "a\x1b[", "a"},
		"Device":     {"DCS, APC, PM and SOS", "a\x1bPq\x1b\\b\x1b_x\x1b\\c\x1b^x\x07d\x1bXy\x1b\\e", "abcde"},
		"Charset":    {"three characters", "a\x1b(0b\x1b#8c", "abc"},
		"Reset":      {"two characters", "a\x1bcb", "ab"},
		"C1":         {"CSI and OSC in one character", "a\u009b31mb\u009d0;t\u009cc", "abc"},
		"RawC1":      {"in one byte, to a terminal that is not UTF-8", "a\x9b31mb", "a\uFFFD31mb"},
		"Controls":   {"backspaces and returns write over", "good\b\b\b\bevil\rx\x00\x7f", "goodevilx"},
		"Windows":    {"a line end stays one", "a\r\nb", "a\nb"},
		"Bidi":       {"a text that reads otherwise than it is", "\u202egnp.exe\u202c \u2066x\u2069 \u200e\u200f\u061c", "gnp.exe x "},
		"Nested":     {"what is left must not be one", "\x1b\x1b[[31m31mx", "31m31mx"},
		"NestedHalf": {"nor must it in C1", "\u009b\u009b31mx", "x"},
	} {
		got := plain(tc.text)
		assert.Equal(t, tc.want, got, "%s: %s", name, tc.reason)
		assert.Equal(t, got, plain(got), "%s: nothing is left to take away", name)
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("a\x1b[31mb\x1b]0;t\x07")
	f.Add("\u202e\x9b")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range plain(text) {
			if r == 0x1b || r < 0x20 && r != '\t' && r != '\n' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f {
				t.Fatalf("%q leaves %q", text, plain(text))
			}
		}
	})
}

// TestTerminalText: what comes from elsewhere reaches a terminal plain, and JSON as it is.
func TestTerminalText(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[2Jb\u202ec"
	var out, errOut bytes.Buffer
	s := streams{out: &out, err: &console{out: &errOut}}
	v := view{data: map[string]string{"cause": evil}, text: table([]string{"NAME", "CAUSE"}, []string{evil, "x"}), wide: evil, names: []string{evil}}
	for _, form := range []string{"table", "wide", "name"} {
		out.Reset()
		require.NoError(t, s.print(outputFlag{Output: form}, v))
		assert.Contains(t, out.String(), "abc", form)
		assert.NotContains(t, out.String(), "\x1b", form)
	}
	assert.Equal(t, "NAME   CAUSE\nabc    x", v.text, "columns are as wide as what is shown")
	out.Reset()
	require.NoError(t, s.print(outputFlag{Output: "json"}, v))
	var back map[string]string
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	assert.Equal(t, evil, back["cause"], "data is unchanged")
	s.warnf("%s", evil)
	assert.Equal(t, "warning: abc\n", errOut.String())
}
