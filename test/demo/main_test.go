package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPagePort: a machine with an OpenMetadata has the usual port in use, on one address or on all.
func TestPagePort(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // A machine without IPv6.
			continue
		}
		tcp, ok := listener.Addr().(*net.TCPAddr)
		require.True(t, ok)
		assert.Equal(t, 0, pagePort(t.Context(), tcp.Port), "%s is in use", address)
		require.NoError(t, listener.Close())
		assert.Equal(t, tcp.Port, pagePort(t.Context(), tcp.Port), "%s is free", address)
	}
}
