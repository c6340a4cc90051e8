package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// outputFlag is the form of a command's result.
type outputFlag struct {
	Output string `short:"o" enum:"table,wide,json,yaml,name" default:"table" help:"table, wide, json, yaml or name." placeholder:"FORMAT"`
}

// view is a result in all its forms.
type view struct {
	// data is what json and yaml show.
	data any
	// text is what table shows, wide what wide shows; where wide is empty, text is shown.
	text, wide string
	// names are what name shows, one a line.
	names []string
}

// print writes a result to standard output.
func (s streams) print(flag outputFlag, v view) error {
	var err error
	switch flag.Output {
	case "json":
		encoder := json.NewEncoder(s.out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(v.data)
	case "yaml":
		var data []byte
		if data, err = yaml.Marshal(v.data); err == nil {
			_, err = s.out.Write(append([]byte("---\n"), data...))
		}
	case "name":
		err = s.lines(v.names)
	case "wide":
		if v.wide != "" {
			v.text = v.wide
		}
		err = s.lines([]string{v.text})
	default:
		err = s.lines([]string{v.text})
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (s streams) lines(lines []string) error {
	var errs []error
	for _, line := range lines {
		if line == "" {
			continue
		}
		_, err := fmt.Fprintln(s.out, plain(line)) // Names, causes and logs come from elsewhere.
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// warnf writes what the user should know beside the result.
func (s streams) warnf(format string, args ...any) {
	fmt.Fprintf(s.err, "warning: "+format+"\n", args...)
}

// warn tells what is no error; empty texts are nothing to tell.
func (s streams) warn(texts ...string) {
	for _, text := range texts {
		if text != "" {
			s.warnf("%s", text)
		}
	}
}

// table lays rows out in columns; the first row is the head.
func table(rows ...[]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			// A tab or a newline of a name or a cause would break the columns; so would what is left out later.
			cells[i] = strings.Join(strings.Fields(plain(cell)), " ")
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // A strings.Builder takes all.
	return strings.TrimRight(b.String(), "\n")
}
