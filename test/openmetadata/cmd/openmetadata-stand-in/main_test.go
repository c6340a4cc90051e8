package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const timeout = time.Minute

func TestWrongUse(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		args         []string
		code         int
		contains     string
	}{
		{"help", "is no error", []string{"--help"}, 0, "Usage"},
		{"unknown flag", "is named", []string{"--frobnicate"}, exitUsage, "frobnicate"},
		{"unknown command", "shows the usage", []string{"serve"}, exitUsage, "Usage"},
		{"token without a key", "says what to do", []string{"token"}, 1, "--key FILE"},
		{"key that cannot be read", "names the file", []string{"token", "--key", "/"}, 1, "signing key"},
		{"unknown kind", "lists the known ones", []string{"token", "--key", filepath.Join(t.TempDir(), "key"), "--kind", "gold"}, 1, "no-right"},
		{"address that cannot be", "names it", []string{"--listen", "127.0.0.1:99999"}, 1, "99999"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			assert.Equal(t, tc.code, run(t.Context(), tc.args, &out, &errs), tc.reason)
			assert.Contains(t, errs.String(), tc.contains, tc.reason)
			assert.Empty(t, out.String())
		})
	}
}

func TestServe(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key.pem")
	var token, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"token", "--key", key, "--kind", "admin"}, &token, &errs), errs.String())

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--key", key}, io.Discard, writer)
		_ = writer.Close() // Ends the reader below.
		done <- code
	}()
	lines := bufio.NewScanner(reader)
	require.True(t, lines.Scan())
	var started struct {
		Msg   string `json:"msg"`
		API   string `json:"api"`
		Admin string `json:"admin"`
	}
	require.NoError(t, json.Unmarshal(lines.Bytes(), &started), lines.Text())
	require.Equal(t, "serving", started.Msg)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, reader) // The log must not block the server.
	}()

	client := admin.NewClient(started.Admin)
	require.NoError(t, client.Health(ctx))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, started.API+"/v1/services/ingestionPipelines", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token.String()))
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusOK, res.StatusCode, "a token printed with the same key is good")
	requests, err := client.Requests(ctx, admin.RequestFilter{})
	require.NoError(t, err)
	require.Len(t, requests, 1)
	assert.Equal(t, "admin", requests[0].Subject)

	stop()
	select {
	case code := <-done:
		assert.Zero(t, code, "a stop is no failure")
	case <-time.After(timeout):
		require.Fail(t, "does not stop")
	}
	<-drained
	require.Error(t, client.Health(t.Context()))
}
