package diagnostics

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestRedactor: what programs make of a secret before they print it.
func TestSecretForms(t *testing.T) {
	t.Parallel()
	const secret = `pä$s w/o"r'd&<1>\`
	key := "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----\n"
	within := func(before string) string {
		return base64.StdEncoding.EncodeToString([]byte(before + "hunter2-and-more" + "tail"))
	}
	cases := map[string]struct{ reason, secret, text, lacks string }{
		"Plain":      {secret: secret, text: "x" + secret + "y", lacks: "pä"},
		"JSON":       {reason: "as JavaScript writes it", secret: secret, text: `"pä$s w/o\"r'd&<1>\\"`},
		"GoJSON":     {reason: "Go escapes for HTML", secret: secret, text: `"pä$s w/o\"r'd\u0026\u003c1\u003e\\"`},
		"PythonJSON": {reason: "Python escapes what is not ASCII", secret: secret, text: `"p\u00e4$s w/o\"r'd&<1>\\"`},
		"PythonRepr": {reason: "both quotes in it", secret: secret, text: `'pä$s w/o"r\'d&<1>\\'`},
		"Quote":      {reason: "Python's urllib.parse.quote", secret: secret, text: "p%C3%A4%24s%20w/o%22r%27d%26%3C1%3E%5C"},
		"QuoteAll":   {reason: "its quote_plus", secret: secret, text: "p%C3%A4%24s+w%2Fo%22r%27d%26%3C1%3E%5C"},
		"Lower":      {reason: "Java may write small letters", secret: secret, text: "p%c3%a4%24s%20w%2fo%22r%27d%26%3c1%3e%5c"},
		"Shell":      {reason: "in single quotes", secret: secret, text: `'pä$s w/o"r'\''d&<1>\'`},
		"Shlex":      {reason: "as Python's shlex does it", secret: secret, text: `'pä$s w/o"r'"'"'d&<1>\'`},
		"Double":     {reason: "in double quotes", secret: secret, text: `"pä\$s w/o\"r'd&<1>\\"`},
		"Bash":       {reason: "its %q", secret: secret, text: `pä\$s\ w/o\"r\'d\&\<1\>\\`},
		"XML":        {reason: "in an attribute", secret: secret, text: `"pä$s w/o&quot;r&#39;d&amp;&lt;1&gt;\"`},
		"Base64":     {reason: "alone", secret: "hunter2-and-more", text: base64.StdEncoding.EncodeToString([]byte("hunter2-and-more"))},
		"Basic0":     {reason: "after a user", secret: "hunter2-and-more", text: "Basic " + within("abc"), lacks: base64.StdEncoding.EncodeToString([]byte("hunter2-and-mo"))[:16]},
		"Basic1":     {reason: "after a longer one", secret: "hunter2-and-more", text: "Basic " + within("abcd"), lacks: within("abcd")[8:24]},
		"Basic2":     {reason: "after one still longer", secret: "hunter2-and-more", text: "Basic " + within("abcde"), lacks: within("abcde")[8:24]},
		"Lines":      {reason: "a log may be cut between them, and each may have a time before it", secret: key, text: "12:00 MIIEvQIBADANBgkqhkiG9w0B\n12:01   AQEFAASCBKcwggSjAgEAAoIB", lacks: "MIIE"},
		"OneLine":    {reason: "a key in JSON", secret: key, text: `-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----`, lacks: "MIIE"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := NewRedactor([]string{tc.secret}).Replace(tc.text)
			assert.Contains(t, got, redacted, tc.reason)
			if tc.lacks == "" {
				tc.lacks = "w"
			}
			assert.NotContains(t, got, tc.lacks, tc.reason)
		})
	}
}

func TestRedactorLeaves(t *testing.T) {
	t.Parallel()
	const text = "one two three abc"
	assert.Equal(t, text, NewRedactor([]string{"", "a", "abc", "  ", "\n"}).Replace(text), "three characters are no secret that can be told from other text")
	assert.Equal(t, "one two <redacted> abc", NewRedactor([]string{"thre", "three"}).Replace(text), "the longer one first")
	assert.Equal(t, redacted+","+redacted, NewRedactor([]string{"abcd"}).Replace("abcd,abcd"))
}

// TestRedactorOfForms: what is a credential by its own form, also where nobody knows it.
func TestRedactorOfForms(t *testing.T) {
	t.Parallel()
	const token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"
	for text, want := range map[string]string{
		"Engine(mysql+pymysql://me:hunter2@h/x) failed":                       "Engine(mysql+pymysql://me:<redacted>@h/x) failed",
		"a://u:p@h b://v:q@h":                                                 "a://u:<redacted>@h b://v:<redacted>@h",
		"redis://:hunter2@h":                                                  "redis://:<redacted>@h",
		"mysql://me:p@ss@h/x":                                                 "mysql://me:<redacted>@h/x",
		"mysql://me:***@h/x http://h:80/a@b?c=d:e@f s3://b/k:v ://":           "mysql://me:***@h/x http://h:80/a@b?c=d:e@f s3://b/k:v ://",
		"Bearer " + token + ", x":                                             "Bearer eyJ<redacted>, x",
		"eyJust a.b.c and eyJshort.a.b":                                       "eyJust a.b.c and eyJshort.a.b",
		"-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----": "-----BEGIN RSA PRIVATE KEY-----<redacted>-----END RSA PRIVATE KEY-----",
		"-----BEGIN PRIVATE KEY-----\nabc":                                    "-----BEGIN PRIVATE KEY-----<redacted>",
		"-----BEGIN PRIVATE KEY-----\nabc\ndef==\nERROR: cannot read it\n":    "-----BEGIN PRIVATE KEY-----<redacted>ERROR: cannot read it\n",
		"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----":         "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
	} {
		assert.Equal(t, want, NewRedactor(nil).Replace(text))
		assert.Equal(t, want, NewRedactor(nil).Replace(want), "once is enough")
	}
}

func BenchmarkRedactor(b *testing.B) {
	r := NewRedactor([]string{"hunter2-and-more", strings.Repeat("x", 1000)})
	text := strings.Repeat("2026-01-01 12:00:00 INFO metadata.ingestion - see https://docs.example.com/x and mysql://me:pw@h/x for more\n", 2500)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Replace(text)
	}
}
