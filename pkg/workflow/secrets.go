package workflow

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Placeholder stands in the public configuration where a secret value was.
const Placeholder = "<from-secret>"

// ErrMissingSecret is a placeholder without a value; the error names its path.
var ErrMissingSecret = errors.New("secret value is missing")

// Overlay holds the secret values of a configuration, strings and numbers, by their JSON pointer (RFC 6901).
type Overlay map[string]any

var (
	// Names that OpenMetadata's schemas mark as password, and their kin. Anchored at the end, so that
	// secretsManagerProvider and tokenUri are not taken for secrets.
	sensitiveName = regexp.MustCompile(`(?i)(password|passwd|passphrase|token|secret|authorization|(secret|api|access|private|ssl|account|shared|encryption|signing)key|privatekeyconfig|credentials?string|connectionstring|webhook(url)?|sas)$`)
	// Short ones are words of their own: a path is no PAT, and PWD alone is a folder.
	sensitiveWord = regexp.MustCompile(`(?i:(^|[_.-])pat$|[_.-]pwd$)|[a-z0-9](Pat|PAT|Pwd|PWD|pwd)$`)
	// separators are in the names of variables: AWS_SECRET_ACCESS_KEY is a secretAccessKey.
	separators = strings.NewReplacer("_", "", "-", "")
	// RFC 6901, section 3.
	pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")
	// sensitiveText is a secret under any name: keys and certificates in PEM, a bearer token, an address with a user or
	// password in it, a webhook of Slack, Microsoft or Discord, a token in a query or a connection string.
	sensitiveText = regexp.MustCompile(`-----BEGIN |(?i:\bbearer\s+\S{8})|://[^/\s?#@]+@|` +
		`(?i:https://(hooks\.slack\.com|[\w.-]*webhook\.office\.com|discord(app)?\.com/api/webhooks)/)|` +
		`(?i:(^|[?&;])\s*[\w.-]*(token|sig|signature|secret|password|pwd|api_?key|access_?key|account_?key)\s*=\s*[^&;\s])`)
)

// wholeSecret are maps whose values are all secret: of a header only its receiver knows what it means.
const wholeSecret = "extraHeaders"

// Split takes the secret values out of a configuration, those below the given names too. The first result has Placeholder
// in their place; the configuration given is not changed.
func Split(config Config, secretKeys ...string) (Config, Overlay) {
	s := &splitter{keys: append([]string{wholeSecret}, secretKeys...), overlay: Overlay{}}
	public, _ := s.split(map[string]any(config), "", "", false).(map[string]any)
	return public, s.overlay
}

type splitter struct {
	keys    []string
	overlay Overlay
}

// split gives a value without its secrets; whole says that it is one, with all that is below it.
func (s *splitter) split(value any, name, pointer string, whole bool) any {
	whole = whole || Named(name, s.keys)
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, child := range v {
			out[key] = s.split(child, key, pointer+"/"+escapePointer(key), whole)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = s.split(child, name, pointer+"/"+strconv.Itoa(i), whole)
		}
		return out
	case nil, bool:
		return v
	default:
		if v == "" || v == Placeholder || !whole && !Sensitive(name, v) {
			return v
		}
		s.overlay[pointer] = v
		return Placeholder
	}
}

// Named says that a name is one of the list, however it is written: DB_KEY is dbKey.
func Named(name string, list []string) bool {
	return slices.ContainsFunc(list, func(other string) bool {
		return strings.EqualFold(separators.Replace(name), separators.Replace(other))
	})
}

// Sensitive says that a value is a secret, by its name or by what it holds. It looks at numbers too: a password of
// digits is one in YAML.
func Sensitive(name string, value any) bool {
	text, ok := value.(string)
	if ok && (text == "" || text == Placeholder) {
		return false
	}
	if name == "OLDPWD" { // A shell's.
		return false
	}
	return sensitiveName.MatchString(separators.Replace(name)) || sensitiveWord.MatchString(name) || ok && sensitiveText.MatchString(text)
}

// ErrMasked is a secret that the server has not told; the error names its path.
var ErrMasked = errors.New("secret value is masked")

// mask is what OpenMetadata shows of a password to those who may not see it (PasswordEntityMasker).
var mask = regexp.MustCompile(`^\*{5,}$`)

// CheckMasks refuses a configuration with masks in place of its secrets.
func CheckMasks(config Config) error {
	var found []string
	walk(map[string]any(config), "", func(pointer string, value any) {
		if text, ok := value.(string); ok && mask.MatchString(text) {
			found = append(found, pointer)
		}
	})
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return fmt.Errorf("%w: %s; OpenMetadata shows it to a bot's token only, or put the value in", ErrMasked, strings.Join(found, ", "))
}

func walk(value any, pointer string, see func(pointer string, value any)) {
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			walk(child, pointer+"/"+escapePointer(key), see)
		}
	case []any:
		for i, child := range v {
			walk(child, pointer+"/"+strconv.Itoa(i), see)
		}
	default:
		see(pointer, value)
	}
}

// Merge puts the values of the overlay back in the places of their placeholders. A placeholder without a value
// is ErrMissingSecret; a value without a placeholder is left out, as an older Secret may have more.
func Merge(public Config, overlay Overlay) (Config, error) {
	var missing []string
	merged, _ := merge(map[string]any(public), "", overlay, &missing).(map[string]any)
	if len(missing) > 0 {
		slices.Sort(missing)
		return merged, fmt.Errorf("%w: %s; deploy the pipeline again", ErrMissingSecret, strings.Join(missing, ", "))
	}
	return merged, nil
}

func merge(value any, pointer string, overlay Overlay, missing *[]string) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, child := range v {
			out[key] = merge(child, pointer+"/"+escapePointer(key), overlay, missing)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = merge(child, pointer+"/"+strconv.Itoa(i), overlay, missing)
		}
		return out
	case string:
		if v != Placeholder {
			return v
		}
		secret, ok := overlay[pointer]
		if !ok {
			*missing = append(*missing, pointer)
			return v
		}
		return secret
	default:
		return value
	}
}

// Values are the secret values, longest first, so that one which holds another is redacted whole.
func (o Overlay) Values() []string {
	values := make([]string, 0, len(o))
	for _, value := range o {
		text, err := number(value)
		if err != nil {
			text = fmt.Sprint(value) // A text.
		}
		values = append(values, text)
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(values)
}

func escapePointer(key string) string { return pointerEscapes.Replace(key) }
