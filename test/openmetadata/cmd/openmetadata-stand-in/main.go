// Command openmetadata-stand-in serves the stand-in for an OpenMetadata server as a process of its own.
package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
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
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	shutdownWithin    = 5 * time.Second
	readHeaderTimeout = 10 * time.Second
	keyMode           = 0o600
	exitUsage         = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 ok, 1 failed, 2 wrong use.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	}
	if o.printToken {
		err = printToken(o, stdout)
	} else {
		err = serve(ctx, o, slog.New(slog.NewJSONHandler(stderr, nil)))
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

type options struct {
	listen, admin, keyFile, version string
	insertGap                       time.Duration
	tls, tlsExpired                 bool
	tlsHosts                        string
	printToken                      bool
	kind                            string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("openmetadata-stand-in", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprint(stderr, "Usage: openmetadata-stand-in [flags]\n       openmetadata-stand-in token --key FILE [--kind KIND]\n\n")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.keyFile, "key", "", "PEM `file` of the RSA key that signs tokens; made when it does not exist (default: a new key each start)")
	flags.StringVar(&o.kind, "kind", string(admin.TokenBot), fmt.Sprintf("token: which `kind` to print: %v", admin.TokenKinds()))
	flags.StringVar(&o.listen, "listen", ":8585", "`address` of the API and the page")
	flags.StringVar(&o.admin, "admin", ":8586", "`address` of the admin API")
	flags.StringVar(&o.version, "server-version", "", "OpenMetadata `version` to report (default: 2.0.6, which the ingestion package of that minor version asks for)")
	flags.DurationVar(&o.insertGap, "insert-gap", 0, "pause between look-up and insert of a first status write: makes races visible")
	flags.BoolVar(&o.tls, "tls", false, "serve TLS with a new authority (admin GET /ca)")
	flags.BoolVar(&o.tlsExpired, "tls-expired", false, "serve TLS with an expired certificate")
	flags.StringVar(&o.tlsHosts, "tls-hosts", "localhost,127.0.0.1", "comma-separated `names` in the certificate")
	if len(args) > 0 && args[0] == "token" {
		o.printToken, args = true, args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("cannot read the flags: %w", err)
	}
	if flags.NArg() > 0 {
		flags.Usage()
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

func printToken(o options, stdout io.Writer) error {
	if o.keyFile == "" {
		return errors.New("a token needs the server's signing key: give --key FILE to both, or ask the running server: GET /token on its admin address")
	}
	key, err := loadKey(o.keyFile)
	if err != nil {
		return err
	}
	server, err := openmetadata.New(openmetadata.Options{Key: key})
	if err != nil {
		return fmt.Errorf("cannot mint a token: %w", err)
	}
	token, err := server.Token(admin.TokenKind(o.kind))
	if err != nil {
		return fmt.Errorf("cannot mint a token: %w", err)
	}
	_, err = fmt.Fprintln(stdout, token)
	return err
}

// serve runs until the context ends.
func serve(ctx context.Context, o options, logger *slog.Logger) error {
	key, err := loadKey(o.keyFile)
	if err != nil {
		return err
	}
	server, err := openmetadata.New(openmetadata.Options{Key: key, Version: o.version, Logger: logger, InsertGap: o.insertGap})
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

// loadKey reads the signing key; it makes the file when there is none. An empty name makes a key for this process.
func loadKey(file string) (*rsa.PrivateKey, error) {
	if file == "" {
		key, err := openmetadata.NewKey()
		if err != nil {
			return nil, fmt.Errorf("cannot make a signing key: %w", err)
		}
		return key, nil
	}
	data, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if errors.Is(err, os.ErrNotExist) {
		return makeKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the signing key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block; remove it to have a key made", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the signing key in %s: %w", file, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key in %s is no RSA key", file)
	}
	return key, nil
}

func makeKey(file string) (*rsa.PrivateKey, error) {
	key, err := openmetadata.NewKey()
	if err != nil {
		return nil, fmt.Errorf("cannot make a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the signing key: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(file, data, keyMode); err != nil {
		return nil, fmt.Errorf("cannot save the signing key: %w", err)
	}
	return key, nil
}
