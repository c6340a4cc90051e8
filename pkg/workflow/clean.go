package workflow

import (
	"fmt"
	"maps"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// cleanConnection is a connection as the ingestion process needs it: what commands clean for themselves is cleaned for it too.
func cleanConnection(connection map[string]any) (map[string]any, error) {
	out := maps.Clone(connection)
	if address := text(connection, "hostPort"); address != "" {
		cleaned, err := omapi.CleanURL(address)
		if err != nil {
			return nil, fmt.Errorf("openMetadataServerConnection.hostPort: %w", err)
		}
		out["hostPort"] = cleaned
	}
	security := section(connection, "securityConfig")
	if token := text(security, "jwtToken"); token != "" {
		cleaned, err := omapi.CleanToken(token)
		if err != nil {
			return nil, fmt.Errorf("openMetadataServerConnection.securityConfig.jwtToken: %w", err)
		}
		security = maps.Clone(security)
		security["jwtToken"] = cleaned
		out["securityConfig"] = security
	}
	return out, nil
}
