package openmetadata

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

const maxNameLength = 256

// quoteName returns the name as a part of a fully qualified name: one with a dot is quoted. The errors are those that
// the server gives for names that it cannot store.
func quoteName(name string) (string, error) {
	switch {
	case name == "" || utf8.RuneCountInString(name) > maxNameLength:
		return "", badRequest("[query param name size must be between 1 and %d]", maxNameLength)
	case strings.Contains(name, "::") || strings.ContainsAny(name, "\n\r"):
		return "", badRequest(`[query param name must match "^((?!::).)*$"]`)
	case strings.Contains(name, `"`):
		return "", &apiError{status: http.StatusInternalServerError, message: "Invalid name " + name}
	case strings.Contains(name, "."):
		return `"` + name + `"`, nil
	}
	return name, nil
}

// joinFQN adds a name to the fully qualified name of its parent; a name without a parent stands alone.
func joinFQN(parent, name string) (string, error) {
	quoted, err := quoteName(name)
	if err != nil || parent == "" {
		return quoted, err
	}
	return parent + "." + quoted, nil
}
