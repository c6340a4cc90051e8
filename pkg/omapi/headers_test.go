package omapi_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

const anyVersion = `{"version":"1.12.6"}`

// TestExtraHeaders: what the ingestion package would send (metadata/ingestion/ometa/client.py of 1.12.6.4).
func TestExtraHeaders(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason        string
		given         map[string]string
		header, value string
	}{
		"Plain":     {reason: "as it is given", given: map[string]string{"X-Key": "a b"}, header: "X-Key", value: "a b"},
		"Reference": {reason: "Google's proxy wants the token once more", given: map[string]string{"Proxy-Authorization": "%(Authorization)s"}, header: "Proxy-Authorization", value: "Bearer the-token"},
		"Within":    {reason: "a reference is a part of the value", given: map[string]string{"X-Key": "<%(Authorization)s>"}, header: "X-Key", value: "<Bearer the-token>"},
		"Percent":   {reason: "%% is a percent sign", given: map[string]string{"X-Key": "100%%"}, header: "X-Key", value: "100%"},
		"Bad":       {reason: "the workflow fails by it, a report need not", given: map[string]string{"X-Key": "100%"}, header: "X-Key", value: "100%"},
		"Wins":      {reason: "an extra header wins over ours", given: map[string]string{"authorization": "Basic eA=="}, header: "Authorization", value: "Basic eA=="},
		"Newline":   {reason: "a value that was kept in a file ends with a newline", given: map[string]string{"X-Key": "a\n"}, header: "X-Key", value: "a"},
		"Host":      {reason: "a gateway may tell servers apart by it", given: map[string]string{"host": "om.example"}, header: "Host", value: "om.example"},
		"None":      {reason: "without any the token is all", header: "Authorization", value: "Bearer the-token"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got http.Header
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				got = req.Header.Clone()
				got.Set("Host", req.Host)
				_, _ = w.Write([]byte(anyVersion))
			}))
			t.Cleanup(server.Close)
			client, err := omapi.New(omapi.Config{URL: server.URL + "/api", Token: "the-token", Headers: tc.given})
			require.NoError(t, err)
			_, err = client.Version(t.Context())
			require.NoError(t, err)
			client.Close()
			assert.Equal(t, tc.value, got.Get(tc.header), tc.reason)
		})
	}
}

func TestCheckHeaders(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		headers map[string]string
		err     string
	}{
		"None":      {reason: "most have none"},
		"Good":      {reason: "as in the documentation", headers: map[string]string{"Proxy-Authorization": "%(Authorization)s", "X-Rate": "5%%"}},
		"Percent":   {reason: "Python: incomplete format", headers: map[string]string{"X-Key": "hunter2%"}, err: "header X-Key has a % that is none of"},
		"Digits":    {reason: "Python: not enough arguments, or another text", headers: map[string]string{"X-Key": "hunter2%20x"}, err: "write %% for a percent sign"},
		"Reference": {reason: "Python: KeyError", headers: map[string]string{"X-Key": "%(authorization)s"}, err: `refers to header "authorization"`},
		"Name":      {reason: "a colon is no part of a name", headers: map[string]string{"X-Key:": "x"}, err: `"X-Key:" is not the name of a header`},
		"Empty":     {reason: "nor is nothing", headers: map[string]string{"": "x"}, err: `"" is not the name of a header`},
		"Break":     {reason: "two headers in one", headers: map[string]string{"X-Key": "hunter2\nX-Other: x"}, err: "has a line break in it"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := omapi.CheckHeaders(tc.headers)
			if tc.err == "" {
				require.NoError(t, err, tc.reason)
				return
			}
			require.ErrorContains(t, err, tc.err, tc.reason)
			assert.NotContains(t, err.Error(), "hunter2", "a header may be secret")
		})
	}
}

func TestGatewayThatWantsAHeader(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	fqn := server.Pipeline(t, "svc", "nightly")
	url := server.Gateway(t, "X-Key", "hunter2")
	for _, tc := range []struct {
		headers map[string]string
		is      error
	}{{headers: map[string]string{"x-key": "hunter2"}}, {is: omapi.ErrForbidden}} {
		client, err := omapi.New(omapi.Config{URL: url, Token: server.Token, Headers: tc.headers})
		require.NoError(t, err)
		_, err = client.GetPipeline(t.Context(), fqn)
		require.ErrorIs(t, err, tc.is)
		client.Close()
	}
}

// TestErrorsDoNotShowHeaders: a gateway may show the request that it has refused.
func TestErrorsDoNotShowHeaders(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Error(w, "refused: "+req.Header.Get("X-Key")+" "+req.Header.Get("Authorization"), http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	client, err := omapi.New(omapi.Config{URL: server.URL, Token: "the-token", Headers: map[string]string{"X-Key": "hunter2"}})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	_, err = client.Version(t.Context())
	require.ErrorContains(t, err, "refused")
	assert.NotContains(t, err.Error(), "hunter2")
	assert.NotContains(t, err.Error(), "the-token")
}

func TestAPIVersion(t *testing.T) {
	t.Parallel()
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		path = req.URL.Path
		_, _ = w.Write([]byte(anyVersion))
	}))
	t.Cleanup(server.Close)
	for version, want := range map[string]string{"": "/api/v1/system/version", "v1": "/api/v1/system/version", "v2": "/api/v2/system/version"} {
		client, err := omapi.New(omapi.Config{URL: server.URL + "/api", APIVersion: version})
		require.NoError(t, err)
		_, err = client.Version(t.Context())
		require.NoError(t, err)
		client.Close()
		assert.Equal(t, want, path, "apiVersion %q", version)
	}
}

// TestCertificatesOfTheEnvironment: the ingestion package trusts what these variables name, so the others do.
func TestCertificatesOfTheEnvironment(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(anyVersion)) }))
	t.Cleanup(server.Close)
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	folder := t.TempDir()
	file := filepath.Join(folder, "0a1b2c3d.0")
	require.NoError(t, os.WriteFile(file, []byte(authority), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "README"), []byte("none"), 0o600))
	cases := map[string]struct {
		reason         string
		name, value    string
		verify         omapi.VerifySSL
		ca             string
		newErr, askErr string
	}{
		"None":    {reason: "the system does not know it", askErr: "unknown authority"},
		"File":    {reason: "a file", name: "REQUESTS_CA_BUNDLE", value: file, verify: omapi.VerifyNoSSL},
		"Folder":  {reason: "a folder, as c_rehash makes it", name: "REQUESTS_CA_BUNDLE", value: folder},
		"Curl":    {reason: "the other name", name: "CURL_CA_BUNDLE", value: file},
		"Gone":    {reason: "the workflow fails by it too", name: "REQUESTS_CA_BUNDLE", value: "/does/not/exist", newErr: "variable REQUESTS_CA_BUNDLE cannot be read"},
		"Empty":   {reason: "a folder without any", name: "REQUESTS_CA_BUNDLE", value: t.TempDir(), newErr: "holds no PEM certificate"},
		"Ignored": {reason: "the connection's own word counts", name: "REQUESTS_CA_BUNDLE", value: "/does/not/exist", verify: omapi.VerifyIgnore},
		"Inline":  {reason: "a certificate in place of its path", verify: omapi.VerifyValidate, ca: authority},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Setenv("REQUESTS_CA_BUNDLE", "")
			t.Setenv("CURL_CA_BUNDLE", "")
			if tc.name != "" {
				t.Setenv(tc.name, tc.value)
			}
			client, err := omapi.New(omapi.Config{URL: server.URL, VerifySSL: tc.verify, CACertificate: tc.ca})
			if tc.newErr != "" {
				require.ErrorContains(t, err, tc.newErr, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			defer client.Close()
			_, err = client.Version(t.Context())
			if tc.askErr != "" {
				require.ErrorContains(t, err, tc.askErr, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
		})
	}
}

// TestProxies: by ALL_PROXY too, which Go's own client does not know.
func TestProxies(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = w.Write([]byte(`{"version":"by proxy to ` + req.URL.Host + `"}`))
	}))
	t.Cleanup(proxy.Close)
	cases := map[string]struct {
		reason string
		no     string
		direct bool
	}{
		"All":     {reason: "no exception is made"},
		"Other":   {reason: "another domain's exception", no: "example.com, 10.0.0.0/8"},
		"Domain":  {reason: "its own domain", no: "other,.om.invalid", direct: true},
		"Host":    {reason: "itself", no: "gateway.om.invalid", direct: true},
		"Partial": {reason: "a part of a name is another name", no: "way.om.invalid"},
		"Any":     {reason: "all hosts", no: "*", direct: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Setenv("ALL_PROXY", proxy.URL)
			t.Setenv("NO_PROXY", tc.no)
			client, err := omapi.New(omapi.Config{URL: "http://gateway.om.invalid/api"})
			require.NoError(t, err)
			defer client.Close()
			version, err := client.Version(t.Context())
			if tc.direct {
				require.Error(t, err, "there is no such host: %s", tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, "by proxy to gateway.om.invalid", version, tc.reason)
		})
	}
}
