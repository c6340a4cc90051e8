package k8sclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/internal/documents"
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
			l.problems = append(l.problems, err)
		}
	}
	l.variables()
	l.flags(sources.Flags)
	if l.release && l.out.origins["namespace"] == "" {
		l.out.Warnings = append(l.out.Warnings, "namespace: not set in the Helm values, where it is that of the release; it is "+l.out.Namespace+" here, unless --namespace is given")
	}
	// What did not parse has its default here, which is valid.
	l.problems = append(l.problems, l.out.validate()...)
	if err := l.problems.join(); err != nil {
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
	// release: the file is of Helm's values, which leave the namespace to the release.
	release bool
}

func (l *loader) set(p parameter, value any, source string) {
	err := p.set(&l.out.Config, texts(value))
	if err != nil && hasVariables(value) && p.set(&l.out.Config, typed(value)) == nil {
		err = nil
	}
	if err != nil {
		shown := ""
		if !p.secret {
			shown = fmt.Sprintf("%q ", scalar(texts(value)))
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
	content, err := readMap(data)
	if err != nil {
		return fmt.Errorf("%s is not YAML with parameters: %w", path, err)
	}
	if section := helmSection(content); section != nil {
		return l.helm(section, path)
	}
	source := "file " + path
	section, nested := content["pipelineServiceClientConfiguration"]
	if !nested && content["className"] == nil && content["parameters"] == nil {
		l.take(content, source, anywhere)
		return nil
	}
	outer := content
	if nested {
		l.misplaced(content, source)
		var ok bool
		if outer, ok = section.(map[string]any); !ok {
			return fmt.Errorf("%s: pipelineServiceClientConfiguration is not a map", path)
		}
	}
	if class := l.expand(outer["className"], "className"); !isOurs(texts(class)) {
		return fmt.Errorf("%s: className is %v, another client's configuration; ours is %s", path, class, clientClass)
	}
	l.take(outer, source, besideParameters)
	return l.inner(outer["parameters"], path, source)
}

// inner takes the parameters of the section's own map, which a variable may hold.
func (l *loader) inner(inner any, path, source string) error {
	if text, ok := inner.(string); ok { // What is below it is expanded as it is taken, once.
		if inner = l.expandText(text, "parameters"); inner == variable("") {
			inner = nil
		}
		if text, ok := inner.(variable); ok { // The one place where a variable holds a map: all parameters.
			var err error
			if inner, err = readMap([]byte(text)); err != nil {
				return fmt.Errorf("%s: pipelineServiceClientConfiguration.parameters: the variable is not YAML with parameters: %w", path, err)
			}
		}
	}
	if inner == nil {
		return nil
	}
	parameters, ok := inner.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: pipelineServiceClientConfiguration.parameters is not a map", path)
	}
	l.take(parameters, source, inParameters)
	return nil
}

// place is where a parameter stands in a file.
type place int

const (
	anywhere place = iota
	inParameters
	besideParameters
)

// allows says whether a parameter may stand there.
func (at place) allows(p parameter) bool {
	return at == anywhere || p.outer == (at == besideParameters)
}

// right says where a parameter that may not stand there has its place.
func right(p parameter) string {
	if p.outer {
		return "beside parameters, in pipelineServiceClientConfiguration"
	}
	return "in pipelineServiceClientConfiguration.parameters"
}

// misplaced finds parameters beside the section: all else there is the server's.
func (l *loader) misplaced(content map[string]any, source string) {
	for name := range content {
		if p, known := parameterByName(l.all, name); known && !p.part {
			l.problems.addf(name, "stands in the wrong place, it belongs %s (%s)", right(p), source)
		}
	}
}

// take sets the parameters of a map.
func (l *loader) take(values map[string]any, source string, at place) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if at == besideParameters && slices.Contains(serverKeys(), name) {
			continue
		}
		if reason, ok := ignored()[name]; ok {
			l.out.Warnings = append(l.out.Warnings, name+": ignored; "+reason)
			continue
		}
		p, known := parameterByName(l.all, name)
		switch {
		case known && !p.part && at.allows(p):
		case known && !p.part:
			l.problems.addf(name, "stands in the wrong place, it belongs %s (%s)", right(p), source)
			continue
		default:
			l.unknown(name, source, at)
			continue
		}
		value := l.expand(values[name], name)
		if value == variable("") || value == nil && !isNullable(name) {
			continue // OpenMetadata takes null for "not set".
		}
		l.set(p, value, source)
	}
}

// unknown refuses a name; beside the parameters only one that is nearly ours, as a newer server may have more.
func (l *loader) unknown(name, source string, at place) {
	hint := l.nearest(name, near, func(p parameter) string {
		if p.part || !at.allows(p) {
			return ""
		}
		return p.name
	})
	if at == besideParameters && hint == "" {
		l.out.Warnings = append(l.out.Warnings, name+": ignored; nothing is known of it ("+source+")")
		return
	}
	l.problems.addf(name, "is not a parameter%s (%s)", hint, source)
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
		if value := l.environment[p.env]; p.env != "" && value != "" {
			l.set(p, value, "variable "+p.env)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.environment)) {
		if known[name] || !strings.HasPrefix(name, "K8S_") {
			continue
		}
		// Other programs have variables of this prefix too: only one that is a letter away from ours is a mistake for sure.
		nameOf := func(p parameter) string { return p.env }
		if hint := l.nearest(name, 1, nameOf); hint != "" {
			l.problems.addf(name, "is not a parameter's variable%s", hint)
		} else if hint := l.nearest(name, near, nameOf); hint != "" {
			l.out.Warnings = append(l.out.Warnings, name+": ignored, it is not a parameter's variable"+hint)
		}
	}
}

func (l *loader) flags(flags []string) {
	for _, flag := range flags {
		if flag == "" {
			continue
		}
		name, value, ok := strings.Cut(flag, "=")
		p, known := parameterByName(l.all, name)
		switch {
		case !ok:
			l.problems.addf(name, "has no value; give NAME=VALUE (flag)")
		case !known:
			l.problems.addf(name, "is not a parameter%s (flag)", l.nearest(name, near, func(p parameter) string { return p.name }))
		case value != "": // Empty is as if it were not given, as of a variable.
			l.set(p, value, "flag")
		}
	}
}

// near is how many letters a name may be away from the one that was probably meant.
const near = 3

// nearest proposes the parameter that was probably meant; empty where none is within the distance.
func (l *loader) nearest(name string, distance int, nameOf func(parameter) string) string {
	names := make([]string, len(l.all))
	for i, p := range l.all {
		names[i] = nameOf(p)
	}
	if best := nearest(name, names, distance); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

// nearest is the candidate that was probably meant, however it is cased; empty where none is within the distance.
func nearest(name string, candidates []string, distance int) string {
	best := ""
	distance++
	for _, candidate := range candidates {
		if candidate == "" {
			continue
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// expand replaces references to variables in a value and below it: ${NAME} or ${NAME:-default}, and $${ by ${, as
// OpenMetadata's server does in its configuration, extraEnvVars too: one file means the same to both. Flags and variables
// are taken as they are.
func (l *loader) expand(value any, path string) any {
	switch v := value.(type) {
	case string:
		return l.expandText(v, path)
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

// expandText gives the value of a text that is one reference; of one with references in it a text.
func (l *loader) expandText(text, path string) any {
	var out strings.Builder
	for rest := text; ; {
		if before, after, ok := strings.Cut(rest, "${"); ok && strings.HasSuffix(before, "$") {
			out.WriteString(before + "{")
			rest = after
			continue
		}
		before, reference, after := cutReference(rest)
		if reference == "" {
			out.WriteString(rest)
			return out.String()
		}
		value := l.resolve(reference, path)
		if strings.TrimSpace(text) == "${"+reference+"}" {
			return value
		}
		if value == variable("") {
			l.problems.addf(path, "refers to variable %s, which is empty", reference)
		}
		_, fallback, _ := strings.Cut(reference, ":-")
		if text, ok := value.(variable); ok {
			fallback = string(text)
		} else if strings.Contains(fallback, "${") {
			fallback = fmt.Sprint(value)
		} else {
			fallback = strings.Trim(fallback, `"'`)
		}
		out.WriteString(before + fallback)
		rest = after
	}
}

// cutReference finds the first reference in a text; a default may have braces of its own.
func cutReference(text string) (before, reference, after string) {
	start := strings.Index(text, "${")
	if start < 0 {
		return text, "", ""
	}
	depth := 0
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return text[:start], text[start+len("${") : i], text[i+1:]
			}
		}
	}
	return text, "", ""
}

// resolve gives the value of NAME or NAME:-default: a variable as it is, character by character; of a default what YAML makes of
// it, as it stands in the file. An empty variable is as if it were not set.
func (l *loader) resolve(reference, path string) any {
	name, fallback, hasDefault := strings.Cut(reference, ":-")
	value, ok := l.environment[name]
	switch {
	case value != "":
		return variable(value)
	case !hasDefault && !ok:
		l.problems.addf(path, "refers to variable %s, which is not set", name)
		return nil
	case !hasDefault:
		return variable("")
	case strings.Contains(fallback, "${"):
		return l.expandText(fallback, path)
	}
	var parsed any
	if yaml.Unmarshal([]byte(fallback), &parsed) != nil {
		return fallback
	}
	if text, ok := unquoted(parsed, fallback); ok {
		return text
	}
	return parsed
}

// unquoted keeps the digits of a default such as 1.10, which is a text within a text.
func unquoted(parsed any, text string) (any, bool) {
	if _, number := parsed.(float64); number {
		return json.Number(strings.TrimSpace(text)), json.Valid([]byte(strings.TrimSpace(text)))
	}
	return nil, false
}

// variable is the value of a variable, of which every character counts.
type variable string

// texts makes texts of the variables in a value.
func texts(value any) any {
	return replaced(value, func(v variable) any { return string(v) })
}

// typed makes of variables in a value what they look like, for where Kubernetes wants a number or true or false.
func typed(value any) any {
	return replaced(value, func(v variable) any {
		var parsed any
		if json.Unmarshal([]byte(v), &parsed) != nil {
			return string(v)
		}
		switch parsed.(type) {
		case float64:
			return json.Number(strings.TrimSpace(string(v)))
		case bool:
			return parsed
		default:
			return string(v)
		}
	})
}

func hasVariables(value any) bool {
	found := false
	replaced(value, func(v variable) any { found = true; return v })
	return found
}

func replaced(value any, by func(variable) any) any {
	switch v := value.(type) {
	case variable:
		return by(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, child := range v {
			out[key] = replaced(child, by)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = replaced(child, by)
		}
		return out
	default:
		return value
	}
}

// readMap reads a text that is one map; none where it is empty.
func readMap(data []byte) (map[string]any, error) {
	found, err := documents.Read(data)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("it holds %d documents, the second on line %d; give one", len(found), found[1].Line)
	}
	content, ok := found[0].Value.(map[string]any)
	if !ok {
		return nil, errors.New("it is not a map")
	}
	return content, nil
}
