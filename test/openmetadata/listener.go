package openmetadata

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	reopenEvery       = 20 * time.Millisecond
	reopenWithin      = 10 * time.Second
)

// Listener serves the stand-in on one address. It can go down and come back on the same port.
type Listener struct {
	handler http.Handler
	logger  *slog.Logger
	tls     *tls.Config
	address string

	mu     sync.Mutex
	server *http.Server // nil while down
	done   chan struct{}
	revive *time.Timer
	closed bool
}

// Listen serves on address (host:port, port 0 for a free one) until Close; with a certificates value it serves TLS.
func (s *Server) Listen(ctx context.Context, address string, certificates *Certificates) (*Listener, error) {
	l := &Listener{handler: s, logger: s.logger, address: address}
	if certificates != nil {
		l.tls = certificates.TLS()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
	return l, nil
}

// open needs the lock.
func (l *Listener) open(ctx context.Context) error {
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", l.address)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", l.address, err)
	}
	l.address = socket.Addr().String()
	if l.tls != nil {
		socket = tls.NewListener(socket, l.tls)
	}
	server := &http.Server{
		Handler: l.handler, ReadHeaderTimeout: readHeaderTimeout, ErrorLog: slog.NewLogLogger(l.logger.Handler(), slog.LevelWarn),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(socket) // Always http.ErrServerClosed: only shut and Shutdown end it.
	}()
	l.server, l.done = server, done
	return nil
}

// Address is host:port.
func (l *Listener) Address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address
}

// URL is where clients find the server, without the path /api.
func (l *Listener) URL() string {
	if l.tls != nil {
		return "https://" + l.Address()
	}
	return "http://" + l.Address()
}

// Down closes the listener and all connections, so that clients are refused. With a duration it comes back by itself.
func (l *Listener) Down(ctx context.Context, duration time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the listener is closed for good")
	}
	err := l.shut()
	if duration > 0 {
		l.revive = time.AfterFunc(duration, func() {
			// Whoever asked for this is long gone.
			if err := l.Up(context.WithoutCancel(ctx)); err != nil {
				l.logger.Error("cannot come back", "error", err)
			}
		})
	}
	return err
}

// shut needs the lock.
func (l *Listener) shut() error {
	if l.revive != nil {
		l.revive.Stop()
		l.revive = nil
	}
	if l.server == nil {
		return nil
	}
	err := l.server.Close()
	<-l.done
	l.server = nil
	if err != nil {
		return fmt.Errorf("cannot close the listener on %s: %w", l.address, err)
	}
	return nil
}

// Up opens the listener again on the same port; it does nothing when it is open.
func (l *Listener) Up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reopenWithin)
	defer cancel()
	ticker := time.NewTicker(reopenEvery)
	defer ticker.Stop()
	for {
		err := l.tryUp(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C: // Another socket may hold the port for a moment.
		case <-ctx.Done():
			return err
		}
	}
}

func (l *Listener) tryUp(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server != nil || l.closed {
		return nil
	}
	return l.open(ctx)
}

// Close ends the listener: it waits for running requests until the context ends, then breaks them.
func (l *Listener) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.server == nil {
		return l.shut()
	}
	if err := l.server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were still running on %s: %w", l.address, err), l.shut())
	}
	return l.shut()
}

// goDown takes all listeners down; they come back after the duration, or when the admin API says so.
func (s *Server) goDown(ctx context.Context, duration time.Duration) error {
	listeners := s.allListeners()
	if len(listeners) == 0 {
		return errors.New("a fault of kind down needs a server that was started with Listen")
	}
	problems := make([]error, 0, len(listeners))
	for _, l := range listeners {
		problems = append(problems, l.Down(ctx, duration))
	}
	return errors.Join(problems...)
}

func (s *Server) comeUp(ctx context.Context) error {
	listeners := s.allListeners()
	problems := make([]error, 0, len(listeners))
	for _, l := range listeners {
		problems = append(problems, l.Up(ctx))
	}
	return errors.Join(problems...)
}

func (s *Server) allListeners() []*Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Listener{}, s.listeners...)
}
