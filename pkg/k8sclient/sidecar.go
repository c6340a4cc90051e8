package k8sclient

import (
	"context"
	"encoding/json"
	"fmt"

	utilversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/version"
)

// sidecarVersion is the first Kubernetes that has native sidecars on by default.
const sidecarVersion = "1.29.0"

// settled is the configuration with what depends on the cluster decided. An older cluster would take the sidecar for a
// container that has to end before the others start.
func (c *Client) settled(ctx context.Context) (*Config, error) {
	config := c.config
	if config.Sidecar != SidecarAuto {
		return &config, nil
	}
	c.sidecarMu.Lock()
	defer c.sidecarMu.Unlock()
	if c.sidecar == "" {
		info, err := c.serverVersion(ctx)
		if err != nil {
			return nil, err
		}
		c.sidecar = SidecarNever
		if hasSidecars(info.GitVersion) {
			c.sidecar = SidecarAlways
		}
	}
	config.Sidecar = c.sidecar
	return &config, nil
}

func hasSidecars(gitVersion string) bool {
	parsed, err := utilversion.ParseGeneric(gitVersion)
	return err == nil && parsed.AtLeast(utilversion.MustParseGeneric(sidecarVersion))
}

func (c *Client) serverVersion(ctx context.Context) (*version.Info, error) {
	data, err := c.kube.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return nil, c.failed("ask the API server for its version", err)
	}
	var info version.Info
	if err := json.Unmarshal(data, &info); err != nil {
		return nil, c.failed("ask the API server for its version", fmt.Errorf("the answer is not JSON: %w", err))
	}
	return &info, nil
}
