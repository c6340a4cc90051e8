package diagnostics

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// tail is a writer that keeps the last bytes of what is written.
type tail struct {
	keep    int
	buffer  []byte
	dropped bool
}

func newTail(keep int) *tail { return &tail{keep: keep, buffer: make([]byte, 0, 4<<10)} }

func (t *tail) Write(p []byte) (int, error) {
	t.buffer = append(t.buffer, p...)
	// Cut only now and then: moving the bytes on each write would cost more than the memory.
	if len(t.buffer) > 2*t.keep {
		t.cut()
	}
	return len(p), nil
}

func (t *tail) cut() {
	if len(t.buffer) <= t.keep {
		return
	}
	kept := copy(t.buffer, t.buffer[len(t.buffer)-t.keep:])
	t.buffer, t.dropped = t.buffer[:kept], true
}

// String begins with a whole line where that leaves anything.
func (t *tail) String() string {
	t.cut()
	out := t.buffer
	if t.dropped {
		if i := bytes.IndexByte(out, '\n'); i >= 0 && i+1 < len(out) {
			out = out[i+1:]
		}
	}
	return string(out)
}

// clean makes text that OpenMetadata's database takes: valid UTF-8 without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

const redacted = "<redacted>"

// SecretLines adds the lines of secrets that have several, such as keys: a log may be cut between them.
func SecretLines(secrets []string) []string {
	const telling = 16 // Characters: a shorter line may be any text.
	out := slices.Clone(secrets)
	for _, secret := range secrets {
		if !strings.Contains(strings.TrimSpace(secret), "\n") {
			continue
		}
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) >= telling {
				out = append(out, line)
			}
		}
	}
	return out
}

// NewRedactor replaces secret values in text, also as URLs and JSON show them. One or two characters are not a secret
// that can be told from other text.
func NewRedactor(secrets []string) *strings.Replacer {
	const shortest = 3
	var values []string
	for _, secret := range SecretLines(secrets) {
		// A secret that is kept in a file ends with a newline; where it is printed it may not.
		if secret = strings.TrimSpace(secret); len(secret) >= shortest {
			values = append(values, secret, url.QueryEscape(secret), url.PathEscape(secret), jsonEscape(secret, true), jsonEscape(secret, false))
		}
	}
	// One that holds another goes first, so that it is replaced whole.
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	values = slices.Compact(values)
	pairs := make([]string, 0, 2*len(values))
	for _, value := range values {
		pairs = append(pairs, value, redacted)
	}
	return strings.NewReplacer(pairs...)
}

// jsonEscape is text as it is inside a JSON string; Go escapes what HTML does too, others do not.
func jsonEscape(text string, html bool) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(html)
	_ = encoder.Encode(text) //nolint:errchkjson // Text always can be.
	return strings.TrimSuffix(out.String()[1:], "\"\n")
}
