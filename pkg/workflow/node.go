package workflow

import "gopkg.in/yaml.v3"

// FromYAML is the value of a YAML node as the ingestion process would read it. Numbers are json.Number.
func FromYAML(node *yaml.Node) (any, error) {
	d := nodeDecoder{}
	return d.value(node, 0)
}
