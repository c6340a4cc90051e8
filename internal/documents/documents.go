// Package documents reads all values of a file that a person gives: JSON, YAML, or both, one after another. Nothing is left
// out silently: what cannot be read, and a key that is there twice, are errors with their place.
package documents

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// Document is one value of a file. Maps are map[string]any, lists []any, numbers json.Number.
type Document struct {
	Value any
	// Line is where it begins, counted from 1.
	Line int
}

var (
	// marker is what ends a YAML document, or begins one: what follows it on its line belongs to the next.
	marker = regexp.MustCompile(`^(---|\.\.\.)([ \t\r]|$)`)
	// jsonLike is text whose errors are better told as JSON's: YAML's own {a: b} has no quotes.
	jsonLike = regexp.MustCompile(`^({\s*"|\[\s*[{["])`)
)

var errEncoding = errors.New("the text is not UTF-8")

// Read reads all values of a text; empty documents are left out.
func Read(data []byte) ([]Document, error) {
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	if !utf8.Valid(data) {
		return nil, errEncoding
	}
	var out []Document
	for _, part := range split(data) {
		found, err := part.read()
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// part is the text between two markers.
type part struct {
	text []byte
	// line is that of its first byte.
	line int
}

// split divides at the markers. Neither a JSON text nor a YAML document can have one inside.
func split(data []byte) []part {
	current := part{line: 1}
	var parts []part
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if !marker.Match(bytes.TrimRight(line, "\n")) {
			if line[0] == '%' && len(bytes.TrimSpace(current.text)) == 0 {
				line = []byte("\n") // A directive, such as %YAML 1.1.
			}
			current.text = append(current.text, line...)
			continue
		}
		parts = append(parts, current)
		// Spaces keep the column.
		current = part{line: number, text: append([]byte("   "), line[len("---"):]...)}
	}
	return append(parts, current)
}

func (p part) read() ([]Document, error) {
	text := bytes.TrimSpace(p.text)
	if len(text) == 0 {
		return nil, nil
	}
	if text[0] != '{' && text[0] != '[' {
		return p.readYAML()
	}
	found, jsonErr := readJSON(p.text, p.line)
	if jsonErr == nil {
		return found, nil
	}
	found, err := p.readYAML()
	if err != nil && jsonLike.Match(text) {
		return nil, jsonErr
	}
	return found, err
}

func (p part) readYAML() ([]Document, error) {
	// Its own lines are counted from the file's first.
	decoder := yaml.NewDecoder(io.MultiReader(strings.NewReader(strings.Repeat("\n", p.line-1)), bytes.NewReader(p.text)))
	var out []Document
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("it is neither YAML nor JSON: %w", cleaned(err))
		}
		if len(node.Content) == 0 {
			continue
		}
		if err := checkKeys(&node); err != nil {
			return nil, err
		}
		value, err := workflow.FromYAML(node.Content[0])
		if err != nil {
			return nil, err
		}
		if value != nil {
			out = append(out, Document{Value: value, Line: node.Content[0].Line})
		}
	}
}

// cleaned takes the parser's name from its message.
func cleaned(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
}

// checkKeys refuses a key that is there twice. Aliases were checked where they were made.
func checkKeys(node *yaml.Node) error {
	if node.Kind == yaml.MappingNode {
		lines := map[string]int{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if key.Kind != yaml.ScalarNode || key.Value == "<<" {
				continue
			}
			if first, twice := lines[key.Value]; twice {
				return fmt.Errorf("line %d, column %d: key %q is there already, on line %d; leave one of the two out", key.Line, key.Column, key.Value, first)
			}
			lines[key.Value] = key.Line
		}
	}
	for _, child := range node.Content {
		if err := checkKeys(child); err != nil {
			return err
		}
	}
	return nil
}
