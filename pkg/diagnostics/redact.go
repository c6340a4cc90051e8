package diagnostics

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
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

// NewRedactor replaces secret values in text, in all their forms.
func NewRedactor(secrets []string) *strings.Replacer {
	forms := SecretForms(secrets)
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		pairs = append(pairs, form, redacted)
	}
	return strings.NewReplacer(pairs...)
}

var (
	python    = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	pythonToo = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, `'`, `\'`)
	xmlText   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	xmlValue  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")
	xmlToo    = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#x27;")
	// inQuotes is what a shell's double quotes do not take as it is.
	inQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
	// special is what a shell takes for more than itself, as Bash's %q has it.
	special = regexp.MustCompile("[^A-Za-z0-9_@%+=:,./\\-\\x80-\\xff\n]")
	hexPair = regexp.MustCompile(`%[0-9A-F]{2}`)
)

func formsOf(secret string) []string {
	forms := []string{
		secret, jsonEscape(secret, true), jsonEscape(secret, false), jsonASCII(secret), python.Replace(secret), pythonToo.Replace(secret),
		xmlText.Replace(secret), xmlValue.Replace(secret), xmlToo.Replace(secret),
		strings.ReplaceAll(secret, "'", `'\''`), strings.ReplaceAll(secret, "'", `'"'"'`), inQuotes.Replace(secret), special.ReplaceAllString(secret, `\$0`),
	}
	// What is escaped differs: Go's two, Python's quote with and without a slash.
	query := url.QueryEscape(secret)
	spaced := strings.ReplaceAll(query, "+", "%20")
	for _, percent := range []string{query, spaced, strings.ReplaceAll(spaced, "%2F", "/"), url.PathEscape(secret), url.UserPassword("", secret).String()[1:]} {
		forms = append(forms, percent, hexPair.ReplaceAllStringFunc(percent, strings.ToLower))
	}
	return append(forms, base64Forms(secret)...)
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
