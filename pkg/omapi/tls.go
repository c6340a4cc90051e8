package omapi

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bundleVariables name a file or folder of certificate authorities that the ingestion package's HTTP library trusts in place of
// its own, unless the connection says otherwise.
func bundleVariables() []string { return []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} }

const pemMarker = "-----BEGIN "

func tlsConfig(cfg Config) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	switch cfg.VerifySSL {
	case "", VerifyNoSSL:
		out.RootCAs, err = bundle()
	case VerifyIgnore:
		out.InsecureSkipVerify = true // The user asks for it.
	case VerifyValidate:
		out.RootCAs, err = authorities(cfg.CACertificate)
	default:
		return nil, fmt.Errorf("verifySSL is %q; it is one of no-ssl, ignore, validate", cfg.VerifySSL)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// authorities reads the certificate authority of sslConfig: the path of a file, or the certificate itself.
func authorities(certificate string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	pem := []byte(certificate)
	if !strings.Contains(certificate, pemMarker) {
		var err error
		if pem, err = os.ReadFile(certificate); err != nil { //nolint:gosec // The path is the user's own.
			return nil, fmt.Errorf("verifySSL is validate, but the CA certificate of sslConfig.caCertificate cannot be read: %w", err)
		}
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("sslConfig.caCertificate: %s holds no PEM certificate", firstLine(certificate))
	}
	return pool, nil
}

// bundle reads what the environment names; nil for the system's certificate authorities.
func bundle() (*x509.CertPool, error) {
	for _, name := range bundleVariables() {
		path := os.Getenv(name)
		if path == "" {
			continue
		}
		files := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() { //nolint:gosec // The path is the user's own.
			entries, _ := os.ReadDir(path) // What it cannot read is not found below.
			files = make([]string, 0, len(entries))
			for _, entry := range entries {
				files = append(files, filepath.Join(path, entry.Name()))
			}
		}
		pool, found := x509.NewCertPool(), false
		for _, file := range files {
			pem, err := os.ReadFile(file) //nolint:gosec // The path is the user's own.
			if err != nil && len(files) == 1 {
				return nil, fmt.Errorf("the certificate authorities of variable %s cannot be read: %w", name, err)
			}
			found = pool.AppendCertsFromPEM(pem) || found
		}
		if !found {
			return nil, fmt.Errorf("variable %s: %s holds no PEM certificate", name, path)
		}
		return pool, nil
	}
	return nil, nil //nolint:nilnil // No pool is the system's.
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
