package k8sclient

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"sigs.k8s.io/yaml"
)

// clientClass is OpenMetadata's Kubernetes client; a configuration of another one is not for us.
const clientClass = "org.openmetadata.service.clients.pipeline.k8s.K8sPipelineClient"

// Sources are where parameters come from. A flag wins over a variable, a variable over the file, the file over the
// defaults.
type Sources struct {
	// Path of a YAML file: the parameters alone, or OpenMetadata's pipelineServiceClientConfiguration with its
	// parameters, or a server's whole configuration. Empty: no file.
	Path string
	// Environ is the environment, as os.Environ gives it.
	Environ []string
	// Flags are NAME=VALUE.
	Flags []string
}

// Setting is one parameter as it is in force.
type Setting struct {
	Name string `json:"name"`
	// Value is "(set)" for one that may hold a secret.
	Value any `json:"value"`
	// Source is default, file PATH, variable NAME, or flag.
	Source string `json:"source"`
}

// Loaded is a configuration and where its values came from.
type Loaded struct {
	Config

	// Warnings are about what was taken, but may not do what was meant.
	Warnings []string
	origins  map[string]string
}

// LoadConfig reads all sources and gives all that is wrong at once.
func LoadConfig(sources Sources) (*Loaded, error) {
	l := &loader{
		out: &Loaded{Config: DefaultConfig(), origins: map[string]string{}}, all: parameters(), environment: map[string]string{},
	}
	for _, pair := range sources.Environ {
		name, value, _ := strings.Cut(pair, "=")
		l.environment[name] = value
	}
	if sources.Path != "" {
		if err := l.file(sources.Path); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	l.variables()
	l.flags(sources.Flags)
	if err := l.problems.join(); err != nil {
		return nil, err
	}
	if err := l.out.Validate(); err != nil {
		return nil, err
	}
	l.out.Warnings = append(l.out.Warnings, l.out.Config.Warnings()...)
	return l.out, nil
}

// Settings are all parameters in force, in a fixed order.
func (l *Loaded) Settings() []Setting {
	var out []Setting
	for _, p := range parameters() {
		if p.part {
			continue
		}
		source := l.origins[p.name]
		if source == "" {
			source = "default"
		}
		value := p.get(&l.Config)
		if p.secret && source != "default" {
			value = "(set)"
		}
		out = append(out, Setting{Name: p.name, Value: value, Source: source})
	}
	return out
}

type loader struct {
	out         *Loaded
	all         []parameter
	environment map[string]string
	problems    problems
}

func (l *loader) set(p parameter, value any, source string) {
	if err := p.set(&l.out.Config, value); err != nil {
		shown := ""
		if !p.secret {
			shown = fmt.Sprintf("%q ", scalar(value))
		}
		l.problems.addf(p.name, "%s%v, such as %s (%s)", shown, err, p.example, source)
		return
	}
	name := p.name
	if p.part {
		name, _, _ = strings.Cut(name, ".")
		if before := l.out.origins[name]; before != "" {
			source = before + ", " + source
		}
	}
	l.out.origins[name] = source
}

func (l *loader) file(path string) error {
	data, err := os.ReadFile(path) //nolint:gosec // The path is the user's own.
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var content map[string]any
	if err := yaml.Unmarshal(data, &content); err != nil {
		return fmt.Errorf("%s is not YAML with parameters: %w", path, err)
	}
	source := "file " + path
	section, nested := content["pipelineServiceClientConfiguration"]
	if !nested {
		l.take(content, source, func(parameter) bool { return true })
		return nil
	}
	outer, ok := section.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: pipelineServiceClientConfiguration is not a map", path)
	}
	if class := l.expand(outer["className"], "className"); class != nil && class != clientClass {
		return fmt.Errorf("%s: className is %v, another client's configuration; ours is %s", path, class, clientClass)
	}
	// What stands beside the parameters is the server's, and only partly ours.
	ours := maps.Clone(outer)
	maps.DeleteFunc(ours, func(name string, _ any) bool {
		p, known := parameterByName(l.all, name)
		return !known || !p.outer
	})
	l.take(ours, source, func(p parameter) bool { return p.outer })
	inner := l.expand(outer["parameters"], "parameters")
	if inner == nil {
		return nil
	}
	parameters, ok := inner.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: pipelineServiceClientConfiguration.parameters is not a map", path)
	}
	l.take(parameters, source, func(p parameter) bool { return !p.outer })
	return nil
}

// take sets the parameters of a map, where they may stand there.
func (l *loader) take(values map[string]any, source string, allowed func(parameter) bool) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if reason, ok := ignored()[name]; ok {
			l.out.Warnings = append(l.out.Warnings, name+": ignored; "+reason)
			continue
		}
		p, ok := parameterByName(l.all, name)
		if !ok || p.part || !allowed(p) {
			l.problems.addf(name, "is not a parameter%s (%s)", l.nearest(name, func(p parameter) string {
				if p.part || !allowed(p) {
					return ""
				}
				return p.name
			}), source)
			continue
		}
		value := l.expand(values[name], name)
		if value == nil && !isNullable(name) {
			continue // OpenMetadata takes null for "not set".
		}
		l.set(p, value, source)
	}
}

// isNullable says that null is a value: the cluster chooses.
func isNullable(name string) bool {
	return slices.Contains([]string{"runAsUser", "runAsGroup", "fsGroup"}, name)
}

func (l *loader) variables() {
	known := map[string]bool{}
	for _, p := range l.all {
		known[p.env] = true
		// OpenMetadata's own configuration hands an empty variable on as "not set".
		if value, ok := l.environment[p.env]; ok && (value != "" || isNullable(p.name)) {
			l.set(p, value, "variable "+p.env)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.environment)) {
		if known[name] || !strings.HasPrefix(name, "K8S_") {
			continue
		}
		// Other programs have variables of this prefix too; only one that is nearly ours is a mistake.
		if hint := l.nearest(name, func(p parameter) string { return p.env }); hint != "" {
			l.problems.addf(name, "is not a parameter's variable%s", hint)
		}
	}
}

func (l *loader) flags(flags []string) {
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, "=")
		p, known := parameterByName(l.all, name)
		switch {
		case !ok:
			l.problems.addf(name, "has no value; give NAME=VALUE (flag)")
		case !known:
			l.problems.addf(name, "is not a parameter%s (flag)", l.nearest(name, func(p parameter) string { return p.name }))
		default:
			l.set(p, value, "flag")
		}
	}
}

// nearest proposes the name that was probably meant; empty where none is near.
func (l *loader) nearest(name string, nameOf func(parameter) string) string {
	const near = 3
	best, distance := "", near+1
	for _, p := range l.all {
		candidate := nameOf(p)
		if candidate == "" {
			continue
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// variableReference is ${NAME} or ${NAME:-default}, as OpenMetadata's server has it in its configuration.
var variableReference = regexp.MustCompile(`(?s)^\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\}$`)

// expand replaces references to variables in a value and below it.
func (l *loader) expand(value any, path string) any {
	switch v := value.(type) {
	case string:
		match := variableReference.FindStringSubmatch(strings.TrimSpace(v))
		if match == nil {
			return v
		}
		text, ok := l.environment[match[1]]
		if !ok {
			if !strings.Contains(v, ":-") {
				l.problems.addf(path, "refers to variable %s, which is not set", match[1])
			}
			text = match[2]
		}
		var parsed any
		if yaml.Unmarshal([]byte(text), &parsed) != nil {
			return text
		}
		return parsed
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, child := range v {
			out[key] = l.expand(child, path+"."+key)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = l.expand(child, path)
		}
		return out
	default:
		return value
	}
}
