package workflow

import "github.com/pipelinectl/pipelinectl/pkg/omapi"

// Connection finds the OpenMetadata server in a configuration. It asks for no more than it needs, so that a
// configuration which the workflow itself cannot use still leads to the server. What is not there is left empty.
func Connection(config Config) omapi.Config {
	server := section(section(config, "workflowConfig"), "openMetadataServerConfig")
	verify := text(server, "verifySSL")
	ssl := section(server, "sslConfig")
	ca := text(ssl, "caCertificate")
	if ca == "" {
		ca = text(section(ssl, "config"), "caCertificate")
	}
	return omapi.Config{
		URL:           text(server, "hostPort"),
		Token:         text(section(server, "securityConfig"), "jwtToken"),
		VerifySSL:     omapi.VerifySSL(verify),
		CACertificate: ca,
	}
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
