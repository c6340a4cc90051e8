package diagnostics

import (
	"bytes"
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
