package workflow

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// issued are the forms of the tokens of services that issue them with a prefix of their own. No library: those with such rules
// are scanners of whole repositories, which would double the binary that is copied into every pod.
const issued = `` +
	`(?P<AWS>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{12,})|` +
	`(?P<GitHub>gh[pousr]_\w{16,}|github_pat_\w{16,})|` +
	`(?P<GitLab>gl(?:pat|ptt|dt|rt|rtr|cbt|ft|imt|agent|soat|oas|ffct)-[\w.-]{16,})|` +
	`(?P<Slack>xox[a-z]-[\w-]{8,}|xapp-\d-[\w-]{8,})|` +
	`(?P<Google>AIza[\w-]{24,}|ya29\.[\w.-]{8,}|GOCSPX-[\w-]{16,}|1//0[\w-]{20,})|` +
	`(?P<Databricks>d(?:api|kea|ose)[0-9a-f]{16,}(?:-\d)?)|` +
	`(?P<Stripe>(?:sk|rk)_(?:live|test)_\w{8,}|whsec_\w{16,})|` +
	`(?P<npm>npm_\w{16,})|(?P<PyPI>pypi-[\w-]{16,})|(?P<RubyGems>rubygems_\w{16,})|(?P<Docker>dckr_[po]at_[\w-]{16,})|` +
	`(?P<OpenAI_or_Anthropic>sk-[\w-]{20,})|(?P<HuggingFace>hf_\w{16,})|(?P<Groq>gsk_\w{16,})|(?P<LangSmith>lsv2_\w{16,})|(?P<Replicate>r8_\w{20,})|` +
	`(?P<Vault>hv[sbr]\.[\w-]{8,})|(?P<Terraform>\w{14}\.atlasv1\.[\w-]{16,})|(?P<Doppler>dp\.(?:pt|st|ct|sa|scim|audit)\.\w{16,})|` +
	`(?P<SendGrid>SG\.[\w-]{16,}\.[\w-]{16,})|(?P<Twilio>SK[0-9a-f]{32})|(?P<Mailgun>key-[0-9a-f]{32})|(?P<Mailchimp>[0-9a-f]{32}-us\d{1,2})|` +
	`(?P<Telegram>\d{8,10}:AA[\w-]{30,})|(?P<Shopify>shp(?:at|ca|pa|ss)_\w{16,})|(?P<Square>sq0(?:atp|csp)-[\w-]{16,})|` +
	`(?P<DigitalOcean>do[opr]_v1_\w{16,})|(?P<Atlassian>AT[AC]TT3[\w-]{16,})|(?P<Azure>[\w.~-]{3}\dQ~[\w.~-]{30,})|(?P<Alibaba>LTAI\w{12,})|` +
	`(?P<Notion>ntn_\w{16,}|secret_\w{40,})|(?P<Linear>lin_api_\w{16,})|(?P<Airtable>pat\w{14}\.[0-9a-f]{32,})|(?P<Grafana>gl(?:c|sa)_\w{16,})|` +
	`(?P<NewRelic>NR(?:AK|II|JS)-[\w-]{16,})|(?P<PostHog>ph[cx]_\w{16,})|(?P<Sentry>sntr[ysu]_[\w=-]{16,})|(?P<Postman>PMAK-[\w-]{16,})|` +
	`(?P<dbt_Cloud>dbt[cu]_[\w=-]{16,})|(?P<Snowflake>ver:\d+-hint:\d+-[\w+/=-]{8,})|(?P<Prefect>pn[ub]_\w{16,})|(?P<PlanetScale>pscale_\w+_[\w.-]{16,})|` +
	`(?P<Supabase>sbp_\w{16,})|(?P<age>AGE-SECRET-KEY-1\w+)`

// issuedMarks are what issued tokens have: one of them, whatever the rest is. A search for each is a hundred times as fast as the
// expression.
var issuedMarks = []string{
	"AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
	"glpat-", "glptt-", "gldt-", "glrt-", "glrtr-", "glcbt-", "glft-", "glimt-", "glagent-", "glsoat-", "gloas-", "glffct-",
	"xox", "xapp-", "AIza", "ya29.", "GOCSPX-", "1//0", "dapi", "dkea", "dose", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_",
	"npm_", "pypi-", "rubygems_", "dckr_", "sk-", "hf_", "gsk_", "lsv2_", "r8_", "hvs.", "hvb.", "hvr.", ".atlasv1.", "dp.",
	"SG.", "SK", "key-", "-us", ":AA", "shpat_", "shpca_", "shppa_", "shpss_", "sq0", "doo_v1_", "dop_v1_", "dor_v1_", "ATATT3", "ATCTT3",
	"Q~", "LTAI", "ntn_", "secret_", "lin_api_", "pat", "glc_", "glsa_", "NRAK-", "NRII-", "NRJS-", "phc_", "phx_", "sntr", "PMAK-",
	"dbtc_", "dbtu_", "ver:", "pnu_", "pnb_", "pscale_", "sbp_", "AGE-SECRET-KEY-1",
}

// form is a kind of text that is secret whatever its name is.
type form struct {
	reason string
	// marks are what such a text has, all of one of the lists: most texts have none, and need not be looked at closely.
	marks [][]string
	match *regexp.Regexp
}

// mayMatch says that a text has the marks of the form.
func (f form) mayMatch(text string) bool {
	return slices.ContainsFunc(f.marks, func(all []string) bool {
		return !slices.ContainsFunc(all, func(mark string) bool { return !strings.Contains(text, mark) })
	})
}

// containsAny says that a text has one of the marks.
func containsAny(text string, marks ...string) bool {
	return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(text, mark) })
}

var (
	issuedTokens = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?:^|[^0-9A-Za-z_])(?:` + issued + `)`) })

	forms = sync.OnceValue(func() []form {
		return []form{
			// A certificate is public. But OpenMetadata's schemas mark it as a password, and it often comes with its key.
			{"a key or certificate in PEM", [][]string{{"BEGIN "}, {"PuTTY-User-Key-File"}, {"MII"}, {"b3BlbnNzaC1rZXktdjE"}}, regexp.MustCompile(`---- ?BEGIN |PuTTY-User-Key-File|^\s*(?:MII|b3BlbnNzaC1rZXktdjE)[A-Za-z0-9+/\s]{60,}=*\s*$`)},
			{"a JSON web token", [][]string{{"eyJ"}}, regexp.MustCompile(`(?:^|[^\w-])eyJ[\w-]{5,}\.[\w-]{4,}\.[\w-]*`)},
			{"a URL with a user", [][]string{{"//", "@"}}, regexp.MustCompile(`//[^/\s?#@"'<>]*[^/\s?#@"'<>:]@|//[^/\s?#@:"'<>]*:(?:[^\s"'<>\d]|\d+[^\s"'<>/?#\d])[^\s"'<>]*@[\w\[]`)},
			{"a user with a password", [][]string{{"@"}}, regexp.MustCompile(`^[^\s/:@]+:[^\s@/]+@(?:tcp|unix|udp)?[\w.\[(]|(?i:oracle:\w+:|oracle:)[^\s/:@]+/[^\s@]+@|^[^\s/:@.]+/[^\s@/]+@(?://)?[\w.-]+:\d{2,5}(?:/|$)`)},
			{"a webhook", [][]string{{"//"}}, regexp.MustCompile(`(?i)//(?:hooks\.slack\.com|[\w.-]*webhook\.office\.com|[\w.-]*logic\.azure\.com|discord(?:app)?\.com/api/webhooks|chat\.googleapis\.com/v\d/spaces)/`)},
		}
	})
	// noUser are addresses with an @ that is not after a user: containers of Azure's storage, and users without a password.
	noUser = regexp.MustCompile(`(?i)\b(?:abfss?|wasbs?)://[^\s@/:]+@|\bssh://git@|^mailto:|@sha256:`)
	// templates are put in later, by others.
	templates = regexp.MustCompile(`\{\{.*?\}\}|\$\{[^}]*\}|\$\([^)]*\)`)
	schemes   = regexp.MustCompile(`(?i)(^\s*|["'=:]\s*|\s)(bearer|basic|token|apikey|api-key|negotiate|digest|aws4-hmac-sha256)\s+([^\s"',;]{4,})`)
	property  = regexp.MustCompile(`(?i)<name>\s*([^<]+?)\s*</name>\s*<value>\s*[^<\s]`)
	login     = regexp.MustCompile(`(?i)\blogin\s+\S+\s+password\s+\S|\bidentified\s+by\s+['"]?\S|(?:^|\s)(?:-u|--user)[ =]?[^\s:]+:\S|\bsshpass\s+-p\s*\S`)
	// escapes are how JSON and HTML write what separates the parameters of a URL.
	escapes = strings.NewReplacer(`\u0026`, "&", `\u003d`, "=", `\u003D`, "=", `\u003f`, "?", `\/`, "/", "&amp;", "&", "&quot;", `"`)
)

// TextReason says what makes a text secret whatever its name is; it is empty if nothing is known to.
func TextReason(text string) string {
	const deepest = 3
	for range deepest {
		if found := plainReason(text); found != "" {
			return found
		}
		inner := decoded(text)
		if inner == text {
			break
		}
		text = inner
	}
	return ""
}

// decoded takes one layer of an encoding off.
func decoded(text string) string {
	if inner := escapes.Replace(text); inner != text {
		return inner
	}
	if strings.Contains(text, "%") {
		if inner, err := url.PathUnescape(text); err == nil && inner != text {
			return inner
		}
	}
	if inner, ok := unBase64(text); ok {
		return inner
	}
	return text
}

// unBase64 decodes what is text in base64; names and words that happen to be base64 of something decode to no text.
func unBase64(text string) (string, bool) {
	const shortest = 16
	compact := strings.TrimRight(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text), "=")
	if len(compact) < shortest {
		return "", false
	}
	return base64Text(compact)
}

func base64Text(compact string) (string, bool) {
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		data, err := encoding.DecodeString(strings.TrimRight(compact, "="))
		if err == nil && utf8.Valid(data) && !slices.ContainsFunc([]rune(string(data)), func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) {
			return string(data), true
		}
	}
	return "", false
}

func plainReason(text string) string {
	if containsAny(text, "{{", "$") {
		text = templates.ReplaceAllLiteralString(text, "")
	}
	if issuer := issuerOf(text); issuer != "" {
		return "a token of " + issuer
	}
	for _, form := range forms() {
		if !form.mayMatch(text) {
			continue
		}
		looked := text
		if strings.Contains(form.reason, "user") {
			looked = noUser.ReplaceAllLiteralString(text, "")
		}
		if form.match.MatchString(looked) {
			return form.reason
		}
	}
	if httpCredentials(text) {
		return "credentials of HTTP"
	}
	if mayLogIn(text) && login.MatchString(text) {
		return "a user with a password"
	}
	return assigned(text)
}

// issuerOf is the service that issued a token in the text; empty if none is known.
func issuerOf(text string) string {
	if !containsAny(text, issuedMarks...) {
		return ""
	}
	match := issuedTokens().FindStringSubmatchIndex(text)
	if match == nil {
		return ""
	}
	for i, name := range issuedTokens().SubexpNames() {
		if name != "" && match[2*i] >= 0 {
			return strings.ReplaceAll(name, "_", " ")
		}
	}
	return ""
}

func mayLogIn(text string) bool {
	return containsAny(strings.ToLower(text), "password", "identified", "-u", "sshpass")
}

// schemesIn finds the names of schemes of HTTP authentication, each with what is before and after it.
func schemesIn(text string) [][]string {
	if !containsAny(strings.ToLower(text), "bearer", "basic", "token", "apikey", "api-key", "negotiate", "digest", "aws4-hmac-sha256") {
		return nil
	}
	return schemes.FindAllStringSubmatch(text, -1)
}

// httpCredentials finds what follows the name of a scheme in a header, not the same words in prose: "a bearer of news", "Bearer token".
func httpCredentials(text string) bool {
	const long = 16
	for _, match := range schemesIn(text) {
		before, scheme, value := match[1], strings.ToLower(match[2]), match[3]
		telling := len(value) >= long || len(value) >= long/2 && strings.ContainsAny(value, "0123456789")
		switch header := strings.TrimSpace(before) != "" || before == ""; scheme {
		case "basic":
			if inner, ok := base64Text(value); ok && strings.Contains(inner, ":") {
				return true
			}
		case "bearer":
			if telling || header && !slices.Contains([]string{"token", "tokens", "auth", "authentication"}, strings.ToLower(value)) {
				return true
			}
		default:
			if telling && header {
				return true
			}
		}
	}
	return false
}

// secretsWithin are the secrets in a text that is one: a program may print the password of a URL without the URL.
func secretsWithin(text string) []string {
	var out []string
	const deepest = 3
	for range deepest {
		if json.Valid([]byte(text)) && strings.ContainsAny(text, "{[") {
			if config, err := Parse(`{"":` + text + `}`); err == nil {
				_, overlay := Rules{}.Split(config)
				out = append(out, overlay.Values()...)
			}
		}
		for _, match := range userInfo.FindAllStringSubmatch(text, -1) {
			password := match[1] + match[2]
			out = append(out, password)
			if plain, err := url.PathUnescape(password); err == nil {
				out = append(out, plain)
			}
		}
		for _, match := range schemesIn(text) {
			out = append(out, match[3])
			if inner, ok := base64Text(match[3]); ok && strings.EqualFold(match[2], "basic") {
				_, password, _ := strings.Cut(inner, ":")
				out = append(out, password)
			}
		}
		eachAssigned(text, func(_, value string) bool {
			out = append(out, value)
			return true
		})
		inner := decoded(text)
		if inner == text {
			break
		}
		text = inner
	}
	return out
}

// userInfo finds the password in a URL.
var userInfo = regexp.MustCompile(`//[^/\s?#@:"'<>]*:([^\s"'<>]+)@|^[^\s/:@]+:([^\s/@]+)@`)

// assigned finds a secret that is given by its name within a text: a parameter of a URL, a property of a connection string of
// libpq, JDBC, ODBC or JAAS, an option of a command, a field in JSON, YAML or XML.
func assigned(text string) string {
	for _, match := range propertiesIn(text) {
		if reason := nameReason(match[1]); reason != "" {
			return "the property " + match[1]
		}
	}
	var found string
	eachAssigned(text, func(name, _ string) bool {
		found = "the property " + strings.TrimLeft(name, "-")
		return false
	})
	return found
}

// propertiesIn finds the properties in XML of Hadoop.
func propertiesIn(text string) [][]string {
	if !strings.Contains(text, "<") {
		return nil
	}
	return property.FindAllStringSubmatch(text, -1)
}

// eachAssigned calls a function for each name and value in a text of which the name says that it is a secret, until it returns false.
func eachAssigned(text string, see func(name, value string) bool) {
	for i := range len(text) {
		name := assignedAt(text, i)
		if name == "" {
			continue
		}
		value := valueAfter(text[i+1:])
		if value != "" && (nameReason(name) != "" || inQuery(text[:i], name, value)) && !see(name, value) {
			return
		}
	}
}

// assignedAt is the name before what may be the sign between a name and its value; empty where it is none.
func assignedAt(text string, i int) string {
	switch text[i] {
	case '=':
		return nameBefore(text[:i])
	case '>':
		if name := nameBefore(text[:i]); strings.HasSuffix(text[:i], "<"+name) {
			return name
		}
	case ':':
		// Of host:port it is no name; in YAML a space follows, in JSON a quote precedes.
		if i+1 == len(text) || strings.IndexByte(" \t\r\n\"'", text[i+1]) >= 0 || i > 0 && strings.IndexByte(`"'`, text[i-1]) >= 0 {
			return nameBefore(text[:i])
		}
	case ' ':
		if name := nameBefore(text[:i]); strings.HasPrefix(name, "--") {
			return name
		}
	}
	return ""
}

// nameBefore is the name that a text ends with, without its quotes.
func nameBefore(text string) string {
	text = strings.TrimRight(text, " \t\"'\\")
	end := len(text)
	start := end
	for start > 0 && (isWord(text[start-1]) || strings.IndexByte(".-%", text[start-1]) >= 0) {
		start--
	}
	return text[start:end]
}

func isWord(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// valueAfter is what a text begins with, without its quotes; empty where it cannot be a secret.
func valueAfter(text string) string {
	text = strings.TrimLeft(text, "=> \t\"'\\")
	if end := strings.IndexAny(text, " \t\r\n\"'\\&;,}<)"); end >= 0 {
		text = text[:end]
	}
	switch strings.ToLower(text) {
	case "true", "false", "null", "none", "yes", "no", "|", ">":
		return ""
	default:
		return text
	}
}

// inQuery knows the short names that mean a secret in the parameters of a URL only.
func inQuery(before, name, value string) bool {
	const telling = 8 // Characters: other keys and codes are shorter.
	at := len(before) - len(name) - 1
	if at < 0 || strings.IndexByte("?&;#", before[at]) < 0 {
		return false
	}
	switch strings.ToLower(name) {
	case "sig", "signature", "x-amz-signature", "x-goog-signature", "x-amz-credential":
		return true
	case "key", "code", "auth", "hash":
		return len(value) >= telling
	default:
		return false
	}
}
