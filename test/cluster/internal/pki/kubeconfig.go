package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig returns a kubeconfig for server that holds the certificate and key
// of the issued subject file.
func (ca *Authority) Kubeconfig(server, file string) ([]byte, error) {
	cert, err := os.ReadFile(filepath.Join(ca.dir, file+".crt"))
	if err != nil {
		return nil, fmt.Errorf("making the kubeconfig of %s: %w", file, err)
	}
	key, err := os.ReadFile(filepath.Join(ca.dir, file+".key"))
	if err != nil {
		return nil, fmt.Errorf("making the kubeconfig of %s: %w", file, err)
	}
	const name = "pipelinectl-cluster"
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: ca.pem}
	config.AuthInfos[file] = &api.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: file}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("making the kubeconfig of %s: %w", file, err)
	}
	return data, nil
}
