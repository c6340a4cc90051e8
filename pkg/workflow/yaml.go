package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// PyYAML's rules for scalars without quotes (yaml/resolver.py), and the floats of YAML 1.2, which earlier versions wrote.
var (
	yamlBool = map[string]bool{
		"yes": true, "Yes": true, "YES": true, "no": false, "No": false, "NO": false,
		"true": true, "True": true, "TRUE": true, "false": false, "False": false, "FALSE": false,
		"on": true, "On": true, "ON": true, "off": false, "Off": false, "OFF": false,
	}
	yamlNull  = map[string]bool{"": true, "~": true, "null": true, "Null": true, "NULL": true}
	yamlInt   = regexp.MustCompile(`^[-+]?(0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$`)
	yamlFloat = regexp.MustCompile(`^[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$|^[-+]?[0-9]+[eE][-+]?[0-9]+$`)
	yamlInf   = regexp.MustCompile(`^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$`)
	yamlBase  = regexp.MustCompile(`^[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+$`)
)

const (
	// maxValues bounds what the aliases of a text may grow to.
	maxValues = 1 << 20
	base60    = 60
)

// decodeYAML reads the first document of a text. Dates stay texts, as JSON has none; names that are no texts become texts.
func decodeYAML(text string) (any, error) {
	var document, more yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// yaml.Unmarshal leaves out whatever follows the first document; PyYAML refuses it.
	if err := decoder.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second document follows the first", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, nil //nolint:nilnil // An empty text is null.
	}
	d := nodeDecoder{}
	return d.value(document.Content[0], 0)
}

type nodeDecoder struct{ values int }

func (d *nodeDecoder) value(node *yaml.Node, depth int) (any, error) {
	// More than can be written: so that who reads it can say what is wrong with it.
	const deepest = 5 * maxDepth
	if d.values++; d.values > maxValues || depth > deepest {
		return nil, fmt.Errorf("line %d: too many values, or nested too deeply", node.Line)
	}
	switch node.Kind {
	case yaml.AliasNode:
		return d.value(node.Alias, depth+1)
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			var err error
			if list[i], err = d.value(item, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.MappingNode:
		return d.mapping(node, depth)
	default:
		return scalar(node)
	}
}

// mapping lets the last of two equal keys win, as PyYAML does, and a key of its own over those that are merged in.
func (d *nodeDecoder) mapping(node *yaml.Node, depth int) (any, error) {
	out, merged := map[string]any{}, map[string]any{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key is a map or a list", key.Line)
		}
		value, err := d.value(node.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if plain(key) && key.Value == "<<" {
			if err := mergeInto(merged, value); err != nil {
				return nil, fmt.Errorf("line %d: %w", key.Line, err)
			}
			continue
		}
		out[key.Value] = value
	}
	for key, value := range merged {
		if _, ok := out[key]; !ok {
			out[key] = value
		}
	}
	return out, nil
}

// mergeInto takes the maps of a merge key, of which the first that has a name wins.
func mergeInto(into map[string]any, value any) error {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, item := range list {
		from, ok := item.(map[string]any)
		if !ok {
			return errors.New("what << merges is not a map")
		}
		for key, value := range from {
			if _, ok := into[key]; !ok {
				into[key] = value
			}
		}
	}
	return nil
}

// plain says that a scalar has neither quotes nor a tag.
func plain(node *yaml.Node) bool {
	const marked = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	return node.Style&marked == 0
}

func scalar(node *yaml.Node) (any, error) {
	text := node.Value
	if node.Style&yaml.TaggedStyle != 0 {
		switch node.Tag {
		case "!!str":
			return text, nil
		case "!!int", "!!float", "!!bool", "!!null":
			return resolve(text), nil
		default:
			return nil, fmt.Errorf("line %d: tag %s is not known", node.Line, node.Tag)
		}
	}
	if !plain(node) {
		return text, nil
	}
	return resolve(text), nil
}

func resolve(text string) any {
	if yamlNull[text] {
		return nil
	}
	if value, ok := yamlBool[text]; ok {
		return value
	}
	digits := strings.TrimPrefix(strings.ReplaceAll(text, "_", ""), "+")
	switch {
	case yamlInt.MatchString(text):
		// Base 0 knows 0b, 0x and 0, as YAML 1.1 does.
		if number, ok := new(big.Int).SetString(digits, 0); ok {
			return json.Number(number.String())
		}
	case yamlBase.MatchString(text):
		return sexagesimal(digits)
	case yamlInf.MatchString(text):
		number, _ := strconv.ParseFloat(strings.Replace(text, ".", "", 1), 64)
		return number
	case yamlFloat.MatchString(text):
		if known, err := canonical(digits); err == nil {
			return json.Number(known) // With all its digits.
		}
		if number, err := strconv.ParseFloat(digits, 64); err == nil {
			return float(number)
		}
	}
	return text
}

// float keeps a number a float, also when it is whole.
func float(value float64) json.Number {
	literal := strconv.FormatFloat(value, 'g', -1, 64)
	if !strings.ContainsAny(literal, ".e") {
		literal += ".0"
	}
	if known, err := canonical(literal); err == nil {
		literal = known
	}
	return json.Number(literal)
}

// sexagesimal reads 1:30, which is 90 in YAML 1.1.
func sexagesimal(digits string) json.Number {
	number := new(big.Int)
	for part := range strings.SplitSeq(strings.TrimPrefix(digits, "-"), ":") {
		digit, _ := new(big.Int).SetString(part, 10)
		number.Add(number.Mul(number, big.NewInt(base60)), digit)
	}
	if strings.HasPrefix(digits, "-") {
		number.Neg(number)
	}
	return json.Number(number.String())
}
