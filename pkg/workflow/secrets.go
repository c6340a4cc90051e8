package workflow

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
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
	sensitiveName = regexp.MustCompile(`(?i)(password|passwd|passphrase|token|secret|secretkey|apikey|accesskey|privatekey|privatekeyconfig|credentials?string|connectionstring|sas)$`)
	// separators are in the names of variables: AWS_SECRET_ACCESS_KEY is a secretAccessKey.
	separators = strings.NewReplacer("_", "", "-", "")
	// RFC 6901, section 3.
	pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")
	// user:password@ in a URL or connection string.
	passwordInURL = regexp.MustCompile(`://[^/\s:@]*:[^/\s@]+@`)
)

// Split takes the secret values out of a configuration. The first result has Placeholder in their place; the
// configuration given is not changed.
func Split(config Config) (Config, Overlay) {
	overlay := Overlay{}
	public, _ := split(map[string]any(config), "", "", overlay).(map[string]any)
	return public, overlay
}

func split(value any, name, pointer string, overlay Overlay) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, child := range v {
			out[key] = split(child, key, pointer+"/"+escapePointer(key), overlay)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = split(child, name, pointer+"/"+strconv.Itoa(i), overlay)
		}
		return out
	case nil, bool:
		return v
	default:
		if !Sensitive(name, v) {
			return v
		}
		overlay[pointer] = v
		return Placeholder
	}
}

// Sensitive says that a value is a secret, by its name or by what it holds. It looks at numbers too: a password of
// digits is one in YAML.
func Sensitive(name string, value any) bool {
	text, ok := value.(string)
	if ok && (text == "" || text == Placeholder) {
		return false
	}
	return sensitiveName.MatchString(separators.Replace(name)) || ok && passwordInURL.MatchString(text)
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
		values = append(values, fmt.Sprint(integers(value)))
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(values)
}

// Parse reads a configuration from YAML (or JSON, which YAML includes).
func Parse(text string) (Config, error) {
	// Not into a Config: yaml.v3 would make every nested map one too.
	var config map[string]any
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		if _, ok := errors.AsType[*yaml.TypeError](err); ok {
			// The parser's message quotes the text, which may be secret.
			return nil, errors.New("the workflow configuration is not a YAML map")
		}
		return nil, fmt.Errorf("the workflow configuration is not YAML: %w", err)
	}
	if config == nil {
		return nil, errors.New("the workflow configuration is empty")
	}
	return config, nil
}

// ParseOverlay reads what Overlay.YAML wrote; empty text is an empty overlay.
func ParseOverlay(text string) (Overlay, error) {
	var overlay Overlay
	if err := yaml.Unmarshal([]byte(text), &overlay); err != nil {
		// The parser's message may quote the text, which is secret.
		return nil, errors.New("the secret overlay is not a YAML map of JSON pointers to values")
	}
	return overlay, nil
}

// YAML is the configuration as the ingestion process reads it; keys are sorted.
func (c Config) YAML() (string, error) { return marshal(c, "workflow configuration") }

// YAML is the overlay as it is kept in the Secret.
func (o Overlay) YAML() (string, error) { return marshal(o, "secret overlay") }

func marshal(value any, what string) (string, error) {
	data, err := yaml.Marshal(integers(value))
	if err != nil {
		return "", fmt.Errorf("encode the %s: %w", what, err)
	}
	return string(data), nil
}

// integers makes whole numbers of what JSON has made floats: YAML would write 1000000 as 1e+06, which is text to others.
func integers(value any) any {
	const exact = 1 << 53
	switch v := value.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < exact {
			return int64(v)
		}
		return v
	case Config:
		return integers(map[string]any(v))
	case Overlay:
		return integers(map[string]any(v))
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, child := range v {
			out[key] = integers(child)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = integers(child)
		}
		return out
	default:
		return value
	}
}

func escapePointer(key string) string { return pointerEscapes.Replace(key) }
