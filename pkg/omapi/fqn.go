package omapi

import (
	"net/url"
	"strings"
)

// JoinFQN builds a fully qualified name from names that are not quoted yet: a name with a dot is put in double
// quotes, as the server stores it (org.openmetadata.service.util.FullyQualifiedName).
func JoinFQN(names ...string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = name
		if strings.Contains(name, ".") {
			quoted[i] = `"` + name + `"`
		}
	}
	return strings.Join(quoted, ".")
}

// SplitFQN is JoinFQN's inverse.
func SplitFQN(fqn string) []string {
	var (
		names  []string
		name   strings.Builder
		quoted bool
	)
	for _, r := range fqn {
		switch {
		case r == '"':
			quoted = !quoted
		case r == '.' && !quoted:
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteRune(r)
		}
	}
	return append(names, name.String())
}

// escape percent-encodes a stored name once, as one path segment. url.PathEscape is not enough: it leaves
// characters such as + and ; that a server may take for something else.
func escape(segment string) string {
	return strings.ReplaceAll(url.QueryEscape(segment), "+", "%20")
}
