package workflow

import (
	"cmp"
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

// RFC 6901, section 3.
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// ErrMasked is a secret that the server has not told; the error names its path.
var ErrMasked = errors.New("secret value is masked")

// mask is what OpenMetadata shows of a password to those who may not see it (PasswordEntityMasker).
var mask = regexp.MustCompile(`^\*{5,}$`)

// IsMask says that a text stands for a secret that the server has not told.
func IsMask(text string) bool { return mask.MatchString(text) }

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

// Values are the secret values, and the secrets within them, longest first, so that one which holds another is redacted whole. A certificate's path is not among
// them: the schemas mark it as a password, and an error about the file has to name it.
func (o Overlay) Values() []string {
	values := make([]string, 0, len(o))
	for pointer, value := range o {
		if pointer == belongsTo {
			continue
		}
		name := pointer[strings.LastIndexByte(pointer, '/')+1:]
		for _, text := range printed(value) {
			if !certificate.MatchString(name) || !filePath.MatchString(text) {
				values = append(values, text)
				values = append(values, secretsWithin(text)...)
			}
		}
	}
	values = slices.DeleteFunc(values, func(value string) bool { return value == "" })
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(values)
}

var certificate = regexp.MustCompile(`(?i)certificate$|CertValue$`)

// printed are the texts and numbers of a value as they are printed, and the names in it that are secret themselves.
func printed(value any) []string {
	var out []string
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			if TextReason(key) != "" {
				out = append(out, key)
			}
			out = append(out, printed(child)...)
		}
	case []any:
		for _, child := range v {
			out = append(out, printed(child)...)
		}
	case nil, bool:
	default:
		out = append(out, asPrinted(value))
	}
	return out
}

// asPrinted is a text or number as it is printed.
func asPrinted(value any) string {
	if text, err := number(value); err == nil {
		return text
	}
	return fmt.Sprint(value)
}

func escapePointer(key string) string { return pointerEscapes.Replace(key) }
