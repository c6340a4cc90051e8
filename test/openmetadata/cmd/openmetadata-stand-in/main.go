// Command openmetadata-stand-in serves the stand-in for an OpenMetadata server as a process of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

const (
	shutdownWithin    = 5 * time.Second
	readHeaderTimeout = 10 * time.Second
	exitUsage         = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 ok, 1 failed, 2 wrong use.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	}
	if err := serve(ctx, o, slog.New(slog.NewJSONHandler(stderr, nil))); err != nil {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

type options struct {
	listen, admin, version string
	insertGap              time.Duration
	tls, tlsExpired        bool
	tlsHosts               string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("openmetadata-stand-in", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprint(stderr, "Usage: openmetadata-stand-in [flags]\n\n")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.listen, "listen", ":8585", "`address` of the API and the page")
	flags.StringVar(&o.admin, "admin", ":8586", "`address` of the admin API")
	flags.StringVar(&o.version, "server-version", "", "OpenMetadata `version` to report (default: 2.0.6, which the ingestion package of that minor version asks for)")
	flags.DurationVar(&o.insertGap, "insert-gap", 0, "pause between look-up and insert of a first status write: makes races visible")
	flags.BoolVar(&o.tls, "tls", false, "serve TLS with a new authority (admin GET /ca)")
	flags.BoolVar(&o.tlsExpired, "tls-expired", false, "serve TLS with an expired certificate")
	flags.StringVar(&o.tlsHosts, "tls-hosts", "localhost,127.0.0.1", "comma-separated `names` in the certificate")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("cannot read the flags: %w", err)
	}
	if flags.NArg() > 0 {
		flags.Usage()
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// serve runs until the context ends.
func serve(ctx context.Context, o options, logger *slog.Logger) error {
	server, err := openmetadata.New(openmetadata.Options{Version: o.version, Logger: logger, InsertGap: o.insertGap})
	if err != nil {
		return fmt.Errorf("cannot make the server: %w", err)
	}
	var certificates *openmetadata.Certificates
	if o.tls || o.tlsExpired {
		if certificates, err = openmetadata.NewCertificates(strings.Split(o.tlsHosts, ",")); err != nil {
			return fmt.Errorf("cannot serve TLS: %w", err)
		}
		certificates.SetExpired(o.tlsExpired)
	}
	api, err := server.Listen(ctx, o.listen, certificates)
	if err != nil {
		return fmt.Errorf("cannot start the API: %w", err)
	}
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", o.admin)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot start the admin API: %w", err), api.Close(ctx))
	}
	adminServer := &http.Server{Handler: server.Admin(certificates), ReadHeaderTimeout: readHeaderTimeout}
	failed := make(chan error, 1)
	go func() { failed <- adminServer.Serve(socket) }()
	logger.InfoContext(ctx, "serving", "api", api.URL()+"/api", "page", api.URL(), "admin", "http://"+socket.Addr().String())

	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("the admin API ended: %w", err)
	}
	logger.InfoContext(ctx, "stopping")
	server.ClearFaults() // Lets requests that hang by a fault go on.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWithin)
	defer cancel()
	return errors.Join(err, api.Close(last), adminServer.Shutdown(last))
}
