package workflow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

func TestConnection(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("from-a-file\n"), 0o600))
	cases := map[string]struct {
		reason     string
		connection string
		want       omapi.Config
	}{
		"Empty": {reason: "what is not there is left empty", connection: "{}"},
		"All": {
			reason:     "everything that the ingestion process honours",
			connection: "{hostPort: http://om/api, apiVersion: v1, verifySSL: validate, sslConfig: {caCertificate: /ca.pem}, securityConfig: {jwtToken: t}, extraHeaders: {X-A: b, X-N: 5}}",
			want: omapi.Config{
				URL: "http://om/api", APIVersion: "v1", VerifySSL: omapi.VerifyValidate, CACertificate: "/ca.pem", Token: "t",
				Headers: map[string]string{"X-A": "b", "X-N": "5"},
			},
		},
		"Nested":    {reason: "sslConfig of older servers", connection: "{sslConfig: {config: {caCertificate: /ca.pem}}}", want: omapi.Config{CACertificate: "/ca.pem"}},
		"TokenFile": {reason: "the ingestion process reads a token from a file", connection: "{securityConfig: {jwtToken: " + file + "}}", want: omapi.Config{Token: "from-a-file"}},
		"NoFile":    {reason: "a token is no path", connection: "{securityConfig: {jwtToken: /does/not/exist}}", want: omapi.Config{Token: "/does/not/exist"}},
		"Wrong":     {reason: "a shape that the workflow refuses leads as far as it goes", connection: "{hostPort: http://om/api, extraHeaders: [x], sslConfig: x, securityConfig: x}", want: omapi.Config{URL: "http://om/api"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse("workflowConfig: {openMetadataServerConfig: " + tc.connection + "}")
			require.NoError(t, err)
			assert.Equal(t, tc.want, Connection(config), tc.reason)
		})
	}
}
