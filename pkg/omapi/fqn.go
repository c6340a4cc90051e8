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

// SplitFQN is JoinFQN's inverse. A quote counts at the start of a name only, where another one ends it.
func SplitFQN(fqn string) []string {
	var names []string
	for {
		name, rest, more := cutName(fqn)
		names = append(names, name)
		if !more {
			return names
		}
		fqn = rest
	}
}

func cutName(fqn string) (name, rest string, more bool) {
	if strings.HasPrefix(fqn, `"`) {
		if inner, rest, ok := strings.Cut(fqn[1:], `".`); ok {
			return inner, rest, true
		}
		if inner, ok := strings.CutSuffix(fqn[1:], `"`); ok {
			return inner, "", false
		}
	}
	return strings.Cut(fqn, ".")
}

// escape percent-encodes a stored name once, as one path segment. url.PathEscape is not enough: it leaves
// characters such as + and ; that a server may take for something else.
func escape(segment string) string {
	return strings.ReplaceAll(url.QueryEscape(segment), "+", "%20")
}
