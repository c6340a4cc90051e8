package main

import (
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// unsetEmpty makes an empty variable of ours one that is not set: kong takes it for a value.
func unsetEmpty() {
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		ours := strings.HasPrefix(name, "OPENMETADATA_") || strings.HasPrefix(name, "PIPELINECTL_") || strings.HasPrefix(name, "K8S_")
		if value == "" && ours {
			_ = os.Unsetenv(name)
		}
	}
}

// withoutEmpty leaves out flags with an empty value, --flag "" and --flag=, as scripts give them whose variable is empty.
func withoutEmpty(app *kong.Application, args []string) []string {
	withValue := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && !flag.IsBool() && !flag.IsCounter() {
			withValue["--"+flag.Name] = true
			if flag.Short != 0 {
				withValue["-"+string(flag.Short)] = true
			}
		}
		return next(nil)
	})
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return slices.Concat(out, args[i:])
		}
		name, empty := strings.CutSuffix(args[i], "=")
		switch {
		case empty && withValue[name]:
		case withValue[args[i]] && i+1 < len(args) && args[i+1] == "":
			i++
		case withValue[args[i]] && i+1 < len(args):
			out = append(out, args[i], args[i+1]) // The value may look like a flag.
			i++
		default:
			out = append(out, args[i])
		}
	}
	return out
}
