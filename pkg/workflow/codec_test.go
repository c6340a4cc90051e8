package workflow

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/yamlcorpus"
)

func TestNumbersAreKept(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		value  any
		want   string
	}{
		"Large":       {reason: "a float64 has 53 bits", value: json.Number("9007199254740993"), want: "9007199254740993"},
		"Huge":        {reason: "so has no type of Go's enough", value: json.Number(strings.Repeat("9", 100)), want: strings.Repeat("9", 100)},
		"Negative":    {reason: "a sign is kept", value: json.Number("-9223372036854775809"), want: "-9223372036854775809"},
		"Float":       {reason: "a float that is whole stays a float", value: json.Number("1.0"), want: "1.0"},
		"Exponent":    {reason: "to YAML 1.1 1e3 is a text", value: json.Number("1e3"), want: "1.0e+3"},
		"Upper":       {reason: "and 1.5E3, without the sign", value: json.Number("1.5E3"), want: "1.5e+3"},
		"Small":       {reason: "a negative exponent has its sign", value: json.Number("1e-7"), want: "1.0e-7"},
		"Digits":      {reason: "all digits are kept", value: json.Number("0.10000000000000000000001"), want: "0.10000000000000000000001"},
		"Zero":        {reason: "a negative zero is one", value: json.Number("-0.0"), want: "-0.0"},
		"Int":         {reason: "our own code uses Go's kinds", value: int32(-7), want: "-7"},
		"Unsigned":    {reason: "all of them", value: uint64(math.MaxUint64), want: "18446744073709551615"},
		"Big":         {reason: "and big ones", value: new(big.Int).Lsh(big.NewInt(1), 100), want: "1267650600228229401496703205376"},
		"Whole":       {reason: "encoding/json makes a float64 of any number", value: 1000000.0, want: "1000000"},
		"Float64":     {reason: "others are floats", value: 1e-7, want: "1.0e-07"},
		"LargestInt":  {reason: "beyond 2^53 a float64 does not know", value: math.Ldexp(1, 60), want: "1.152921504606847e+18"},
		"LargeFloat":  {reason: "the largest float", value: json.Number("1.7976931348623157e308"), want: "1.7976931348623157e+308"},
		"ManyDigits":  {reason: "as many as Python reads", value: json.Number(strings.Repeat("9", maxDigits)), want: strings.Repeat("9", maxDigits)},
		"Underflow":   {reason: "Python makes it zero, too, whoever reads it", value: json.Number("1e-400"), want: "1.0e-400"},
		"LeadingZero": {reason: "a fraction of zeros", value: json.Number("0.000"), want: "0.000"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := encode(map[string]any{"a": tc.value}, false)
			require.NoError(t, err)
			assert.Equal(t, `{"a": `+tc.want+"}", text, tc.reason)
			for reader, decode := range map[string]func(string) (any, error){"JSON": decode, "YAML": decodeYAML} {
				got, err := decode(text)
				require.NoError(t, err, reader)
				at, same := difference(map[string]any{"a": tc.value}, got, "")
				assert.True(t, same, "%s: %s: %v", reader, at, got)
			}
		})
	}
}

// TestNothingIsLeftOut: what follows a configuration is refused, as by PyYAML.
func TestNothingIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"Field": "{\"a\": 1}\nb: 2\n", "Document": "a: 1\n---\nb: 2\n", "AfterTheEnd": "a: 1\n...\nb: 2\n", "Object": `{"a": 1} {"b": 2}`, "Bracket": `{"a": 1}}`,
	} {
		_, err := Parse(text)
		require.Error(t, err, name)
		_, err = ParseOverlay(text)
		require.Error(t, err, name)
	}
	for name, text := range map[string]string{"End": "a: 1\n...\n", "Comment": "a: 1\n# b: 2\n", "Start": "---\na: 1\n"} {
		config, err := Parse(text)
		require.NoError(t, err, name)
		assert.Equal(t, Config{"a": json.Number("1")}, config, name)
	}
}

// FuzzRoundTrip: whatever JSON is given, both readers give it back, in both layouts, or it is refused.
func FuzzRoundTrip(f *testing.F) {
	for _, config := range yamlcorpus.Configurations(2, 30) {
		data, err := json.Marshal(config)
		require.NoError(f, err)
		f.Add(string(data))
	}
	f.Add(`{"a": 1e400, "b": [` + strings.Repeat("[", 250) + strings.Repeat("]", 250) + `]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		given, err := decode(text)
		require.NoError(t, err)
		for _, lines := range []bool{true, false} {
			written, err := encode(given, lines)
			if err != nil {
				require.ErrorIs(t, err, ErrUnrepresentable)
				return
			}
			for name, read := range map[string]func(string) (any, error){"ours": decode, "YAML": decodeYAML} {
				got, err := read(written)
				require.NoError(t, err, "%s: %s", name, written)
				at, same := difference(given, got, "")
				require.True(t, same, "%s: %s: %s", name, at, written)
			}
		}
	})
}

// TestOldObjectsAreRead: earlier versions wrote blocks of YAML, and people edit them.
func TestOldObjectsAreRead(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason, text string
		want         map[string]any
	}{
		"Block":     {reason: "as yaml.v3 writes it", text: "a:\n    b:\n        - x\n        - |-\n          two\n          lines\n    c: \"yes\"\n", want: map[string]any{"a": map[string]any{"b": []any{"x", "two\nlines"}, "c": "yes"}}},
		"Numbers":   {reason: "floats had no sign that YAML 1.1 wants", text: "a: 1000000\nb: 1e-07\nc: 1e+20\nd: 0.5\ne: \"1e3\"\n", want: map[string]any{"a": json.Number("1000000"), "b": json.Number("1.0e-07"), "c": json.Number("1.0e+20"), "d": json.Number("0.5"), "e": "1e3"}},
		"PyYAML":    {reason: "as the process reads what is edited by hand", text: "a: yes\nb: 0x1F\nc: 1:30\nd: 017\ne: ~\nf: 1_000\ng: 2024-01-01\nh: 08\ni: =\n", want: map[string]any{"a": true, "b": json.Number("31"), "c": json.Number("90"), "d": json.Number("15"), "e": nil, "f": json.Number("1000"), "g": "2024-01-01", "h": "08", "i": "="}},
		"Merged":    {reason: "anchors too", text: "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n", want: map[string]any{"x": map[string]any{"a": json.Number("1"), "b": json.Number("2")}, "y": map[string]any{"a": json.Number("1"), "b": json.Number("3")}}},
		"Quoted":    {reason: "a quoted name is no merge key", text: "\"<<\": 1\n", want: map[string]any{"<<": json.Number("1")}},
		"Surrogate": {reason: "JSON as others write it", text: `{"a": "\ud83d\ude00\/"}`, want: map[string]any{"a": "😀/"}},
		"Keys":      {reason: "a name is a text", text: "1: a\ntrue: b\n", want: map[string]any{"1": "a", "true": "b"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse(tc.text)
			require.NoError(t, err)
			assert.Equal(t, Config(tc.want), config, tc.reason)
		})
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"Empty": "", "List": "[1]", "Text": "hunter2", "Broken": "{", "Tab": "a: |4-\n    \thunter2\n  x", "Cycle": "a: &a\n  b: *a\n", "Tag": "a: !!binary aGk=\n", "Deep": strings.Repeat("[", 2000) + strings.Repeat("]", 2000),
		"Bomb": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\n",
	} {
		_, err := Parse(text)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "hunter2", name)
	}
}
