package omapi

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzScan: what is gone through in place is what encoding/json decodes.
func FuzzScan(f *testing.F) {
	for _, text := range []string{
		`{}`, `[]`, `null`, `7`, `"x"`, ` { "a" : 1 , "b" : [ 2 , { "c" : "]}\"" } ] , "d":null}`, `[1,[2],{"a":[3]},"\\","\\\"",-1.5e3 ,true]`,
		`{"\u0061\"":{"":""},"x":[[],{}],"y":0}`, "[\n]", `{"a":"\\"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			t.Skip("only valid JSON is gone through")
		}
		var object map[string]json.RawMessage
		_ = json.Unmarshal([]byte(text), &object) // Nothing where it is no object.
		scanned := maps.Collect(members(json.RawMessage(text)))
		require.Len(t, scanned, len(object), text)
		for name, value := range object {
			assert.Equal(t, string(value), string(scanned[name]), text)
		}
		var array []json.RawMessage
		_ = json.Unmarshal([]byte(text), &array) // As above.
		elementsOf := slices.Collect(elements(json.RawMessage(text)))
		require.Len(t, elementsOf, len(array), text)
		for i, value := range array {
			assert.Equal(t, string(value), string(elementsOf[i]), text)
		}
	})
}
