package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type configCmd struct {
	Output string `short:"o" enum:"text,json,yaml" default:"text" help:"text, json or yaml."`
}

// Run shows the parameters in force. It needs neither a cluster nor a server.
func (cmd *configCmd) Run(g *globals, s streams) error {
	loaded, err := g.load()
	if err != nil {
		return err
	}
	for _, warning := range loaded.Warnings {
		fmt.Fprintln(s.err, "warning: "+warning)
	}
	settings := loaded.Settings()
	text, err := settingsText(settings)
	if err != nil {
		return err
	}
	return s.print(cmd.Output, settings, text)
}

func settingsText(settings []k8sclient.Setting) (string, error) {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "PARAMETER\tVALUE\tSOURCE")
	for _, setting := range settings {
		data, err := json.Marshal(setting.Value)
		if err != nil {
			return "", fmt.Errorf("show parameter %s: %w", setting.Name, err)
		}
		value := strings.Trim(string(data), `"`)
		if value == "" || value == "null" {
			value = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", setting.Name, value, setting.Source)
	}
	_ = table.Flush() // A strings.Builder takes all.
	return strings.TrimRight(b.String(), "\n"), nil
}
