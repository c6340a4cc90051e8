package documents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth is how deep maps and lists may nest; encoding/json's tokens know no bound.
const maxDepth = 1000

// readJSON reads all JSON values of a text, whose first line has a number.
func readJSON(text []byte, line int) ([]Document, error) {
	r := &jsonReader{text: text, line: line, decoder: json.NewDecoder(bytes.NewReader(text))}
	r.decoder.UseNumber()
	var out []Document
	for {
		at := r.next()
		value, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if value != nil {
			out = append(out, Document{Value: value, Line: r.lineOf(at)})
		}
	}
}

type jsonReader struct {
	text    []byte
	line    int
	decoder *json.Decoder
}

// next is where the next token begins.
func (r *jsonReader) next() int {
	const cutset = " \t\r\n,:"
	at := int(r.decoder.InputOffset())
	return at + len(r.text[at:]) - len(bytes.TrimLeft(r.text[at:], cutset))
}

func (r *jsonReader) lineOf(at int) int { return r.line + bytes.Count(r.text[:at], []byte("\n")) }

func (r *jsonReader) failed(at int, format string, args ...any) error {
	at = min(at, len(r.text))
	column := at - bytes.LastIndexByte(r.text[:at], '\n')
	return fmt.Errorf("line %d, column %d: %s", r.lineOf(at), column, fmt.Sprintf(format, args...))
}

// value reads one value; io.EOF where there is none any more.
func (r *jsonReader) value(depth int) (any, error) {
	at := r.next()
	token, err := r.decoder.Token()
	if errors.Is(err, io.EOF) && depth == 0 {
		return nil, io.EOF
	}
	if err != nil {
		return nil, r.notJSON(err)
	}
	if depth > maxDepth {
		return nil, r.failed(at, "it is nested more than %d levels deep", maxDepth)
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return r.object(depth)
		}
		return r.array(depth)
	case string:
		return token, r.checkText(token, at)
	default:
		return token, nil
	}
}

func (r *jsonReader) object(depth int) (any, error) {
	out := map[string]any{}
	for r.decoder.More() {
		at := r.next()
		token, err := r.decoder.Token()
		if err != nil {
			return nil, r.notJSON(err)
		}
		key, _ := token.(string) // The decoder takes nothing else for a key.
		if err := r.checkText(key, at); err != nil {
			return nil, err
		}
		if _, twice := out[key]; twice {
			return nil, r.failed(at, "key %q is there already; leave one of the two out", key)
		}
		if out[key], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return out, r.closed()
}

func (r *jsonReader) array(depth int) (any, error) {
	out := []any{}
	for r.decoder.More() {
		value, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
	}
	return out, r.closed()
}

func (r *jsonReader) closed() error {
	if _, err := r.decoder.Token(); err != nil {
		return r.notJSON(err)
	}
	return nil
}

// checkText refuses half a surrogate pair, which the decoder replaces by a character of its own.
func (r *jsonReader) checkText(text string, at int) error {
	const replacement = "\uFFFD"
	if !strings.Contains(text, replacement) {
		return nil
	}
	raw := string(r.text[at:r.decoder.InputOffset()])
	if given := strings.Count(raw, replacement) + strings.Count(strings.ToLower(raw), `\ufffd`); strings.Count(text, replacement) > given {
		return r.failed(at, `the text has half a surrogate pair, such as \ud83d without its other half`)
	}
	return nil
}

func (r *jsonReader) notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.failed(len(r.text), "it is not JSON: it ends too early")
	}
	// The offset of a syntax error counts from different places.
	return r.failed(r.next(), "it is not JSON: %v", err)
}
