package workflow

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
