package workflow

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rules say what is secret, beside what is known to be: fields and variables by their name, or by their path, a JSON pointer.
type Rules struct {
	// Secret are kept in the Secret, with all that is below them.
	Secret []string
	// Public are not, whatever they look like. What OpenMetadata's schemas mark as a password cannot be made public, and what is below
	// them is judged by itself.
	Public []string
}

// Finding is one value that is kept in the Secret, and why.
type Finding struct {
	// Path is a JSON pointer, or the name of a variable.
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Why a value is secret, beside what its name or text says.
const (
	reasonListed   = "listed in secretKeys"
	reasonPassword = "a password in OpenMetadata's schemas"
	reasonHeader   = "a header: only its receiver knows what it means"
)

// Split takes the secret values out of a configuration. The first result has Placeholder in their place; the configuration given
// is not changed.
func (r Rules) Split(config Config) (Config, Overlay) {
	s := r.split(config)
	return s.public, s.overlay
}

// Explain lists what Split takes out, and why, by path.
func (r Rules) Explain(config Config) []Finding {
	found := r.split(config).found
	slices.SortFunc(found, func(a, b Finding) int { return cmp.Compare(a.Path, b.Path) })
	return found
}

// Variable says why a variable is secret; empty: it is not.
func (r Rules) Variable(name, value string) string {
	switch {
	case value == "" || value == Placeholder || name == "OLDPWD" || name == "PWD" && strings.HasPrefix(value, "/"): // A shell's.
		return ""
	case isPassword(name, ""):
		return reasonPassword
	case Named(name, r.Secret):
		return reasonListed
	case Named(name, r.Public):
		return ""
	default:
		return reasonOf(name, value)
	}
}

// Named says that a name is one of the list, however it is written: DB_KEY is dbKey.
func Named(name string, list []string) bool {
	return slices.ContainsFunc(list, func(other string) bool { return fold(name) == fold(other) })
}

type splitter struct {
	rules   Rules
	public  Config
	overlay Overlay
	found   []Finding
}

// place is where a value stands.
type place struct {
	pointer, name, parent string
	// whole says why all that is below a name is secret; empty: it is not.
	whole string
}

func (r Rules) split(config Config) *splitter {
	s := &splitter{rules: r, overlay: Overlay{}}
	s.public, _ = s.value(map[string]any(config), place{}).(map[string]any)
	return s
}

// value gives a value without its secrets.
func (s *splitter) value(value any, at place) any {
	switch v := value.(type) {
	case map[string]any:
		at.whole = s.whole(at)
		return s.fields(v, at)
	case []any:
		// A list's members go by its name.
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = s.value(child, place{at.pointer + "/" + strconv.Itoa(i), at.name, at.parent, at.whole})
		}
		return out
	case nil, bool:
		return v
	default:
		if reason := s.reason(value, at); reason != "" {
			return s.take(value, at.pointer, reason)
		}
		return v
	}
}

func (s *splitter) fields(fields map[string]any, at place) any {
	for key := range fields {
		// A name cannot be replaced; a map of such names can.
		if at.pointer != "" && TextReason(key) != "" {
			return s.take(fields, at.pointer, "a name in it is a secret")
		}
	}
	out := make(map[string]any, len(fields))
	label := labelOf(fields)
	for key, child := range fields {
		below := place{at.pointer + "/" + escapePointer(key), key, at.name, at.whole}
		if label != "" && (key == "value" || key == "values" || key == "defaultValue") {
			below.name = label
		}
		out[key] = s.value(child, below)
	}
	return out
}

// labelOf is the name that a map gives to its value, as {name: password, value: x} does.
func labelOf(fields map[string]any) string {
	for _, key := range []string{"name", "key", "property", "header", "parameter", "option"} {
		if label, ok := fields[key].(string); ok {
			return label
		}
	}
	return ""
}

func (s *splitter) take(value any, pointer, reason string) any {
	s.overlay[pointer] = value
	s.found = append(s.found, Finding{pointer, reason})
	return Placeholder
}

// whole says why all of a map is secret.
func (s *splitter) whole(at place) string {
	if reason, decided := s.given(at); decided {
		return reason
	}
	if strings.HasSuffix(splitWords(at.name), " header ") {
		return reasonHeader
	}
	reason := nameReason(at.name)
	if manyFields.MatchString(reason) {
		return ""
	}
	if reason != "" && isPassword(at.name, at.parent) {
		return reasonPassword
	}
	return nameIs(reason)
}

// manyFields are words that OpenMetadata has for maps too, of secrets and of what is not: credentials of a cloud's with their region.
var manyFields = regexp.MustCompile(`\b(?:credential|cred|webhook)$`)

// reason says why a text or number is secret.
func (s *splitter) reason(value any, at place) string {
	text, ok := value.(string)
	switch {
	case ok && (text == "" || text == Placeholder):
		return ""
	case isPassword(at.name, at.parent):
		return reasonPassword
	}
	if reason, decided := s.given(at); decided {
		return reason
	}
	return reasonOf(at.name, value)
}

// given is what the maps above a place and the lists of the parameters say of it, and whether they decide.
func (s *splitter) given(at place) (reason string, decided bool) {
	switch {
	case at.whole == reasonPassword:
		return at.whole, true
	case s.listed(s.rules.Secret, at):
		return reasonListed, true
	case s.listed(s.rules.Public, at):
		return "", true
	default:
		return at.whole, at.whole != ""
	}
}

func (s *splitter) listed(list []string, at place) bool {
	return slices.Contains(list, at.pointer) || Named(at.name, list)
}

// reasonOf says why a value is secret, by its name or by what it holds. It looks at numbers too: a password of digits is one in
// YAML.
func reasonOf(name string, value any) string {
	text, ok := value.(string)
	if reason := nameReason(name); reason != "" && (!inFile.MatchString(reason) || !filePath.MatchString(text)) {
		return nameIs(reason)
	}
	if !ok {
		return ""
	}
	if found := TextReason(text); found != "" {
		return "holds " + found
	}
	if logins.MatchString(splitWords(name)) && userAndPassword.MatchString(text) {
		return "holds a user with a password"
	}
	return ""
}

var (
	// inFile are what is often in a file, which a field of that name is the path of: GOOGLE_APPLICATION_CREDENTIALS.
	inFile = regexp.MustCompile(`(?:credential|cred|keytab|jaas|key)$`)
	// logins are names of what may be a user and a password, with a colon between them.
	logins          = regexp.MustCompile(` (?:auth|login|user ?info) $`)
	userAndPassword = regexp.MustCompile(`^[^\s:/]+:\S+$`)
	filePath        = regexp.MustCompile(`^(?:file:(?://)?)?/[\w./ -]*\.[A-Za-z]\w{1,9}$`)
)

func nameIs(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf("its name has %q", reason)
}
