package workflow

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// passwordField is a field that OpenMetadata's schemas mark as a password, as test/images/passwords.py writes it.
type passwordField struct {
	Model   string   `json:"model"`
	Name    string   `json:"name"`
	Parents []string `json:"parents"`
}

func passwordFields(t *testing.T) []passwordField {
	t.Helper()
	data, err := os.ReadFile("testdata/passwords.json")
	require.NoError(t, err)
	var list struct {
		Fields []passwordField `json:"fields"`
	}
	require.NoError(t, json.Unmarshal(data, &list))
	require.Greater(t, len(list.Fields), 150)
	return list.Fields
}

// TestPasswords: a password of the schemas is secret wherever it may stand, and nobody can say otherwise.
func TestPasswords(t *testing.T) {
	t.Parallel()
	rules := Rules{Public: []string{"config", "authType", "credentials", "connection"}}
	config, want := Config{}, map[string]any{}
	for _, field := range passwordFields(t) {
		if !slices.Contains(rules.Public, field.Name) {
			rules.Public = append(rules.Public, field.Name)
		}
		for _, parent := range append(slices.Clone(field.Parents), "config", "elsewhere") {
			if len(passwords()[fold(field.Name)]) > 0 && !slices.Contains(field.Parents, parent) {
				continue // As clientId, which is a password in one place only.
			}
			for kind, value := range map[string]any{"text": "SENTINEL", "list": []any{"SENTINEL"}} {
				key := field.Model + "." + parent + "." + kind
				models, _ := config[key].(map[string]any)
				if models == nil {
					models = map[string]any{parent: map[string]any{}}
					config[key] = models
				}
				section(models, parent)[field.Name] = value
				want[key+field.Name] = value
			}
		}
	}
	public, overlay := rules.Split(config)
	text, err := public.YAML()
	require.NoError(t, err)
	assert.NotContains(t, text, "SENTINEL")
	assert.Len(t, overlay, len(want))
	for _, found := range rules.Explain(config) {
		assert.Equal(t, reasonPassword, found.Reason, found.Path)
	}
	merged, err := Merge(public, overlay)
	require.NoError(t, err)
	assert.Equal(t, config, merged)
}

func TestSplitFindsAll(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"05a-spark-extra-config.json", "05b-exporter-trino-jwt.json"} {
		data, err := os.ReadFile("testdata/" + file)
		require.NoError(t, err)
		config, err := Parse(string(data))
		require.NoError(t, err)
		public, overlay := Rules{}.Split(config)
		text, err := public.YAML()
		require.NoError(t, err)
		assert.NotContains(t, text, "SENTINEL", file)
		assert.Len(t, overlay, strings.Count(string(data), "SENTINEL"), file)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		config string
		rules  Rules
		// secret are the paths that are taken, each with a part of its reason.
		secret map[string]string
	}{
		"Below": {
			reason: "a map or list below a secret name is secret as a whole",
			config: `{"tokens": {"a": "x", "b": [1, {"c": "y"}]}, "fs.azure.account.key": ["x"], "password": {"any": {"thing": "x"}}}`,
			secret: map[string]string{"/tokens/a": "token", "/tokens/b/0": "token", "/tokens/b/1/c": "token", "/fs.azure.account.key/0": "account key", "/password/any/thing": "schemas"},
		},
		"Credentials": {
			reason: "a map of credentials has fields that are none; a text is one",
			config: `{"credentials": {"gcpConfig": {"projectId": "p", "privateKey": "k", "privateKeyId": "i", "tokenUri": "https://x", "clientId": "1"}},
				"awsConfig": {"awsRegion": "r", "awsSecretAccessKey": "s"}, "a": {"credentials": "{}x"}, "b": {"credentials": ["x"]}}`,
			secret: map[string]string{"/credentials/gcpConfig/privateKey": "schemas", "/awsConfig/awsSecretAccessKey": "schemas", "/a/credentials": "schemas", "/b/credentials/0": "schemas"},
		},
		"ByParent": {
			reason: "one model has clientId as a password, most as a name",
			config: `{"credential": {"clientId": "x"}, "azureConfig": {"clientId": "y"}}`,
			secret: map[string]string{"/credential/clientId": "schemas"},
		},
		"Pairs": {
			reason: "a name may stand beside its value",
			config: `{"a": [{"name": "DB_PASSWORD", "value": "x"}, {"key": "mode", "value": "y"}], "b": {"property": "fs.s3a.secret.key", "value": "z"}}`,
			secret: map[string]string{"/a/0/value": "password", "/b/value": "secret key"},
		},
		"Names": {
			reason: "a name that is a secret cannot be replaced, its map can",
			config: `{"hosts": {"https://me:pw@h/x": {"limit": 1}}, "other": {"https://h/x": 1}}`,
			secret: map[string]string{"/hosts": "a name in it"},
		},
		"Headers": {
			reason: "what they mean only their receiver knows",
			config: `{"httpHeaders": {"X-Auth": "x"}, "headers": {"X-Tenant": "y"}, "headerNames": {"a": "z"}}`,
			secret: map[string]string{"/httpHeaders/X-Auth": "header", "/headers/X-Tenant": "header"},
		},
		"Texts": {
			reason: "what a value holds",
			config: `{"remote": "sc://h:15002/;token=x", "list": ["a", "Bearer abcdefgh"], "n": 5, "b": true, "z": null}`,
			secret: map[string]string{"/remote": "token", "/list/1": "HTTP"},
		},
		"Listed": {
			reason: "the user knows more, by name in any spelling or by path",
			config: `{"a": {"houseNumber": 7}, "HOUSE_NUMBER": "x", "b": {"c": {"d": "x"}}, "c": "y"}`, rules: Rules{Secret: []string{"houseNumber", "/b/c"}},
			secret: map[string]string{"/a/houseNumber": "secretKeys", "/HOUSE_NUMBER": "secretKeys", "/b/c/d": "secretKeys"},
		},
		"Public": {
			reason: "the user knows better, but for the schemas' passwords",
			config: `{"webhookToken": "x", "houseTokens": {"a": "y", "password": "z"}, "link": "https://x/?token=y", "apiKey": "k", "other": {"link": "https://x/?token=y"}}`,
			rules:  Rules{Public: []string{"webhook_token", "houseTokens", "/link", "apiKey", "/apiKey", "password"}},
			secret: map[string]string{"/houseTokens/password": "schemas", "/apiKey": "schemas", "/other/link": "token"},
		},
		"PublicBelow": {
			reason: "a part of what is secret as a whole, by its path",
			config: `{"extraHeaders": {"X-Tenant": "a", "X-Other": "b"}, "password": {"hint": "x"}}`, rules: Rules{Public: []string{"/extraHeaders/X-Tenant", "/password/hint", "hint"}},
			secret: map[string]string{"/extraHeaders/X-Other": "header", "/password/hint": "schemas"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse(tc.config)
			require.NoError(t, err)
			public, overlay := tc.rules.Split(config)
			found := map[string]string{}
			for _, finding := range tc.rules.Explain(config) {
				found[finding.Path] = finding.Reason
				assert.Contains(t, overlay, finding.Path)
			}
			for path, reason := range tc.secret {
				assert.Contains(t, found[path], reason, "%s: %s", path, tc.reason)
			}
			assert.Len(t, found, len(tc.secret), "%v", found)
			assert.Len(t, overlay, len(tc.secret))
			merged, err := Merge(public, overlay)
			require.NoError(t, err)
			assert.Equal(t, config, merged)
		})
	}
}

// TestValues: what is redacted.
func TestValues(t *testing.T) {
	t.Parallel()
	overlay := Overlay{
		"/a": map[string]any{"https://me:pw@h": []any{json.Number("12345"), true, nil}}, "/b/caCertificate": "/etc/ca/ca.pem", "/c/caCertificate": "-----BEGIN", "/password": "/etc/ca.pem",
		belongsTo: "no secret",
	}
	assert.ElementsMatch(t, []string{"12345", "-----BEGIN", "/etc/ca.pem", "https://me:pw@h", "pw"}, slices.Compact(slices.Sorted(slices.Values(overlay.Values()))))
	for name, tc := range map[string]struct{ text, want string }{
		"URL":     {"mysql+pymysql://me:p%40ss@h/x", "p@ss"},
		"Escaped": {"mysql+pymysql://me:p%40ss@h/x", "p%40ss"},
		"Query":   {"https://h/x?a=1&token=hunter2&b=2", "hunter2"},
		"JAAS":    {`x required username="u" password="hunter2";`, "hunter2"},
		"JSON":    {`{"a": {"private_key": "-----BEGIN KEY-----\nabc", "n": 1}}`, "-----BEGIN KEY-----\nabc"},
		"Basic":   {"Basic dTpodW50ZXIy", "hunter2"},
		"Bearer":  {"Bearer hunter22", "hunter22"},
		"Base64":  {"cG9zdGdyZXM6Ly9tZTpodW50ZXIyQGgveA==", "hunter2"},
	} {
		assert.Contains(t, Overlay{"/x": tc.text}.Values(), tc.want, name)
		assert.Contains(t, Overlay{"/x": tc.text}.Values(), tc.text, name)
	}
}
