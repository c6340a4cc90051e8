package omapi

import (
	"encoding/json"
	"iter"
)

// What is here goes through valid JSON in place. encoding/json copies all that it decodes, and a record can be larger
// than the memory that a reporter in a pod may use.

// members are an object's, in their order; none where the value is something else.
func members(object json.RawMessage) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for at := opened(object, '{'); at < len(object) && object[at] != '}'; at = skip(object, at) {
			key := object[at:valueEnd(object, at)]
			at = skip(object, at+len(key))
			value := object[at:valueEnd(object, at)]
			at += len(value)
			var name string
			if json.Unmarshal(key, &name) == nil && !yield(name, value) {
				return
			}
		}
	}
}

// elements are an array's; none where the value is something else.
func elements(array json.RawMessage) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		for at := opened(array, '['); at < len(array) && array[at] != ']'; at = skip(array, at) {
			value := array[at:valueEnd(array, at)]
			at += len(value)
			if !yield(value) {
				return
			}
		}
	}
}

// opened is where the first part of an object or array is; the text's length where it is none.
func opened(text []byte, bracket byte) int {
	if at := skip(text, 0); at < len(text) && text[at] == bracket {
		return skip(text, at+1)
	}
	return len(text)
}

// skip goes over what separates values.
func skip(text []byte, at int) int {
	for at < len(text) {
		switch text[at] {
		case ' ', '\t', '\r', '\n', ',', ':':
			at++
		default:
			return at
		}
	}
	return at
}

// valueEnd is the index after the value that begins at an index.
func valueEnd(text []byte, at int) int {
	depth := 0
	for ; at < len(text); at++ {
		switch text[at] {
		case '"':
			for at++; text[at] != '"'; at++ {
				if text[at] == '\\' {
					at++
				}
			}
			if depth == 0 {
				return at + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth <= 1 {
				return at + depth // Its own bracket, or the one around a number.
			}
			depth--
		case ' ', '\t', '\r', '\n', ',', ':':
			if depth == 0 {
				return at
			}
		}
	}
	return at
}
