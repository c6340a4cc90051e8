package documents

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	t.Parallel()
	n := func(digits string) json.Number { return json.Number(digits) }
	one, two := map[string]any{"a": n("1")}, map[string]any{"b": n("2")}
	cases := map[string]struct {
		reason string
		text   string
		want   []any
		lines  []int
	}{
		"Nothing":       {reason: "a file may be empty", text: " \n# nothing\n---\n...\n"},
		"YAML":          {reason: "one value", text: "a: 1\n", want: []any{one}, lines: []int{1}},
		"JSON":          {reason: "one value", text: `{"a":1}`, want: []any{one}, lines: []int{1}},
		"JSONLines":     {reason: "one a line, as jq -c writes them", text: "{\"a\":1}\n{\"b\":2}\n", want: []any{one, two}, lines: []int{1, 2}},
		"JSONJoined":    {reason: "files that were joined", text: `{"a":1}{"b":2}`, want: []any{one, two}, lines: []int{1, 1}},
		"JSONPretty":    {reason: "as jq writes them", text: "\n{\n  \"a\": 1\n}\n{\n  \"b\": 2\n}\n", want: []any{one, two}, lines: []int{2, 5}},
		"Arrays":        {reason: "lists stay lists", text: `[{"a":1}] [1]`, want: []any{[]any{one}, []any{n("1")}}, lines: []int{1, 1}},
		"Documents":     {reason: "YAML's own division", text: "a: 1\n---\nb: 2\n", want: []any{one, two}, lines: []int{1, 3}},
		"End":           {reason: "what follows ... is a document too", text: "a: 1\n...\nb: 2\n", want: []any{one, two}, lines: []int{1, 3}},
		"EndAndStart":   {reason: "both markers", text: "%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n---\nb: 2\n...\n", want: []any{one, two}, lines: []int{3, 7}},
		"Mixed":         {reason: "files of both kinds that were joined", text: "a: 1\n---\n{\"b\":2}\n--- {\"a\":1}\n", want: []any{one, two, one}, lines: []int{1, 3, 4}},
		"Windows":       {reason: "lines end as Windows has it", text: "a: 1\r\n---\r\nb: 2\r\n", want: []any{one, two}, lines: []int{1, 3}},
		"ByteOrder":     {reason: "Windows' editors write one", text: "\xEF\xBB\xBF{\"a\":1}", want: []any{one}, lines: []int{1}},
		"Flow":          {reason: "YAML may look like JSON", text: "{a: 1}", want: []any{one}, lines: []int{1}},
		"FlowQuoted":    {reason: "so it may with quotes", text: `{"a": 1, # one` + "\n}", want: []any{one}, lines: []int{1}},
		"InText":        {reason: "a marker in a text is none", text: "a: |\n  ---\n  b\n", want: []any{map[string]any{"a": "---\nb\n"}}, lines: []int{1}},
		"Surrogates":    {reason: "Python's json.dump writes them", text: `{"a":"\ud83d\ude80 \/ \u00e9"}`, want: []any{map[string]any{"a": "🚀 / é"}}, lines: []int{1}},
		"Replacement":   {reason: "a replacement character that is given stays", text: `{"a":"\ufffd` + "\uFFFD" + `"}`, want: []any{map[string]any{"a": "\uFFFD\uFFFD"}}, lines: []int{1}},
		"Numbers":       {reason: "all digits are kept", text: `{"a":[9007199254740993,1.10,1e3]}`, want: []any{map[string]any{"a": []any{n("9007199254740993"), n("1.10"), n("1e3")}}}, lines: []int{1}},
		"NumbersYAML":   {reason: "in YAML too", text: "a: 9007199254740993\n", want: []any{map[string]any{"a": n("9007199254740993")}}, lines: []int{1}},
		"TextOfNumbers": {reason: "what is quoted is text", text: "a: '1'\nb: \"yes\"\n", want: []any{map[string]any{"a": "1", "b": "yes"}}, lines: []int{1}},
		"Null":          {reason: "null is no document", text: "null\n---\na: 1\n", want: []any{one}, lines: []int{3}},
		"Anchors":       {reason: "an alias is what it stands for", text: "x: &x {a: 1}\ny: {<<: *x}\n", want: []any{map[string]any{"x": one, "y": one}}, lines: []int{1}},
		"Tab":           {reason: "JSON may be indented by tabs", text: "{\n\t\"a\": 1\n}", want: []any{one}, lines: []int{1}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := Read([]byte(tc.text))
			require.NoError(t, err, tc.reason)
			require.Len(t, found, len(tc.want), tc.reason)
			require.Len(t, found, len(tc.lines), tc.reason)
			for i, document := range found {
				assert.Equal(t, tc.want[i], document.Value, tc.reason)
				assert.Equal(t, tc.lines[i], document.Line, tc.reason)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, text, want string }{
		"Duplicate":       {"which of the two was meant nobody knows", "{\n\"a\":1,\n  \"a\":2}", `line 3, column 3: key "a" is there already`},
		"DuplicateEqual":  {"also where both are the same", `{"a":1,"a":1}`, `line 1, column 8: key "a"`},
		"DuplicateDeep":   {"at any depth", `[{"x":{"a":1,"b":[],"a":{}}}]`, `key "a" is there already`},
		"DuplicateEscape": {"however it is written", `{"a":1,"\u0061":2}`, `key "a" is there already`},
		"DuplicateSecond": {"in any document", "{\"a\":1}\n{\"b\":1,\n\"b\":2}", `line 3, column 1: key "b"`},
		"DuplicateYAML":   {"in YAML", "b: 1\na:\n  x: 1\n  x: 2\n", `line 4, column 3: key "x" is there already, on line 3`},
		"DuplicateLater":  {"lines are the file's", "b: 1\n---\na: 1\na: 2\n", `line 4, column 1: key "a" is there already, on line 3`},
		"DuplicateQuoted": {"quotes make no difference", "a: 1\n\"a\": 2\n", `key "a" is there already`},
		"Rest":            {"what follows a value", `{"a":1} x`, "line 1, column 9: it is not JSON"},
		"RestComma":       {"a list without brackets", `{"a":1},{"a":2}`, "line 1, column 9: it is not JSON"},
		"RestYAML":        {"what follows a value", "a: 1\n]\n", "it is neither YAML nor JSON: line "},
		"Open":            {"a file that was cut", "{\"a\":\n{\"b\":1}", "it ends too early"},
		"OpenList":        {"a list that was cut", `[{"a":1},`, "it ends too early"},
		"HalfPair":        {"a character would be lost", `{"a":"\ud83d"}`, "half a surrogate pair"},
		"HalfPairKey":     {"in a key too", `{"\ud83d":1}`, "half a surrogate pair"},
		"Latin1":          {"a character would be lost", "a: caf\xe9\n", "not UTF-8"},
		"Deep":            {"deeper than anything can use", strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000), "levels deep"},
		"DeepYAML":        {"deeper than anything can use", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := Read([]byte(tc.text))
			require.ErrorContains(t, err, tc.want, "%s: %v", tc.reason, found)
		})
	}
}

// FuzzJSON: what is valid JSON without keys that are there twice is read as encoding/json reads it.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.50,"x\ud83d\ude80"]}`, `[]`, `{"a":{"b":null}} [true]`, "{\"a\":1}\n---\n{\"b\":2}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text = strings.TrimSpace(text); text == "" || text[0] != '{' && text[0] != '[' || !json.Valid([]byte(text)) || strings.Contains(text, "\uFFFD") {
			t.Skip()
		}
		found, err := Read([]byte(text))
		if err != nil {
			if message := err.Error(); !strings.Contains(message, "already") && !strings.Contains(message, "surrogate") && !strings.Contains(message, "deep") && !strings.Contains(message, "UTF-8") {
				t.Fatal(err)
			}
			return
		}
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(found[0].Value); got != fmt.Sprint(want) {
			t.Errorf("%s is read as %s", text, got)
		}
	})
}
