package omapi

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// extraHeaders adds headers to each request, when all others are known.
type extraHeaders struct {
	next    *http.Transport
	headers map[string]string
}

func withHeaders(next *http.Transport, headers map[string]string) http.RoundTripper {
	if len(headers) == 0 {
		return next
	}
	return &extraHeaders{next: next, headers: headers}
}

// RoundTrip sends a copy of the request with the headers.
func (t *extraHeaders) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	for name, value := range t.headers {
		expanded, _ := expandHeader(value, req.Header.Get)
		expanded = strings.TrimSpace(expanded)
		if strings.EqualFold(name, "Host") {
			out.Host = expanded // Go takes it from there only.
			continue
		}
		out.Header.Set(name, expanded)
	}
	return t.next.RoundTrip(out)
}

// CloseIdleConnections is for http.Client.
func (t *extraHeaders) CloseIdleConnections() { t.next.CloseIdleConnections() }

// CheckHeaders refuses extra headers that the ingestion process could not send: the values are Python's format strings, in
// which %(NAME)s is the value of another header and %% a percent sign. The error does not show a value, which may be secret.
func CheckHeaders(headers map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !isHeaderName(name) {
			return fmt.Errorf("%q is not the name of a header", name)
		}
		var unknown string
		_, ok := expandHeader(headers[name], func(other string) string {
			// The only headers that the ingestion process has by then, in its spelling.
			if other != "Authorization" && other != "Content-type" {
				unknown = other
			}
			return ""
		})
		switch {
		case !ok:
			return fmt.Errorf("the value of header %s has a %% that is none of %%(Authorization)s, %%(Content-type)s and %%%%; write %%%% for a percent sign", name)
		case unknown != "":
			return fmt.Errorf("the value of header %s refers to header %q; it can refer to Authorization and Content-type, spelt so", name, unknown)
		case strings.ContainsAny(strings.TrimSpace(headers[name]), "\r\n\x00"):
			return fmt.Errorf("the value of header %s has a line break in it", name)
		}
	}
	return nil
}

// isHeaderName says that a name is a token (RFC 9110, section 5.6.2).
func isHeaderName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) < 0
}

// expandHeader does what the ingestion package does with a value. Whatever else follows a percent sign is left as it is, and
// false: a report gets through more often with it than without.
func expandHeader(value string, header func(name string) string) (string, bool) {
	var out strings.Builder
	good := true
	for {
		before, after, found := strings.Cut(value, "%")
		out.WriteString(before)
		if !found {
			return out.String(), good
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")s")
		switch {
		case strings.HasPrefix(after, "%"):
			out.WriteByte('%')
			value = after[1:]
		case strings.HasPrefix(after, "(") && closed:
			out.WriteString(header(name))
			value = rest
		default:
			out.WriteByte('%')
			value, good = after, false
		}
	}
}

// secretsOf are what no error shows: the token, and the values of extra headers, longest first.
func secretsOf(token string, headers map[string]string) []string {
	const shortest = 4 // A shorter one would redact at random.
	var out []string
	for _, secret := range append(slices.Collect(maps.Values(headers)), token) {
		if secret = strings.TrimSpace(secret); len(secret) >= shortest {
			out = append(out, secret)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}
