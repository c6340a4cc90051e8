package workflow

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSplitAndMerge(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		config string
		want   Overlay
	}{
		"Token": {
			reason: "the bot's token is in every configuration",
			config: "workflowConfig: {openMetadataServerConfig: {hostPort: 'http://om/api', securityConfig: {jwtToken: abc}}}",
			want:   Overlay{"/workflowConfig/openMetadataServerConfig/securityConfig/jwtToken": "abc"},
		},
		"Number": {
			reason: "a password of digits is a number in YAML",
			config: "source: {password: 1234}",
			want:   Overlay{"/source/password": json.Number("1234")},
		},
		"List": {
			reason: "a list's members go by its name",
			config: "source: {apiKey: [one, two]}",
			want:   Overlay{"/source/apiKey/0": "one", "/source/apiKey/1": "two"},
		},
		"PointerEscape": {
			reason: "names may have the characters of a JSON pointer",
			config: "'a/b~c': {secret: x}",
			want:   Overlay{"/a~1b~0c/secret": "x"},
		},
		"URL": {
			reason: "a connection string may carry a password under any name",
			config: "source: {uri: 'postgres://me:pw@db/x'}",
			want:   Overlay{"/source/uri": "postgres://me:pw@db/x"},
		},
		"NotSecret": {
			reason: "names that only look alike stay readable",
			config: "a: {secretsManagerProvider: db, tokenUri: 'https://x', password: '', isSecret: true}",
			want:   Overlay{},
		},
		"Headers": {
			reason: "what a header means only its receiver knows",
			config: "server: {extraHeaders: {X-Tenant: one, Authorization: 'Basic eA=='}}",
			want:   Overlay{"/server/extraHeaders/X-Tenant": "one", "/server/extraHeaders/Authorization": "Basic eA=="},
		},
		"Listed": {
			reason: "the user knows of more, written in any way, and of whole parts",
			config: "source: {houseNumber: 7, HOUSE_NUMBER: x, parts: {a: [1, {b: two}], on: true}}",
			want:   Overlay{"/source/houseNumber": json.Number("7"), "/source/HOUSE_NUMBER": "x", "/source/parts/a/0": json.Number("1"), "/source/parts/a/1/b": "two"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse(tc.config)
			require.NoError(t, err)
			public, overlay := Rules{Secret: []string{"houseNumber", "parts"}}.Split(config)
			assert.Equal(t, tc.want, overlay, tc.reason)

			text, err := public.YAML()
			require.NoError(t, err)
			for _, secret := range overlay.Values() {
				assert.NotContains(t, text, secret)
			}
			stored, err := overlay.YAML()
			require.NoError(t, err)
			readBack, err := ParseOverlay(stored)
			require.NoError(t, err)
			merged, err := Merge(public, readBack)
			require.NoError(t, err)
			assert.Equal(t, config, merged, "what was split comes together again")
		})
	}
}

func TestMergeNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := Merge(Config{"source": map[string]any{"password": Placeholder}}, Overlay{})
	require.ErrorIs(t, err, ErrMissingSecret)
	assert.ErrorContains(t, err, "/source/password")
}

// TestWholeNumbers: entities come as JSON, whose numbers are floats to Go.
func TestWholeNumbers(t *testing.T) {
	t.Parallel()
	config := Config{"resultLimit": 1000000.0, "ratio": 0.5, "password": 1234567890.0, "list": []any{3000000.0}}
	public, overlay := Rules{}.Split(config)
	text, err := public.YAML()
	require.NoError(t, err)
	//nolint:testifylint // JSONEq would take 1e+06 for 1000000.
	assert.Equal(t, `{
  "list": [
    3000000
  ],
  "password": "<from-secret>",
  "ratio": 0.5,
  "resultLimit": 1000000
}
`, text, "1e+06 is text to who reads YAML 1.1")
	text, err = overlay.YAML()
	require.NoError(t, err)
	assert.Equal(t, "{\n  \"/password\": 1234567890\n}\n", text)
	assert.Equal(t, []string{"1234567890"}, overlay.Values(), "as it is printed, so that it is found in a log")
}

func TestCheckMasks(t *testing.T) {
	t.Parallel()
	require.NoError(t, CheckMasks(Config{"filter": "***", "list": []any{"*", ".*"}, "password": "a*****"}), "asterisks are in patterns too")
	err := CheckMasks(Config{"b/c": []any{map[string]any{"password": "*********"}}, "a": "*****"})
	require.ErrorIs(t, err, ErrMasked)
	require.ErrorContains(t, err, "/a, /b~1c/0/password")
}
