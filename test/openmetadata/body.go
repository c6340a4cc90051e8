package openmetadata

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Limits of the real server's JSON reader and of its connections.
const (
	// maxBody is where a body breaks the connection. It lies between what was measured: 10 MiB are read, 64 MiB break.
	maxBody   = 50 << 20
	maxString = 20_000_000
	maxDepth  = 1000
)

var errBodyTooLarge = errors.New("request body is larger than the server reads")

// readBody reads the whole body as sent; errBodyTooLarge when it is over the limit.
func readBody(req *http.Request) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err != nil {
		return data, fmt.Errorf("cannot read the request's body: %w", err)
	}
	if len(data) > maxBody {
		return data[:maxBody], errBodyTooLarge
	}
	return data, nil
}

// decompress undoes the request's content encoding.
func decompress(encoding string, data []byte) ([]byte, error) {
	if !strings.EqualFold(encoding, "gzip") {
		return data, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, badRequest("cannot decompress the body: %v", err)
	}
	plain, err := io.ReadAll(io.LimitReader(reader, maxBody+1))
	if err != nil {
		return nil, badRequest("cannot decompress the body: %v", err)
	}
	if len(plain) > maxBody {
		return nil, errBodyTooLarge
	}
	return plain, nil
}

// decodeObject reads a body that has to be a JSON object. Nothing and null are what the real server trips over: 500.
func decodeObject(data []byte) (map[string]any, error) {
	value, err := decodeJSON(data)
	if err != nil {
		return nil, err
	}
	switch object := value.(type) {
	case nil:
		return nil, &apiError{status: http.StatusInternalServerError, message: "There was an error processing your request: no body"}
	case map[string]any:
		return object, nil
	default:
		return nil, badRequest("Cannot deserialize the body: an object is expected")
	}
}

// decodeJSON returns nil for an empty body. Text behind the first value is ignored, as the server does.
func decodeJSON(data []byte) (any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil //nolint:nilnil // an empty body is a case of its own
	}
	if err := checkLimits(data); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, &apiError{status: http.StatusBadRequest, message: "Unable to process JSON: " + err.Error(), plain: true}
	}
	return value, nil
}

// checkLimits applies the JSON reader's limits on nesting and on the length of one string.
func checkLimits(data []byte) error {
	depth, start := 0, -1
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case start >= 0 && c == '\\':
			i++
		case start >= 0 && c == '"':
			if i-start > maxString {
				return badRequest("String value length (%d) exceeds the maximum allowed (%d)", i-start, maxString)
			}
			start = -1
		case start >= 0:
		case c == '"':
			start = i
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return badRequest("Document nesting depth (%d) exceeds the maximum allowed (%d)", depth, maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// errNUL is PostgreSQL's answer to hasNUL.
func errNUL() error {
	return &apiError{
		status: http.StatusInternalServerError, message: `unsupported Unicode escape sequence: \u0000 cannot be converted to text`,
	}
}

// hasNUL tells whether a string of the value holds U+0000, which PostgreSQL cannot store.
func hasNUL(value any) bool {
	switch v := value.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		return slices.ContainsFunc(v, hasNUL)
	case map[string]any:
		for key, item := range v {
			if strings.ContainsRune(key, 0) || hasNUL(item) {
				return true
			}
		}
	}
	return false
}

// unknownField refuses a field as the server words it. The number of properties was measured for a status, 8; for its steps and
// failures it counts the fields that are known here.
func unknownField(object map[string]any, known []string) error {
	for field := range object {
		if !slices.Contains(known, field) {
			return badRequest("Unrecognized field %q (%d known properties: %s)", field, len(known), strings.Join(known, ","))
		}
	}
	return nil
}

// millis reads a time in milliseconds as the server's JSON reader does: numbers, and text that is one. 0: none.
func millis(value any) int64 {
	number, err := toMillis(value)
	if err != nil {
		return 0
	}
	return number
}

func toMillis(value any) (int64, error) {
	var text string
	switch v := value.(type) {
	case nil:
		return 0, nil
	case int64:
		return v, nil
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		return 0, badRequest("Cannot deserialize a time in milliseconds from %T", value)
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return whole, nil
	}
	if fraction, err := strconv.ParseFloat(text, 64); err == nil {
		return int64(fraction), nil
	}
	return 0, badRequest("Cannot deserialize a time in milliseconds from %q", text)
}
