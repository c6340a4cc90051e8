package omapi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

func TestCleanURL(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, given, want, err string }{
		"Whole":     {reason: "as it is", given: "http://om:8585/api", want: "http://om:8585/api"},
		"NoAPI":     {reason: "people give what a browser has", given: "http://127.0.0.1:8585", want: "http://127.0.0.1:8585/api"},
		"Slash":     {reason: "with a slash", given: "http://om:8585/", want: "http://om:8585/api"},
		"Slashes":   {reason: "or after /api", given: "https://om/api//", want: "https://om/api"},
		"Newline":   {reason: "from a file", given: " http://om/api\n", want: "http://om/api"},
		"Version":   {reason: "each call names the version", given: "http://om/api/v1/", want: "http://om/api"},
		"Gateway":   {reason: "a gateway may have it elsewhere", given: "https://gw/metadata/", want: "https://gw/metadata"},
		"Below":     {reason: "or below a path", given: "https://gw/om/api", want: "https://gw/om/api"},
		"User":      {reason: "a proxy's user stays", given: "http://u:p@om", want: "http://u:p@om/api"},
		"IPv6":      {reason: "an address in brackets", given: "http://[::1]:8585", want: "http://[::1]:8585/api"},
		"NoScheme":  {reason: "what it should look like is told", given: "om:8585", err: "is not a URL such as http://openmetadata:8585/api"},
		"NoHost":    {reason: "a port alone", given: "http://:8585", err: "is not a URL"},
		"Empty":     {reason: "nothing", given: "", err: "is not a URL"},
		"Query":     {reason: "paths would go into it", given: "http://om/api?token=hunter2", err: "has a query or a fragment"},
		"Fragment":  {reason: "a page's address", given: "http://om/#/settings", err: "has a query or a fragment"},
		"OtherKind": {reason: "another protocol", given: "jdbc:mysql://om/api", err: "is not a URL"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := omapi.CleanURL(tc.given)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err, tc.reason)
				assert.NotContains(t, err.Error(), "hunter2")
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, tc.want, got, tc.reason)
			again, err := omapi.CleanURL(got)
			require.NoError(t, err)
			assert.Equal(t, got, again, "what is clean stays so")
		})
	}
}

func TestCleanToken(t *testing.T) {
	t.Parallel()
	got, err := omapi.CleanToken(" abc.def\r\n")
	require.NoError(t, err)
	assert.Equal(t, "abc.def", got)
	_, err = omapi.CleanToken("hunter\n2")
	require.ErrorContains(t, err, "give it on one line")
	assert.NotContains(t, err.Error(), "hunter")
}

// TestRedirect: the token is not sent to where a server points, but that is told.
func TestRedirect(t *testing.T) {
	t.Parallel()
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	t.Cleanup(other.Close)
	cases := map[string]struct {
		reason, location string
		code             int
		want             []string
	}{
		"Host":   {"another address of the same API", other.URL + "/api/v1/system/version", 301, []string{"answered 301", "redirects to " + other.URL + "/api/v1/system/version, which is not followed", "give the address " + other.URL + "/api"}},
		"Login":  {"a login page", other.URL + "/login?state=hunter2", 302, []string{"redirects to " + other.URL + "/login, which"}},
		"Path":   {"a path of its own", "/metadata/api/v1/system/version", 308, []string{"/metadata/api"}},
		"Silent": {"nowhere", "", 307, []string{"answered 307", "does not say where to"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.location != "" {
					w.Header().Set("Location", tc.location)
				}
				w.WriteHeader(tc.code)
			}))
			t.Cleanup(server.Close)
			client, err := omapi.New(omapi.Config{URL: server.URL, Token: "x"})
			require.NoError(t, err)
			_, err = client.Version(t.Context())
			for _, want := range tc.want {
				require.ErrorContains(t, err, want, tc.reason)
			}
			assert.NotContains(t, err.Error(), "hunter2", tc.reason)
		})
	}
	assert.Zero(t, asked)
}

// TestNotFoundBelowAnotherPath: an address without /api at its end is a likely reason.
func TestNotFoundBelowAnotherPath(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	client, err := omapi.New(omapi.Config{URL: server.URL + "/metadata"})
	require.NoError(t, err)
	_, err = client.Version(t.Context())
	require.ErrorContains(t, err, "does not end in /api")
}
