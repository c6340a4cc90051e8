package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
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
		{"address that cannot be", "names it", []string{"--listen", "127.0.0.1:99999"}, 1, "99999"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var errs bytes.Buffer
			assert.Equal(t, tc.code, run(t.Context(), tc.args, &errs), tc.reason)
			assert.Contains(t, errs.String(), tc.contains, tc.reason)
		})
	}
}

func TestServe(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, writer)
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
	token, err := client.Token(ctx, admin.TokenAdmin)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, started.API+"/v1/services/ingestionPipelines", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusOK, res.StatusCode, "the admin API's tokens are good")
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
