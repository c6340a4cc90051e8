package diagnostics

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// together asks for as many things at the same moment, and gives what went wrong.
func together(t *testing.T, reader Reader, requests int) []error {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, requests)
	for i := range errs {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, errs[i] = reader.Pods(ctx, "job-name="+jobName)
		})
	}
	wg.Wait()
	return errs
}

func TestRequestsShareAConnection(t *testing.T) {
	t.Parallel()
	const requests = 20
	cases := map[string]struct {
		reason string
		http2  bool
		most   int64
	}{
		"HTTP2": {reason: "an API server's", http2: true, most: 1},
		"HTTP1": {reason: "a proxy's: there each request has its own connection", most: requests},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var connections atomic.Int64
			server := httptest.NewUnstartedServer(twoAttempts())
			server.EnableHTTP2 = tc.http2
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections.Add(1)
				}
			}
			server.StartTLS()
			t.Cleanup(server.Close)
			reader, err := NewReader(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, namespace)
			require.NoError(t, err)
			for _, err := range together(t, reader, requests) {
				require.NoError(t, err, tc.reason)
			}
			assert.LessOrEqual(t, connections.Load(), tc.most, tc.reason)
		})
	}
}

// TestFirstRequestFails: who waits for the first connection does not wait for one that never comes.
func TestFirstRequestFails(t *testing.T) {
	t.Parallel()
	for _, err := range together(t, newReader(t, refusing), 5) {
		require.ErrorContains(t, err, "connection refused")
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // A listener of a test.
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	reader, err := NewReader(&rest.Config{Host: "https://" + silent.Addr().String(), TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, namespace)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := reader.Pod(ctx, "a")
		first <- err
	}()
	second, stop := context.WithTimeout(t.Context(), patience/100)
	defer stop()
	_, err = reader.Pod(second, "b")
	require.ErrorIs(t, err, context.DeadlineExceeded, "its own time is over while the first still tries")
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
}
