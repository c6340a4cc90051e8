package workflow

import (
	"os"
	"strings"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// Connection finds the OpenMetadata server in a configuration. It asks for no more than it needs, so that a
// configuration which the workflow itself cannot use still leads to the server. What is not there is left empty.
func Connection(config Config) omapi.Config {
	return Server(section(section(config, "workflowConfig"), "openMetadataServerConfig"))
}

// Server is how the ingestion process reaches OpenMetadata by a connection of its schema openMetadataConnection; all others
// reach it in the same way.
func Server(connection map[string]any) omapi.Config {
	ssl := section(connection, "sslConfig")
	ca := text(ssl, "caCertificate")
	if ca == "" {
		ca = text(section(ssl, "config"), "caCertificate")
	}
	return omapi.Config{
		URL:           text(connection, "hostPort"),
		Token:         token(text(section(connection, "securityConfig"), "jwtToken")),
		VerifySSL:     omapi.VerifySSL(text(connection, "verifySSL")),
		CACertificate: ca,
		Headers:       headers(section(connection, "extraHeaders")),
		APIVersion:    text(connection, "apiVersion"),
	}
}

// token is what a jwtToken stands for: the ingestion process takes it for a path when there is such a file.
func token(given string) string {
	if info, err := os.Stat(given); err != nil || !info.Mode().IsRegular() {
		return given
	}
	content, err := os.ReadFile(given) //nolint:gosec // The path is the user's own.
	if err != nil {
		return given
	}
	return strings.TrimSpace(string(content))
}

func headers(given map[string]any) map[string]string {
	if len(given) == 0 {
		return nil
	}
	out := make(map[string]string, len(given))
	for name, value := range given {
		if value != nil {
			out[name] = asPrinted(value)
		}
	}
	return out
}

// PipelineFQN is the pipeline's fully qualified name, empty where the configuration has none.
func PipelineFQN(config Config) string { return text(config, "ingestionPipelineFQN") }

// RunID is the run's id, empty where the configuration has none.
func RunID(config Config) string { return text(config, "pipelineRunId") }

func section(parent map[string]any, key string) map[string]any {
	child, _ := parent[key].(map[string]any)
	return child
}

func text(parent map[string]any, key string) string {
	value, _ := parent[key].(string)
	return value
}
