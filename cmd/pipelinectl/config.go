package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
)

type configCmd struct {
	outputFlag
}

// Run shows the parameters in force. It needs neither a cluster nor a server.
func (cmd *configCmd) Run(g *globals, s streams) error {
	loaded, err := g.load()
	if err != nil {
		return err
	}
	g.warn(loaded.Warnings...)
	return s.printSettings(cmd.outputFlag, loaded.Settings())
}

func (s streams) printSettings(flag outputFlag, settings []k8sclient.Setting) error {
	rows := [][]string{{"PARAMETER", "VALUE", "SOURCE"}}
	names := make([]string, 0, len(settings))
	for _, setting := range settings {
		data, err := json.Marshal(setting.Value)
		if err != nil {
			return fmt.Errorf("show parameter %s: %w", setting.Name, err)
		}
		value := strings.Trim(string(data), `"`)
		if value == "null" {
			value = ""
		}
		rows = append(rows, []string{setting.Name, value, setting.Source})
		names = append(names, setting.Name)
	}
	return s.print(flag, view{data: settings, text: table(rows...), names: names})
}
