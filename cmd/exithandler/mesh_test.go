package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// proxy is the endpoint of a service mesh's proxy, which counts what it is asked.
func proxy(t *testing.T, answer http.HandlerFunc) (endpoint meshEndpoint, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost && req.URL.Path == "/quitquitquit" {
			asked.Add(1)
		}
		answer(w, req)
	}))
	t.Cleanup(server.Close)
	return meshEndpoint{server.Listener.Addr().String(), "/quitquitquit"}, asked
}

func nobody(t *testing.T) meshEndpoint {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	return meshEndpoint{address, "/shutdown"}
}

func TestEndMesh(t *testing.T) {
	t.Parallel()
	ok := func(http.ResponseWriter, *http.Request) {}
	silent := make(chan struct{})
	t.Cleanup(func() { close(silent) })
	cases := map[string]struct {
		reason string
		answer http.HandlerFunc
		taken  bool
	}{
		"Ends":    {reason: "it is asked", answer: ok, taken: true},
		"Refuses": {reason: "the endpoint may be closed by configuration", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }},
		"Redirects": {reason: "nobody else is asked", answer: func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "http://192.0.2.1/", http.StatusFound)
		}, taken: true},
		"Hangs": {reason: "nobody waits for it for long", answer: func(_ http.ResponseWriter, req *http.Request) {
			select {
			case <-silent:
			case <-req.Context().Done():
			}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, asked := proxy(t, tc.answer)
			began := time.Now()
			taken := endMesh(t.Context(), []meshEndpoint{nobody(t), endpoint})
			assert.Less(t, time.Since(began), 30*time.Second)
			assert.Equal(t, int32(1), asked.Load(), tc.reason)
			assert.Equal(t, tc.taken, taken, tc.reason)
		})
	}
}

func TestLeaveMesh(t *testing.T) {
	t.Parallel()
	endpoint, asked := proxy(t, func(http.ResponseWriter, *http.Request) {})
	leaveMesh(t.Context(), nil, []meshEndpoint{nobody(t)})
	leaveMesh(t.Context(), nil, []meshEndpoint{nobody(t), endpoint})
	assert.Equal(t, int32(1), asked.Load(), "where the pod is not known, the proxy is asked")
}
