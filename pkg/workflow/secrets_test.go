package workflow

import (
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
			want:   Overlay{"/source/password": 1234},
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
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse(tc.config)
			require.NoError(t, err)
			public, overlay := Split(config)
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
	public, overlay := Split(config)
	text, err := public.YAML()
	require.NoError(t, err)
	assert.Equal(t, "list:\n    - 3000000\npassword: <from-secret>\nratio: 0.5\nresultLimit: 1000000\n", text, "1e+06 is text to who reads YAML 1.1")
	text, err = overlay.YAML()
	require.NoError(t, err)
	assert.Equal(t, "/password: 1234567890\n", text)
	assert.Equal(t, []string{"1234567890"}, overlay.Values(), "as it is printed, so that it is found in a log")
}

func TestSensitiveNamesOfVariables(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"AWS_SECRET_ACCESS_KEY": true, "DJANGO_SECRET_KEY": true, "SSH_PRIVATE_KEY": true, "DB_PASSWORD": true, "api-key": true,
		"secretsManagerProvider": false, "TOKEN_URI": false, "KEYBOARD": false, "AWS_REGION": false,
	} {
		assert.Equal(t, want, Sensitive(name, "value"), name)
	}
}
