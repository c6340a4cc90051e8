package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Configurations are written as JSON, which is read the same by JSON and by YAML readers if some care is taken; YAML's own
// notations are not: what PyYAML takes for a date, a number, true or a line break, and what yaml.v3 writes in a block, differ.
//
// Numbers are json.Number in memory, with the digits as they were given: one without '.', 'e' and 'E' is a whole number of any
// size, any other is a float. Go's own int kinds and *big.Int are written as whole numbers; a float64 that is whole, too, since
// encoding/json makes one of any number.

// ErrUnrepresentable is a value that the ingestion process would not get as it is; the error names its path.
var ErrUnrepresentable = errors.New("the value cannot be given to the ingestion process")

const (
	// maxDepth is how deep maps and lists may nest. PyYAML's reader recurses, and Python gives up between 490 and 495.
	maxDepth = 200
	// maxDigits is the longest whole number that Python reads from text (sys.int_info.default_max_str_digits).
	maxDigits = 4300
	// maxSimpleKey is the longest key, as it is written, that YAML readers find without being told that one begins. Their limit
	// is 1024 characters, quotes and the space before the colon included.
	maxSimpleKey = 1000
)

// jsonNumber is a number as JSON writes it (RFC 8259, section 6): sign and whole part, fraction, exponent.
var jsonNumber = regexp.MustCompile(`^(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?(?:[eE]([+-]?)([0-9]+))?$`)

// YAML is the configuration as the ingestion process reads it, laid out for people; keys are sorted.
func (c Config) YAML() (string, error) { return encode(map[string]any(c), true) }

// Compact is the same as YAML, without line breaks.
func (c Config) Compact() (string, error) { return encode(map[string]any(c), false) }

// YAML is the overlay as it is kept in the Secret.
func (o Overlay) YAML() (string, error) { return encode(map[string]any(o), true) }

// Compact is the same as YAML, without line breaks.
func (o Overlay) Compact() (string, error) { return encode(map[string]any(o), false) }

// Verify reads both halves of a configuration back, and fails unless they give the whole again. A process that reads the
// merged text gets it then, too.
func Verify(whole Config, public, overlay string) error {
	publicConfig, err := Parse(public)
	if err != nil {
		return err
	}
	secrets, err := ParseOverlay(overlay)
	if err != nil {
		return err
	}
	merged, err := Merge(publicConfig, secrets)
	if errors.Is(err, ErrMissingSecret) {
		return fmt.Errorf("%w: a value is %s, which stands for a secret: put the secret in its place", err, Placeholder)
	}
	if err != nil {
		return err
	}
	if at, same := difference(map[string]any(whole), map[string]any(merged), ""); !same {
		return unrepresentable(at, "it reads back as another one")
	}
	text, err := merged.Compact()
	if err != nil {
		return err
	}
	again, err := decodeYAML(text)
	if err != nil {
		return fmt.Errorf("%w: read back: %w", ErrUnrepresentable, err)
	}
	if at, same := difference(map[string]any(whole), again, ""); !same {
		return unrepresentable(at, "it reads back as another one")
	}
	return nil
}

// Recode writes JSON so that PyYAML, too, reads the values that it has.
func Recode(data []byte) (string, error) {
	value, err := decode(string(data))
	if err != nil {
		return "", err
	}
	return encode(value, false)
}

// encode writes a value as text that encoding/json, yaml.v3 and PyYAML read as that value.
func encode(value any, lines bool) (string, error) {
	e := encoder{lines: lines}
	if err := e.value(value, "", 0); err != nil {
		return "", err
	}
	if lines {
		e.out.WriteByte('\n')
	}
	return e.out.String(), nil
}

type encoder struct {
	out   strings.Builder
	lines bool
}

func (e *encoder) value(value any, pointer string, depth int) error {
	if depth > maxDepth {
		return unrepresentable(pointer, "it lies more than %d levels deep", maxDepth)
	}
	switch v := value.(type) {
	case nil:
		e.out.WriteString("null")
	case bool:
		e.out.WriteString(strconv.FormatBool(v))
	case string:
		return e.text(v, pointer)
	case map[string]any:
		return e.mapping(v, pointer, depth)
	case Config:
		return e.mapping(v, pointer, depth)
	case []any:
		return e.list(v, pointer, depth)
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		return e.list(list, pointer, depth)
	default:
		literal, err := number(value)
		if err != nil {
			return unrepresentable(pointer, "%v", err)
		}
		e.out.WriteString(literal)
	}
	return nil
}

func unrepresentable(pointer, format string, args ...any) error {
	if pointer == "" {
		pointer = "/"
	}
	return fmt.Errorf("%w: %s: %s", ErrUnrepresentable, pointer, fmt.Sprintf(format, args...))
}

// next begins a line, or leaves a space in its place.
func (e *encoder) next(depth int, first bool) {
	switch {
	case e.lines:
		e.out.WriteByte('\n')
		e.out.WriteString(strings.Repeat("  ", depth))
	case !first:
		e.out.WriteByte(' ')
	}
}

func (e *encoder) mapping(value map[string]any, pointer string, depth int) error {
	if len(value) == 0 {
		e.out.WriteString("{}")
		return nil
	}
	for i, key := range slices.Sorted(maps.Keys(value)) {
		e.out.WriteByte("{,"[min(i, 1)])
		e.next(depth+1, i == 0)
		path := pointer + "/" + escapePointer(key)
		quoted, err := quote(key)
		if err != nil {
			return unrepresentable(path, "its name %v", err)
		}
		if utf8.RuneCountInString(quoted) > maxSimpleKey {
			// Not JSON any more, but the only way that YAML has.
			e.out.WriteString("? ")
		}
		e.out.WriteString(quoted)
		e.out.WriteString(": ")
		if err := e.value(value[key], path, depth+1); err != nil {
			return err
		}
	}
	e.next(depth, true)
	e.out.WriteByte('}')
	return nil
}

func (e *encoder) list(value []any, pointer string, depth int) error {
	if len(value) == 0 {
		e.out.WriteString("[]")
		return nil
	}
	for i, item := range value {
		e.out.WriteByte("[,"[min(i, 1)])
		e.next(depth+1, i == 0)
		if err := e.value(item, pointer+"/"+strconv.Itoa(i), depth+1); err != nil {
			return err
		}
	}
	e.next(depth, true)
	e.out.WriteByte(']')
	return nil
}

func (e *encoder) text(value, pointer string) error {
	quoted, err := quote(value)
	if err != nil {
		return unrepresentable(pointer, "it %v", err)
	}
	e.out.WriteString(quoted)
	return nil
}

// quote writes a text in double quotes. What is not printable is escaped: YAML folds its line breaks, which are more than
// JSON's, and refuses control characters, U+FEFF and U+FFFE. What lies beyond U+FFFF stays as it is: JSON can escape it only
// as two surrogates, which PyYAML does not join.
func quote(value string) (string, error) {
	if !utf8.ValidString(value) {
		return "", errors.New("is not valid UTF-8")
	}
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	var out strings.Builder
	out.Grow(len(value) + 2) //nolint:mnd // The quotes.
	out.WriteByte('"')
	for _, r := range value {
		switch escaped, ok := short[r]; {
		case ok:
			out.WriteString(escaped)
		case r > math.MaxUint16 || unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	out.WriteByte('"')
	return out.String(), nil
}

// number writes a number so that JSON and both versions of YAML read it as the same one, of the same type.
func number(value any) (string, error) {
	const exact = 1 << 53
	switch v := value.(type) {
	case json.Number:
		return canonical(string(v))
	case *big.Int:
		if v == nil {
			return "null", nil
		}
		return canonical(v.String())
	case float32:
		return number(float64(v))
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < exact {
			return strconv.FormatInt(int64(v), 10), nil
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", fmt.Errorf("JSON has no number %v", v)
		}
		return canonical(strconv.FormatFloat(v, 'g', -1, 64))
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), nil
	default:
		return "", fmt.Errorf("it is a %T, which JSON does not have", value)
	}
}

// canonical gives a number of JSON the form that YAML 1.1 knows too: a float has a dot, and its exponent a sign.
func canonical(literal string) (string, error) {
	parts := jsonNumber.FindStringSubmatch(literal)
	if parts == nil {
		return "", fmt.Errorf("%q is not a number of JSON", shortened(literal))
	}
	whole, fraction, sign, exponent := parts[1], parts[2], parts[3], parts[4]
	if fraction == "" && exponent == "" {
		if digits := len(strings.TrimPrefix(whole, "-")); digits > maxDigits {
			return "", fmt.Errorf("it has %d digits, and Python reads at most %d", digits, maxDigits)
		}
		return whole, nil
	}
	if _, err := strconv.ParseFloat(literal, 64); err != nil {
		return "", fmt.Errorf("%s is larger than a float can be", shortened(literal))
	}
	if fraction == "" {
		fraction = ".0"
	}
	if exponent == "" {
		return whole + fraction, nil
	}
	if sign == "" {
		sign = "+"
	}
	return whole + fraction + "e" + sign + exponent, nil
}

// difference is the JSON pointer of the first value in which two configurations differ, by type or by value; ok where there is
// none. A whole number and a float differ, 1.50 and 1.5 do not.
func difference(a, b any, pointer string) (at string, ok bool) {
	switch v := a.(type) {
	case map[string]any:
		return mapDifference(v, b, pointer)
	case []any:
		other, isList := b.([]any)
		if !isList || len(v) != len(other) {
			return pointer, false
		}
		for i := range v {
			if at, ok := difference(v[i], other[i], pointer+"/"+strconv.Itoa(i)); !ok {
				return at, false
			}
		}
		return "", true
	case nil, bool, string:
		return pointer, a == b
	default:
		return pointer, sameNumber(a, b)
	}
}

func mapDifference(a map[string]any, b any, pointer string) (at string, ok bool) {
	other, isMap := b.(map[string]any)
	if !isMap {
		return pointer, false
	}
	for _, key := range slices.Sorted(maps.Keys(a)) {
		path := pointer + "/" + escapePointer(key)
		value, found := other[key]
		if !found {
			return path, false
		}
		if at, ok := difference(a[key], value, path); !ok {
			return at, false
		}
	}
	for _, key := range slices.Sorted(maps.Keys(other)) {
		if _, found := a[key]; !found {
			return pointer + "/" + escapePointer(key), false
		}
	}
	return "", true
}

func sameNumber(a, b any) bool {
	first, err := number(a)
	if err != nil {
		return false
	}
	second, err := number(b)
	if err != nil || strings.Contains(first, ".") != strings.Contains(second, ".") {
		return false
	}
	if !strings.Contains(first, ".") {
		return strings.TrimPrefix(first, "-") == "0" && strings.TrimPrefix(second, "-") == "0" || first == second
	}
	x, _ := strconv.ParseFloat(first, 64)
	y, _ := strconv.ParseFloat(second, 64)
	return x == y && math.Signbit(x) == math.Signbit(y)
}

func shortened(text string) string {
	const longest = 40
	if len(text) > longest {
		return text[:longest] + "…"
	}
	return text
}

// Parse reads a configuration from JSON or YAML.
func Parse(text string) (Config, error) {
	value, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("the workflow configuration cannot be read: %w", err)
	}
	if value == nil {
		return nil, errors.New("the workflow configuration is empty")
	}
	config, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("the workflow configuration is not a YAML map")
	}
	return config, nil
}

// ParseOverlay reads what Overlay.YAML wrote; empty text is an empty overlay.
func ParseOverlay(text string) (Overlay, error) {
	value, err := decode(text)
	overlay, ok := value.(map[string]any)
	if err != nil || value != nil && !ok {
		// The parser's message may quote the text, which is secret.
		return nil, errors.New("the secret overlay is not a map of JSON pointers to values")
	}
	return overlay, nil
}

var (
	quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	// lineName is what stands before a value at the beginning of a line, in JSON or YAML.
	lineName = regexp.MustCompile(`^\s*(?:- )?(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'][^:]*):\s+`)
)

// Texts are all texts that a secret overlay may hold which cannot be read: those in quotes, and all lines. Shorter ones, which
// could be anything, are left out.
func Texts(text string) []string {
	const shortest = 4
	var out []string
	add := func(value string) {
		if len(value) >= shortest {
			out = append(out, value)
		}
	}
	for line := range strings.Lines(text) {
		for _, quoted := range quotedText.FindAllString(line, -1) {
			var value string
			if json.Unmarshal([]byte(quoted), &value) != nil {
				value = strings.Trim(quoted, `"`)
			}
			if !strings.HasPrefix(value, "/") { // A JSON pointer.
				add(value)
			}
		}
		line = strings.TrimSpace(lineName.ReplaceAllString(line, ""))
		add(line)
		// Half of a value in quotes, or a list's.
		add(strings.Trim(line, "-\"',[]{} "))
	}
	return out
}

// decode reads JSON as JSON, and all else as PyYAML does.
func decode(text string) (any, error) {
	if json.Valid([]byte(text)) {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var value any
		err := decoder.Decode(&value)
		return value, err
	}
	return decodeYAML(text)
}
