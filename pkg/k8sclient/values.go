package k8sclient

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// Values come as YAML has them, or as text from a variable or a flag. Each function takes all forms of one kind.

func parseString(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool, float64, json.Number:
		return scalar(v), nil
	default:
		return "", errors.New("is not a text")
	}
}

// scalar writes a number as it was in YAML.
func scalar(value any) string {
	if number, ok := value.(float64); ok {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

func parseInt(bits int) func(any) (int64, error) {
	return func(value any) (int64, error) {
		text, err := parseString(value)
		if err != nil {
			return 0, errors.New("is not a whole number")
		}
		number, err := strconv.ParseInt(strings.TrimSpace(text), 10, bits)
		if errors.Is(err, strconv.ErrRange) {
			return 0, errors.New("is too large")
		}
		if err != nil {
			return 0, errors.New("is not a whole number")
		}
		return number, nil
	}
}

// parseID takes null for "the cluster chooses", and the empty text of a file.
func parseID(value any) (*int64, error) {
	text, ok := value.(string)
	if text = strings.TrimSpace(text); value == nil || ok && (text == "" || text == "null") {
		return nil, nil //nolint:nilnil // Nil is the value.
	}
	id, err := parseInt(64)(value)
	return &id, err
}

func parseBool(value any) (bool, error) {
	text, err := parseString(value)
	if err != nil {
		return false, errors.New("is not true or false")
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, errors.New("is not true or false")
	}
}

// parseNames takes a list or a text with commas.
func parseNames(value any) ([]string, error) {
	var parts []string
	switch v := value.(type) {
	case nil:
	case string:
		if strings.HasPrefix(strings.TrimSpace(v), "[") {
			return parseEmbedded(v, parseNames)
		}
		parts = strings.Split(v, ",")
	case []any:
		for _, entry := range v {
			name, err := parseString(entry)
			if err != nil {
				return nil, fmt.Errorf("entry %v %w", entry, err)
			}
			parts = append(parts, name)
		}
	default:
		return nil, errors.New("is not a list")
	}
	var names []string
	for _, part := range parts {
		if name := strings.TrimSpace(part); name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// parsePairs takes a map or a text "a=b,c=d".
func parsePairs(value any) (map[string]string, error) {
	pairs := map[string]string{}
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for key, entry := range v {
			text, err := parseString(entry)
			if err != nil {
				return nil, fmt.Errorf("value of %q %w", key, err)
			}
			pairs[key] = text
		}
	case string:
		if strings.HasPrefix(strings.TrimSpace(v), "{") {
			return parseEmbedded(v, parsePairs)
		}
		for part := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(part) == "" {
				continue
			}
			key, text, ok := strings.Cut(part, "=")
			key = strings.TrimSpace(key)
			if !ok || key == "" {
				return nil, fmt.Errorf("part %q has no name and value with = between them", strings.TrimSpace(part))
			}
			pairs[key] = strings.TrimSpace(text)
		}
	default:
		return nil, errors.New("is not a map")
	}
	if len(pairs) == 0 {
		pairs = nil // As if it were not set.
	}
	return pairs, nil
}

// parseVariables takes a list of "KEY:VALUE" and of Kubernetes' EnvVar, or a text "KEY:VALUE,KEY:VALUE". Only the
// first colon separates.
func parseVariables(value any) ([]corev1.EnvVar, error) {
	var entries []any
	switch v := value.(type) {
	case nil:
	case string:
		if strings.HasPrefix(strings.TrimSpace(v), "[") {
			return parseEmbedded(v, parseVariables)
		}
		for part := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(part) != "" {
				entries = append(entries, strings.TrimSpace(part))
			}
		}
	case []any:
		entries = v
	default:
		return nil, errors.New("is not a list")
	}
	var variables []corev1.EnvVar
	for _, entry := range entries {
		variable, err := parseVariable(entry)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(variables, func(other corev1.EnvVar) bool { return other.Name == variable.Name }) {
			return nil, fmt.Errorf("variable %s is there twice", variable.Name)
		}
		variables = append(variables, variable)
	}
	return variables, nil
}

// parseVariable keeps the value out of its errors: it may be a secret.
func parseVariable(entry any) (corev1.EnvVar, error) {
	if text, ok := entry.(string); ok {
		name, value, found := strings.Cut(text, ":")
		if !found {
			return corev1.EnvVar{}, errors.New("an entry has no colon between name and value")
		}
		return corev1.EnvVar{Name: strings.TrimSpace(name), Value: value}, nil
	}
	variable, err := decode[corev1.EnvVar](entry)
	if err == nil && variable.Name == "" {
		err = errors.New("an entry has no name")
	}
	if err == nil && variable.Value != "" && variable.ValueFrom != nil {
		err = fmt.Errorf("variable %s has both value and valueFrom", variable.Name)
	}
	return variable, err
}

// parseSeccomp takes a type, "Localhost:PATH", Kubernetes' SeccompProfile, or "none" to leave it to the cluster.
func parseSeccomp(value any) (*corev1.SeccompProfile, error) {
	text, ok := value.(string)
	switch {
	case value == nil, ok && strings.TrimSpace(text) == "":
		return defaultSeccomp(), nil
	case ok && strings.EqualFold(strings.TrimSpace(text), "none"):
		return nil, nil //nolint:nilnil // Nil is the value: the cluster decides.
	case !ok, strings.HasPrefix(text, "{"):
		profile, err := parseObject[corev1.SeccompProfile](value)
		return profile, err
	}
	kind, path, found := strings.Cut(strings.TrimSpace(text), ":")
	profile := &corev1.SeccompProfile{Type: corev1.SeccompProfileType(kind)}
	if found {
		profile.LocalhostProfile = &path
	}
	return profile, nil
}

// parseCA takes the path of a CA's file, alone or as OpenMetadata's sslConfig has it.
func parseCA(value any) (string, error) {
	given, ok := value.(map[string]any)
	if !ok {
		return parseString(value)
	}
	for name := range given {
		// certificatePath is the name of older servers.
		if name != "caCertificate" && name != "certificatePath" {
			return "", fmt.Errorf("has %q; only a caCertificate is taken", name)
		}
	}
	path := cmp.Or(given["caCertificate"], given["certificatePath"])
	if path == nil {
		return "", nil
	}
	return parseString(path)
}

// parseQuantities takes a map of resources to quantities. What it does not name keeps its value; an empty quantity
// takes the resource out.
func parseQuantities(list corev1.ResourceList, value any) (corev1.ResourceList, error) {
	given, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("is not a map of resources, such as cpu and memory")
	}
	out := maps.Clone(list)
	for name, entry := range given {
		quantity, err := parseQuantity(entry)
		if err != nil {
			return nil, fmt.Errorf("%s: %q %w", name, scalar(entry), err)
		}
		if quantity == nil {
			delete(out, corev1.ResourceName(name))
			continue
		}
		out[corev1.ResourceName(name)] = *quantity
	}
	return out, nil
}

func parseQuantity(value any) (*resource.Quantity, error) {
	if text, ok := value.(string); value == nil || ok && strings.TrimSpace(text) == "" {
		return nil, nil //nolint:nilnil // Nil is the value: no request or limit.
	}
	text, err := parseString(value)
	if err != nil {
		return nil, errors.New("is not a quantity")
	}
	quantity, err := resource.ParseQuantity(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("is not a quantity")
	}
	return &quantity, nil
}

func parseList[T any](value any) ([]T, error) {
	if value, ok := value.(string); ok {
		if strings.TrimSpace(value) == "" {
			return nil, nil
		}
		return parseEmbedded(value, parseList[T])
	}
	if value == nil {
		return nil, nil
	}
	if _, ok := value.([]any); !ok {
		return nil, errors.New("is not a list")
	}
	return decode[[]T](value)
}

func parseObject[T any](value any) (*T, error) {
	if text, ok := value.(string); ok {
		if strings.TrimSpace(text) == "" {
			return nil, nil //nolint:nilnil // Nil is the value.
		}
		return parseEmbedded(text, parseObject[T])
	}
	if value == nil {
		return nil, nil //nolint:nilnil // Nil is the value.
	}
	if _, ok := value.(map[string]any); !ok {
		return nil, errors.New("is not a map")
	}
	out, err := decode[T](value)
	return &out, err
}

// parseEmbedded parses YAML or JSON that came as text.
func parseEmbedded[T any](text string, parse func(any) (T, error)) (T, error) {
	var value any
	var none T
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return none, errors.New("is neither YAML nor JSON")
	}
	if _, again := value.(string); again {
		return none, errors.New("is not a list or map")
	}
	return parse(value)
}

// decode refuses fields that Kubernetes does not know.
func decode[T any](value any) (T, error) {
	var out T
	data, err := json.Marshal(value)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &out)
	}
	if err != nil {
		message := err.Error()
		for _, prefix := range []string{"error unmarshaling JSON: ", "while decoding JSON: ", "error converting YAML to JSON: ", "json: "} {
			message = strings.TrimPrefix(message, prefix)
		}
		return out, errors.New("is not what Kubernetes takes: " + message)
	}
	return out, nil
}
