// Package yamlcorpus has configurations that YAML readers are known to read differently, and what Python is to make of them.
package yamlcorpus

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Script is a Python program that reads a JSON list of YAML texts from standard input and writes what Typed gives of each.
//
//go:embed typed.py
var Script string

// Texts are texts that some YAML reader or writer takes for something else, or changes.
func Texts() []string {
	out := []string{
		"", " ", "\t", "\n", "\r", "\r\n", "\n\n", "\tquery_text NOT ILIKE '%tmp_%'\n\tAND user_name <> 'ETL'\n", "\n**Owner:** data team\n", "  indented\n    more\n", " \n", "a\n ", "a \nb",
		"a\n\n\nb\n\n", "\t-----BEGIN PRIVATE KEY-----\n\tAAAA\n\t-----END PRIVATE KEY-----\n", "trailing ", "trailing\t", "line\r\nbreaks\r", "\u2028", "a\u2028b\u2029c", "a\u0085b", "\u0085",
		"\ufeff", "\ufeffa", "a\ufeff", "\ufffe", "\uffff", "\x7f", "\x00", "a\x00b", "\x01\x02\x07\x08\x0b\x0c\x0e\x1b\x1f", "\u0080\u009f", "\u00a0", "\u200b\u200d\u202e", "😀", "a😀b\n😀", "\U0010ffff", "\U0001fffe", "\ue000", "日本語", "é", "e\u0301", //nolint:gosmopolitan // It is here for its script.
		"=", "<<", "~", "null", "Null", "NULL", "yes", "Yes", "no", "on", "off", "y", "n", "true", "True", "false", "1e3", "1E3", "1.5e3", "1e+3", "1.0e+3", "0x1F", "0o7", "07", "08", "0b1", "1_000", "1_000.5", "1:30", "1:30:00", "190:20:30.15",
		".inf", "-.inf", ".nan", "Infinity", "NaN", ".5", "5.", "-0", "+1", "1,000", "9007199254740993", "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00", "12:00",
		"- a", "a: b", "a:b", "a #b", "#a", "{a: b}", "[a]", "{", "}", "[", "]", ",", "?", "? a", ":", "-", "--", "---", "...", "|", ">", "|-\n a", "!", "!!str a", "&a", "*a", "%a", "@a", "`a", "'", "''", `"`, `""`, `\`, `\n`, `\u0041`, `\/`, "'a", `"a`, "a'", `a"`,
		"$(NAME)", "$$", "${NAME}", "{{ a }}", "<from secret>", "</script>&", strings.Repeat("long ", 400), strings.Repeat("x", 5000), strings.Repeat("é", 1200), strings.Repeat("\t", 1100), strings.Repeat("😀", 1100),
	}
	return slices.Concat(out, characters())
}

// characters are those of Latin-1, control characters among them: each within a text, and alone.
func characters() []string {
	out := make([]string, 0, 2*0x100)
	for r := range rune(0x100) {
		out = append(out, "a"+string(r)+"b", string(r))
	}
	return out
}

// Numbers are numbers of JSON.
func Numbers() []json.Number {
	out := []json.Number{
		"0", "-0", "1", "-1", "9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616", json.Number(strings.Repeat("9", 400)), json.Number("-" + strings.Repeat("123456789", 100)),
		"0.0", "-0.0", "1.0", "1.5", "0.1", "1e3", "1E3", "1e+3", "1e-3", "1.5e3", "-1.5E-3", "1e22", "1e23", "5e-324", "1.7976931348623157e308", "2.2250738585072014e-308", "0.10000000000000000555", "123456789012345678901234567890.5", "1e0", "100000000000000000000.0", "1e-400", "0e0", "0.000",
	}
	return out
}

// Configurations are made of all texts and numbers, as values and as keys, and of some that are put together at random, the same for
// the same seed.
func Configurations(seed uint64, random int) []map[string]any {
	texts, numbers := map[string]any{}, map[string]any{}
	list := make([]any, len(Texts()))
	for i, text := range Texts() {
		texts[fmt.Sprintf("v%03d", i)] = text
		list[i] = text
	}
	for i, number := range Numbers() {
		numbers[fmt.Sprintf("n%02d", i)] = number
	}
	keys := map[string]any{}
	for _, text := range Texts() {
		keys[text] = map[string]any{text: text}
	}
	deep := any(json.Number("1"))
	for range 95 {
		deep = map[string]any{"": []any{deep}}
	}
	fixed := []map[string]any{
		texts, numbers, keys, {"list": list}, {"deep": deep}, {},
		{"empty": map[string]any{"map": map[string]any{}, "list": []any{}, "text": "", "null": nil, "true": true, "false": false, "lists": []any{[]any{}, map[string]any{}, nil, []any{[]any{nil}}}}},
	}
	source := &generator{rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // Not for secrets.
	generated := make([]map[string]any, random)
	for i := range generated {
		generated[i] = source.mapping(0)
	}
	return slices.Concat(fixed, generated)
}

type generator struct{ *rand.Rand }

func (g *generator) text() string {
	if g.IntN(2) == 0 {
		return Texts()[g.IntN(len(Texts()))]
	}
	var out strings.Builder
	for range g.IntN(12) {
		switch g.IntN(4) {
		case 0:
			out.WriteString(Texts()[g.IntN(40)])
		case 1:
			out.WriteRune(' ' + g.Int32N(95))
		case 2:
			r := g.Int32N(0x110000)
			if r >= 0xd800 && r < 0xe000 {
				r = 'x'
			}
			out.WriteRune(r)
		default:
			out.WriteString([]string{" ", "\n", "\t", ": ", " #", "- ", "\u0085", "\u2028", "\"", "\\", "'"}[g.IntN(11)])
		}
	}
	return out.String()
}

func (g *generator) value(depth int) any {
	const deepest = 5
	kind := g.IntN(8)
	if depth > deepest {
		kind %= 5
	}
	switch kind {
	case 0:
		return []any{nil, true, false}[g.IntN(3)]
	case 1:
		return Numbers()[g.IntN(len(Numbers()))]
	case 2:
		return json.Number(strconv.FormatFloat(math.Ldexp(g.Float64()-0.5, g.IntN(400)-200), "eEfg"[g.IntN(4)], -1, 64))
	case 3, 4:
		return g.text()
	case 5:
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.value(depth + 1)
		}
		return list
	default:
		return g.mapping(depth + 1)
	}
}

func (g *generator) mapping(depth int) map[string]any {
	out := map[string]any{}
	for range g.IntN(5) {
		out[g.text()] = g.value(depth + 1)
	}
	return out
}

// Typed is a value with the types that Python has for it, as Script writes it.
func Typed(value any) any {
	switch v := value.(type) {
	case nil:
		return []any{"null"}
	case bool:
		return []any{"bool", v}
	case string:
		return []any{"text", v}
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			if v == "-0" {
				v = "0"
			}
			return []any{"int", string(v)}
		}
		number, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return []any{"error", err.Error()}
		}
		return []any{"float", fmt.Sprintf("%016x", math.Float64bits(number))}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = Typed(v[i])
		}
		return []any{"list", list}
	case map[string]any:
		pairs := []any{}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, []any{Typed(key), Typed(v[key])})
		}
		return []any{"map", pairs}
	default:
		return []any{fmt.Sprintf("%T", value)}
	}
}
