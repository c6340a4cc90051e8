package diagnostics

import (
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// sharing makes requests that start at the same moment share one connection: the first opens it, the others wait until
// it has. With HTTP/2 they would each open one, with a TLS handshake that is most of the work of a short-lived process,
// and use only one of them. With HTTP/1.1 they open their own afterwards.
type sharing struct {
	base   http.RoundTripper
	begun  atomic.Bool
	open   func()
	opened chan struct{}
}

func newSharing(base http.RoundTripper) http.RoundTripper {
	opened := make(chan struct{})
	return &sharing{base: base, opened: opened, open: sync.OnceFunc(func() { close(opened) })}
}

func (s *sharing) RoundTrip(req *http.Request) (*http.Response, error) {
	if s.begun.CompareAndSwap(false, true) {
		defer s.open()
		// Not when the connection is there: net/http offers it to others a little later.
		trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { s.open() }}
		return s.base.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	}
	select {
	case <-s.opened:
		return s.base.RoundTrip(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}
