package openmetadata

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"time"
)

const (
	serialBits     = 64
	certificateAge = 48 * time.Hour // how long ago certificates became valid
	certificateTTL = 10 * 365 * 24 * time.Hour
)

// Certificates are a throw-away authority with a good and an expired server certificate.
type Certificates struct {
	expired atomic.Bool
	ca      string
	good    tls.Certificate
	old     tls.Certificate
}

// NewCertificates makes certificates for the given host names and IP addresses.
func NewCertificates(hosts []string) (*Certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot generate a key: %w", err)
	}
	now := time.Now()
	authority := &x509.Certificate{
		Subject: pkix.Name{CommonName: "stand-in authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-certificateAge), NotAfter: now.Add(certificateTTL),
	}
	der, err := issue(authority, authority, key, key)
	if err != nil {
		return nil, err
	}
	c := &Certificates{ca: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	for end, target := range map[time.Time]*tls.Certificate{now.Add(certificateTTL): &c.good, now.Add(-time.Hour): &c.old} {
		leaf := &x509.Certificate{
			Subject:     pkix.Name{CommonName: "openmetadata-stand-in"},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			NotBefore:   now.Add(-certificateAge), NotAfter: end,
		}
		for _, host := range hosts {
			if ip := net.ParseIP(host); ip != nil {
				leaf.IPAddresses = append(leaf.IPAddresses, ip)
			} else {
				leaf.DNSNames = append(leaf.DNSNames, host)
			}
		}
		signed, err := issue(leaf, authority, key, key)
		if err != nil {
			return nil, err
		}
		*target = tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}
	}
	return c, nil
}

func issue(template, parent *x509.Certificate, subject, signer *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("cannot make a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &subject.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("cannot issue the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return der, nil
}

// CA is the authority's certificate as PEM.
func (c *Certificates) CA() string { return c.ca }

// SetExpired presents the expired certificate to new connections, or the good one again.
func (c *Certificates) SetExpired(expired bool) { c.expired.Store(expired) }

// TLS is the configuration of a server that shows one of them.
func (c *Certificates) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c.expired.Load() {
				return &c.old, nil
			}
			return &c.good, nil
		},
	}
}
