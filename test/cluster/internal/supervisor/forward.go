package supervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// forward serves listener, which is a socket of the host's network, with
// connections to target in this network, until ctx ends.
func forward(ctx context.Context, listener net.Listener, target string, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var connections errgroup.Group
	defer func() { _ = connections.Wait() }()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		connections.Go(func() error {
			if err := forwardOne(ctx, conn, target); err != nil {
				log.Debug("forwarding", "error", err)
			}
			return nil
		})
	}
}

func forwardOne(ctx context.Context, from net.Conn, target string) error {
	defer func() { _ = from.Close() }()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	to, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(from.Close(), to.Close()) })
	defer stop()
	var both errgroup.Group
	both.Go(func() error { return copyHalf(to, from) })
	both.Go(func() error { return copyHalf(from, to) })
	return both.Wait()
}

// copyHalf copies one direction and passes its end on, leaving the other open.
func copyHalf(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		err = errors.Join(err, half.CloseWrite())
	}
	if err != nil {
		// The other direction cannot go on either.
		return errors.Join(err, to.Close(), from.Close())
	}
	return nil
}
