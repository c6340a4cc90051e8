package pki

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
)

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	ca, err := NewAuthority(dir, "ca")
	require.NoError(t, err)
	require.NoError(t, ca.Issue(Subject{
		File: "server", CommonName: "system:node:node1", Organization: []string{"system:nodes"},
		Hosts: []string{"10.0.0.1", "node1"},
	}))
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	require.NoError(t, err)
	assert.Equal(t, "system:node:node1", pair.Leaf.Subject.CommonName)
	assert.Equal(t, []string{"system:nodes"}, pair.Leaf.Subject.Organization)

	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca.pem))
	strangers, err := NewAuthority(t.TempDir(), "ca")
	require.NoError(t, err)
	strange := x509.NewCertPool()
	require.True(t, strange.AppendCertsFromPEM(strangers.pem))
	cases := []struct {
		reason string
		host   string
		roots  *x509.CertPool
		usage  x509.ExtKeyUsage
		fails  bool
	}{
		{reason: "an address as server", host: "10.0.0.1", roots: roots, usage: x509.ExtKeyUsageServerAuth},
		{reason: "a name as server", host: "node1", roots: roots, usage: x509.ExtKeyUsageServerAuth},
		{reason: "as client", roots: roots, usage: x509.ExtKeyUsageClientAuth},
		{reason: "another host", host: "10.0.0.2", roots: roots, usage: x509.ExtKeyUsageServerAuth, fails: true},
		{reason: "another CA", host: "node1", roots: strange, usage: x509.ExtKeyUsageServerAuth, fails: true},
		{reason: "another use", roots: roots, usage: x509.ExtKeyUsageCodeSigning, fails: true},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: c.host, Roots: c.roots, KeyUsages: []x509.ExtKeyUsage{c.usage}})
			assert.Equal(t, c.fails, err != nil, "error: %v", err)
		})
	}
}

func TestKubeconfig(t *testing.T) {
	ca, err := NewAuthority(t.TempDir(), "ca")
	require.NoError(t, err)
	_, err = ca.Kubeconfig("https://127.0.0.1:1", "admin")
	require.Error(t, err, "admin has no certificate yet")
	require.NoError(t, ca.Issue(Subject{File: "admin", CommonName: "admin"}))
	data, err := ca.Kubeconfig("https://127.0.0.1:1", "admin")
	require.NoError(t, err)
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	require.NoError(t, err)
	assert.Equal(t, "https://127.0.0.1:1", config.Host)
	_, err = tls.X509KeyPair(config.CertData, config.KeyData)
	require.NoError(t, err)
	assert.Equal(t, ca.pem, config.CAData)
}
