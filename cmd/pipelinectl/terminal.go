package main

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escapeSequences are what a terminal takes for commands (ECMA-48): CSI, such as colours and the cursor; OSC, DCS, SOS, PM and
// APC, such as titles and links, which end with BEL or ST, and at the latest with the line; and those of two or three
// characters. C1 has one character for the first two.
var escapeSequences = regexp.MustCompile(
	"(?:\x1b\\[|\u009b)[0-?]*[ -/]*[@-~]?" +
		"|(?:\x1b[\\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\x07\x1b\u009c\n]*(?:\x07|\x1b\\\\|\u009c)?" +
		"|\x1b[ -/]*[0-~]?")

// plain is a text from elsewhere as it may be written to a terminal: without control sequences and control characters, but for
// tabs and line ends, and without characters that change the direction of what follows.
func plain(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return isControl(r) || r == utf8.RuneError }) {
		return text
	}
	// Bytes that are not UTF-8 may be C1 to a terminal.
	text = escapeSequences.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, text)
}

func isControl(r rune) bool {
	return r != '\t' && r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
