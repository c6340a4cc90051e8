package omapi_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// patience bounds what should take no time, so that a defect fails the test instead of hanging it.
const patience = 30 * time.Second

func TestNewChecksTheConfiguration(t *testing.T) {
	t.Parallel()
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(notPEM, []byte("not a certificate"), 0o600))
	cases := map[string]struct {
		reason string
		config omapi.Config
		want   string
	}{
		"Empty":     {reason: "an address is needed", want: `"" is not a URL such as http://openmetadata:8585/api`},
		"NoScheme":  {reason: "host:port is easily written", config: omapi.Config{URL: "openmetadata:8585/api"}, want: "is not a URL such as"},
		"Scheme":    {reason: "only HTTP is spoken", config: omapi.Config{URL: "ftp://om/api"}, want: "is not a URL such as"},
		"NoHost":    {reason: "an address has a host", config: omapi.Config{URL: "http:///api"}, want: "is not a URL such as"},
		"VerifySSL": {reason: "a misspelt check must not be no check", config: omapi.Config{URL: "https://om/api", VerifySSL: "validat"}, want: `verifySSL is "validat"; it is one of no-ssl, ignore, validate`},
		"NoCA":      {reason: "validate needs a certificate", config: omapi.Config{URL: "https://om/api", VerifySSL: omapi.VerifyValidate}, want: "the CA certificate of sslConfig.caCertificate cannot be read"},
		"BadCA":     {reason: "the file may be another", config: omapi.Config{URL: "https://om/api", VerifySSL: omapi.VerifyValidate, CACertificate: notPEM}, want: "holds no PEM certificate"},
		"Password": {
			reason: "an address may carry a password, which is not shown",
			config: omapi.Config{URL: "ftp://me:hunter2@om/api"}, want: "is not a URL such as",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := omapi.New(tc.config)
			require.ErrorContains(t, err, tc.want, tc.reason)
			assert.NotContains(t, err.Error(), "hunter2", tc.reason)
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{Version: "1.12.6"})
	for _, url := range []string{server.URL, server.URL + "/"} {
		version, err := newClient(t, url, "").Version(t.Context())
		require.NoError(t, err, "the version needs no token, and a slash at the end of an address does no harm")
		assert.Equal(t, "1.12.6", version)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason    string
		token     admin.TokenKind
		is        error
		want      []string
		retryable bool
	}{
		"NoToken":      {reason: "a token was forgotten", is: omapi.ErrUnauthorized, want: []string{"answered 401: Not Authorized! Token not present", "give a valid token of a bot or user"}},
		"Expired":      {reason: "a token ends", token: admin.TokenExpired, is: omapi.ErrUnauthorized, want: []string{"answered 401: Expired token!", "give a valid token"}},
		"BadSignature": {reason: "a token of another server", token: admin.TokenBadSignature, is: omapi.ErrUnauthorized, want: []string{"Not Authorized! Invalid token; give"}},
		"NoRight": {
			reason: "a token may be good for other things", token: admin.TokenNoRight, is: omapi.ErrForbidden,
			want: []string{"answered 403", "operations [EditIngestionPipelineStatus] not allowed", "give the token's user the right"},
		},
		"UnknownUser": {reason: "the user is gone", token: admin.TokenUnknownUser, is: omapi.ErrNotFound, want: []string{"answered 404", "not found"}},
		"UnknownKey":  {reason: "the real server answers 500", token: admin.TokenUnknownKey, want: []string{"answered 500"}, retryable: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			fqn := server.Pipeline(t, "svc", "nightly")
			token := ""
			if tc.token != "" {
				token = server.TokenOf(t, tc.token)
			}
			err := server.ClientWith(t, token).PutStatus(t.Context(), fqn, newStatus())
			require.Error(t, err, tc.reason)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is, tc.reason)
			}
			for _, want := range append(tc.want, "write the status running of run", "of pipeline svc.nightly", server.URL) {
				require.ErrorContains(t, err, want, tc.reason)
			}
			assert.Equal(t, tc.retryable, omapi.Retryable(err), tc.reason)
			checkSecret(t, err, token)
		})
	}
}

func newStatus() *omapi.PipelineStatus {
	return &omapi.PipelineStatus{RunID: uuid.NewString(), State: omapi.StateRunning, Timestamp: started}
}

func checkSecret(t *testing.T, err error, token string) {
	t.Helper()
	if token == "" {
		return
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err)} {
		assert.NotContains(t, text, token)
	}
	if answer, ok := errors.AsType[*omapi.Error](err); ok {
		assert.NotContains(t, answer.Message, token)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason    string
		fault     admin.Fault
		want      string
		is        error
		retry     time.Duration
		retryable bool
	}{
		"TooMany": {
			reason: "the server says when to come back",
			fault:  admin.Fault{Kind: admin.FaultStatus, Status: 429, Headers: map[string]string{"Retry-After": "7"}},
			want:   "answered 429: Too Many Requests (a fault of the stand-in); the server limits requests, try again later", retry: 7 * time.Second, retryable: true,
		},
		"TooManyAtADate": {
			reason: "a date is not read, and does no harm",
			fault:  admin.Fault{Kind: admin.FaultStatus, Status: 429, Headers: map[string]string{"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}},
			want:   "answered 429", retryable: true,
		},
		"NegativeWait": {
			reason: "nobody waits less than nothing",
			fault:  admin.Fault{Kind: admin.FaultStatus, Status: 503, Headers: map[string]string{"Retry-After": "-5"}},
			want:   "answered 503", retryable: true,
		},
		"Unavailable": {reason: "a server that restarts", fault: admin.Fault{Kind: admin.FaultStatus, Status: 503}, want: "answered 503: Service Unavailable", retryable: true},
		"BadGateway": {
			reason: "a proxy's page is one line of an error",
			fault:  admin.Fault{Kind: admin.FaultStatus, Status: 502, Body: "<html>\n<h1>502\n Bad Gateway</h1>\n</html>", Headers: map[string]string{"Content-Type": "text/html"}},
			want:   "answered 502: <html> <h1>502 Bad Gateway</h1> </html>", retryable: true,
		},
		"TimedOut":   {reason: "408 asks for another try", fault: admin.Fault{Kind: admin.FaultStatus, Status: 408}, want: "answered 408", retryable: true},
		"BadRequest": {reason: "the same write will be refused again", fault: admin.Fault{Kind: admin.FaultStatus, Status: 400, Body: "plain text"}, want: "answered 400: plain text", is: omapi.ErrBadRequest},
		"NoMessage":  {reason: "an error names what it has", fault: admin.Fault{Kind: admin.FaultStatus, Status: 405, Body: " \n"}, want: "answered 405: no message"},
		"Teapot":     {reason: "nobody knows what a proxy says", fault: admin.Fault{Kind: admin.FaultStatus, Status: 418}, want: "answered 418"},
		"Moved": {
			reason: "a redirect would take the token elsewhere",
			fault:  admin.Fault{Kind: admin.FaultStatus, Status: 301, Headers: map[string]string{"Location": "http://elsewhere.invalid/"}},
			want:   "answered 301",
		},
		"Reset":     {reason: "a connection breaks", fault: admin.Fault{Kind: admin.FaultReset}, want: "no answer from OpenMetadata at", retryable: true},
		"Truncated": {reason: "half an answer is none", fault: admin.Fault{Kind: admin.FaultTruncate}, want: "unexpected EOF", is: io.ErrUnexpectedEOF, retryable: true},
		"Garbage":   {reason: "a proxy's page is not an answer, whatever its code", fault: admin.Fault{Kind: admin.FaultGarbage}, want: "is not the JSON that OpenMetadata sends", retryable: true},
	}
	calls := map[string]func(context.Context, *omapi.Client, string) error{
		"Get": func(ctx context.Context, c *omapi.Client, fqn string) error {
			_, err := c.GetStatus(ctx, fqn, existingRun)
			return err
		},
		"Put": func(ctx context.Context, c *omapi.Client, fqn string) error {
			return c.PutStatus(ctx, fqn, newStatus())
		},
	}
	for name, tc := range cases {
		for method, call := range calls {
			t.Run(name+"/"+method, func(t *testing.T) {
				t.Parallel()
				server := omtest.Start(t, openmetadata.Options{})
				fqn := server.Pipeline(t, "svc", "nightly")
				client := server.Client(t)
				require.NoError(t, client.PutStatus(t.Context(), fqn, &omapi.PipelineStatus{RunID: existingRun, State: omapi.StateQueued, Timestamp: 1}))
				client.Close()    // net/http itself repeats a request on a connection that was kept and breaks.
				fault := tc.fault // Both methods share the case.
				fault.Path = "pipelineStatus"
				server.Fault(t, fault)

				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				err := call(ctx, client, fqn)
				require.ErrorContains(t, err, tc.want, tc.reason)
				if tc.is != nil {
					require.ErrorIs(t, err, tc.is, tc.reason)
				}
				assert.Equal(t, tc.retryable, omapi.Retryable(err), tc.reason)
				if answer, ok := errors.AsType[*omapi.Error](err); ok {
					assert.Equal(t, tc.retry, answer.RetryAfter, tc.reason)
				}
				checkSecret(t, err, server.Token)
			})
		}
	}
}

const existingRun = "0190b0a0-0000-7000-8000-000000000001"

func TestHangEndsWithTheContext(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	fqn := server.Pipeline(t, "svc", "nightly")
	server.Fault(t, admin.Fault{Kind: admin.FaultHang, Path: "pipelineStatus"})
	client := server.Client(t)

	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := client.PutStatus(ctx, fqn, newStatus())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "no answer from OpenMetadata at "+server.URL)
	assert.True(t, omapi.Retryable(err), "who has more time may try again")
	checkSecret(t, err, server.Token)

	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	err = client.PutStatus(ctx, fqn, newStatus())
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, omapi.Retryable(err), "who cancelled wants no more tries")
	assert.Less(t, time.Since(begun), patience)
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	const url = "http://127.0.0.1:1/api" // The port of a server that was closed may be another's by now.
	_, err := newClient(t, url, "secret-token").Version(t.Context())
	require.ErrorContains(t, err, "cannot ask for the server's version: no answer from OpenMetadata at "+url)
	require.ErrorContains(t, err, "check the address and that the server runs")
	assert.True(t, omapi.Retryable(err))
	checkSecret(t, err, "secret-token")
}

// TestSecretsStayInside: whatever a server or a proxy sends back, no error shows the token or a password.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	const token = "eyJhbGciOi.secret.token"
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprintf(w, "cannot forward %s with header %v", req.URL, req.Header)
	}))
	t.Cleanup(echo.Close)
	withPassword := "http://me:hunter2@" + echo.Listener.Addr().String()
	cases := map[string]struct {
		reason     string
		url, token string
		want       string
	}{
		"Echo":            {reason: "a proxy may show the request's headers", url: echo.URL, token: token, want: "answered 502"},
		"Password":        {reason: "an address may carry a password", url: withPassword, want: "answered 502"},
		"PasswordNoReply": {reason: "so may one that leads nowhere", url: "http://me:hunter2@127.0.0.1:1", want: "no answer"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newClient(t, tc.url, tc.token).Version(t.Context())
			require.ErrorContains(t, err, tc.want, tc.reason)
			assert.NotContains(t, fmt.Sprintf("%+v", err), "hunter2", tc.reason)
			checkSecret(t, err, tc.token)
		})
	}
}

func TestTokenOfAFile(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	fqn := server.Pipeline(t, "svc", "nightly")
	err := server.ClientWith(t, " "+server.Token+"\n").PutStatus(t.Context(), fqn, newStatus())
	require.NoError(t, err, "a token that is kept in a file ends with a newline")
}

func TestVerifySSL(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"1"}`) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // Refused handshakes are what is tested.
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, data, 0o600))
	cases := map[string]struct {
		reason string
		verify omapi.VerifySSL
		ca     string
		ok     bool
	}{
		"Default":  {reason: "a certificate of nobody's is refused"},
		"NoSSL":    {reason: "no-ssl is not no check, as in OpenMetadata's own client", verify: omapi.VerifyNoSSL},
		"Ignore":   {reason: "the user asks for it", verify: omapi.VerifyIgnore, ok: true},
		"Validate": {reason: "the certificate's authority is given", verify: omapi.VerifyValidate, ca: ca, ok: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := omapi.New(omapi.Config{URL: server.URL, VerifySSL: tc.verify, CACertificate: tc.ca})
			require.NoError(t, err)
			t.Cleanup(client.Close)
			_, err = client.Version(t.Context())
			if tc.ok {
				require.NoError(t, err, tc.reason)
				return
			}
			require.ErrorContains(t, err, "certificate", tc.reason)
		})
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	t.Parallel()
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = 'x'
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(long)
	}))
	t.Cleanup(server.Close)
	_, err := newClient(t, server.URL, "").Version(t.Context())
	require.ErrorContains(t, err, "xxx\u2026")
	assert.Less(t, len(err.Error()), 1000)
}

func TestRetryableIsAboutTheServerOnly(t *testing.T) {
	t.Parallel()
	assert.False(t, omapi.Retryable(nil))
	assert.False(t, omapi.Retryable(errors.New("a bug")))
	assert.True(t, omapi.Retryable(fmt.Errorf("wrapped: %w", &omapi.Error{StatusCode: http.StatusServiceUnavailable})))
}
