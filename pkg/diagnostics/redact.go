package diagnostics

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
)

const redacted = "<redacted>"

// shortestSecret is how many bytes a secret has at least that is told from other text: to redact one of three would redact half of
// a log, and it is no secret that anyone keeps.
const shortestSecret = 4

// SecretForms are secrets as programs print them: as they are, line by line, percent-encoded as in a URL, escaped as in JSON, Python's
// repr, XML and shells, and in base64, alone or within a longer text. Longest first, so that one which holds another is redacted whole.
func SecretForms(secrets []string) []string {
	var forms []string
	for _, secret := range secretLines(secrets) {
		// A secret that is kept in a file ends with a newline; where it is printed it may not.
		if secret = strings.TrimSpace(secret); len(secret) >= shortestSecret {
			forms = append(forms, formsOf(secret)...)
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(forms)
}

// secretLines adds the lines of secrets that have several, such as keys: a log may be cut between them.
func secretLines(secrets []string) []string {
	const telling = 16 // Characters: a shorter line may be any text.
	out := slices.Clone(secrets)
	for _, secret := range secrets {
		if !strings.Contains(strings.TrimSpace(secret), "\n") {
			continue
		}
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) >= telling {
				out = append(out, line)
			}
		}
	}
	return out
}

// Redactor replaces secrets in text.
type Redactor struct{ known *strings.Replacer }

// NewRedactor makes one of the secrets that are known, which are replaced in all their forms. What is a credential by its own form is
// replaced too: what a workflow reads by itself, such as the password of its source, its reporters do not know.
func NewRedactor(secrets []string) *Redactor {
	forms := SecretForms(secrets)
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		pairs = append(pairs, form, redacted)
	}
	return &Redactor{strings.NewReplacer(pairs...)}
}

// Replace gives the text without secrets.
func (r *Redactor) Replace(text string) string {
	return replaceKeys(replaceTokens(replacePasswords(r.known.Replace(text))))
}

// replacePasswords takes the passwords out of URLs. By hand, as logs are long: a regular expression takes ten times as long.
func replacePasswords(text string) string {
	return replaceAfter(text, "://", func(rest string) (from, to int) {
		end := strings.IndexAny(rest, " \t\r\n\"'`<>,;()[]{}|/?#")
		if end < 0 {
			end = len(rest)
		}
		at := strings.LastIndexByte(rest[:end], '@')
		colon := strings.IndexByte(rest[:max(at, 0)], ':')
		if colon < 0 || strings.Trim(rest[colon+1:at], "*") == "" || rest[colon+1:at] == redacted {
			return 0, 0 // SQLAlchemy shows *** itself.
		}
		return colon + 1, at
	})
}

// replaceTokens takes JSON web tokens out.
func replaceTokens(text string) string {
	const start, shortest = "eyJ", 20
	return replaceAfter(text, start, func(rest string) (from, to int) {
		end := strings.IndexFunc(rest, func(r rune) bool {
			return r != '.' && r != '-' && !isWord(r)
		})
		if end < 0 {
			end = len(rest)
		}
		if end < shortest || strings.Count(rest[:end], ".") < 2 {
			return 0, 0
		}
		return 0, end
	})
}

// replaceKeys takes private keys out.
func replaceKeys(text string) string {
	return replaceAfter(text, "-----BEGIN ", func(rest string) (from, to int) {
		head, _, found := strings.Cut(rest, "-----")
		if !found || !strings.HasSuffix(head, "PRIVATE KEY") && !strings.HasSuffix(head, "PRIVATE KEY BLOCK") {
			return 0, 0
		}
		from = len(head) + len("-----")
		if to = strings.Index(rest, "-----END"); to < 0 {
			// As where a program prints a part of it: the lines that can be a key's.
			to = from
			for line := range strings.Lines(rest[from:]) {
				if strings.TrimFunc(strings.TrimSpace(line), func(r rune) bool { return isWord(r) || strings.ContainsRune(`+/=\\`, r) }) != "" {
					break
				}
				to += len(line)
			}
		}
		return from, to
	})
}

// replaceAfter looks at what follows each mark, and replaces the part of it that a function finds; none where that is empty.
func replaceAfter(text, mark string, part func(rest string) (from, to int)) string {
	var out strings.Builder
	done := 0
	for at := 0; ; {
		next := strings.Index(text[at:], mark)
		if next < 0 {
			break
		}
		at += next + len(mark)
		if from, to := part(text[at:]); to > from {
			out.WriteString(text[done : at+from])
			out.WriteString(redacted)
			at += to
			done = at
		}
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

var (
	python    = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	pythonToo = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, `'`, `\'`)
	xmlText   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	xmlValue  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")
	xmlToo    = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#x27;")
	// inQuotes is what a shell's double quotes do not take as it is.
	inQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
)

func formsOf(secret string) []string {
	forms := []string{
		secret, jsonEscape(secret, true), jsonEscape(secret, false), jsonASCII(secret), python.Replace(secret), pythonToo.Replace(secret),
		xmlText.Replace(secret), xmlValue.Replace(secret), xmlToo.Replace(secret),
		strings.ReplaceAll(secret, "'", `'\''`), strings.ReplaceAll(secret, "'", `'"'"'`), inQuotes.Replace(secret), shellEscape(secret),
	}
	// What is escaped differs: Go's two, Python's quote with and without a slash.
	query := url.QueryEscape(secret)
	spaced := strings.ReplaceAll(query, "+", "%20")
	for _, percent := range []string{query, spaced, strings.ReplaceAll(spaced, "%2F", "/"), url.PathEscape(secret), url.UserPassword("", secret).String()[1:]} {
		forms = append(forms, percent, lowerHex(percent))
	}
	return append(forms, base64Forms(secret)...)
}

// shellEscape puts a backslash before what a shell takes for more than itself, as Bash's %q does.
func shellEscape(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r < 0x80 && r != '\n' && !isWord(r) && !strings.ContainsRune("@%+=:,./-", r) {
			out.WriteByte('\\')
		}
		out.WriteRune(r)
	}
	return out.String()
}

func isWord(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// lowerHex writes percent-encoded bytes in small letters.
func lowerHex(text string) string {
	out := []byte(text)
	for i := range out {
		if out[i] == '%' && i+2 < len(out) {
			copy(out[i+1:], strings.ToLower(text[i+1:i+3]))
		}
	}
	return string(out)
}

// base64Forms are the whole in base64, and what of it stays the same within a longer text: three bytes make four characters, so that
// the first and the last ones depend on what is around.
func base64Forms(secret string) []string {
	const telling = 8 // Characters: a shorter part may be any text.
	var forms []string
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		if len(secret) >= telling*3/4 {
			whole := encoding.EncodeToString([]byte(secret))
			forms = append(forms, whole, strings.TrimRight(whole, "="))
		}
		for before := range 3 {
			from := (before + 2) / 3 * 3 // The first byte of the first group that is all of the secret.
			all := append(make([]byte, before), secret...)
			if to := len(all) / 3 * 3; to > from {
				if part := encoding.EncodeToString(all[from:to]); len(part) >= telling {
					forms = append(forms, part)
				}
			}
		}
	}
	return forms
}

// jsonEscape is text as it is inside a JSON string; Go escapes what HTML does too, others do not.
func jsonEscape(text string, html bool) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(html)
	_ = encoder.Encode(text) //nolint:errchkjson // Text always can be.
	return strings.TrimSuffix(out.String()[1:], "\"\n")
}

// jsonASCII is the same as Python writes it.
func jsonASCII(text string) string {
	var out strings.Builder
	for _, r := range jsonEscape(text, false) {
		if r < 0x80 {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.String()
}
