package main

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// print writes a result to standard output, as text or as data.
func (s streams) print(format string, result any, text string) error {
	var err error
	switch format {
	case "json":
		encoder := json.NewEncoder(s.out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	case "yaml":
		var data []byte
		if data, err = yaml.Marshal(result); err == nil {
			_, err = s.out.Write(append([]byte("---\n"), data...))
		}
	default:
		_, err = fmt.Fprintln(s.out, text)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
