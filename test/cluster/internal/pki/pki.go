// Package pki makes the keys, certificates and kubeconfigs of one cluster.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is longer than any use of a test cluster; a new start makes all anew.
const lifetime = 365 * 24 * time.Hour

// Subject is one certificate, good for both ends of a connection.
type Subject struct {
	File         string   // File name without ending.
	CommonName   string   // The user, for a client.
	Organization []string // The groups, for a client.
	Hosts        []string // Names and addresses, for a server.
}

// Authority signs certificates and writes them to a directory.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// NewAuthority makes a CA and writes NAME.crt and NAME.key to dir.
func NewAuthority(dir, name string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the certificates' directory: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the CA's key: %w", err)
	}
	template, err := template("pipelinectl-cluster-" + name)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the CA's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the CA's certificate: %w", err)
	}
	ca := &Authority{dir: dir, cert: cert, key: key, pem: pemBlock("CERTIFICATE", der)}
	if err := writePair(dir, name, ca.pem, key); err != nil {
		return nil, err
	}
	return ca, nil
}

// Issue makes a key and a certificate for the subject and writes both.
func (ca *Authority) Issue(s Subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of %s: %w", s.File, err)
	}
	template, err := template(s.CommonName)
	if err != nil {
		return err
	}
	template.Subject.Organization = s.Organization
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range s.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("making the certificate of %s: %w", s.File, err)
	}
	return writePair(ca.dir, s.File, pemBlock("CERTIFICATE", der), key)
}

// SigningKey makes the key pair that signs service account tokens: NAME.key and
// NAME.pub.
func (ca *Authority) SigningKey(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key %s: %w", name, err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encoding the public key %s: %w", name, err)
	}
	if err := write(filepath.Join(ca.dir, name+".pub"), pemBlock("PUBLIC KEY", public)); err != nil {
		return err
	}
	return writeKey(filepath.Join(ca.dir, name+".key"), key)
}

func template(commonName string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-time.Hour), // The machine's clock may be set back.
		NotAfter:     now.Add(lifetime),
	}, nil
}

func writePair(dir, name string, cert []byte, key *ecdsa.PrivateKey) error {
	if err := write(filepath.Join(dir, name+".crt"), cert); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, name+".key"), key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	return write(path, pemBlock("EC PRIVATE KEY", der))
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func write(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("writing a certificate: %w", err)
	}
	return nil
}
