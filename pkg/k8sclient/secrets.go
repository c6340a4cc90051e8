package k8sclient

import (
	"maps"
	"slices"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// secretRules say what is kept in the Secret.
func (c *Config) secretRules() workflow.Rules {
	return workflow.Rules{Secret: c.SecretKeys, Public: c.PublicKeys}
}

// validateSecrets refuses what cannot be made public, and what cannot be kept in secret: a pod's annotations are in its own text.
func (c *Config) validateSecrets(p *problems) {
	for _, name := range c.PublicKeys {
		if workflow.IsPassword(name) {
			p.addf("publicKeys", "%q is a password in OpenMetadata's schemas, and stays in the Secret", name)
		}
		if workflow.Named(name, c.SecretKeys) {
			p.addf("publicKeys", "%q is in secretKeys too", name)
		}
	}
	for what, values := range map[string]map[string]string{"podAnnotations": c.PodAnnotations, "podLabels": c.PodLabels} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			// By the value only: annotations of Vault and others have names that speak of secrets and hold none.
			if reason := workflow.TextReason(values[name]); reason != "" && !workflow.Named(name, c.PublicKeys) {
				p.addf(what, "the value of %q holds %s, and everyone who may see the pod would see it; where it is none, add %[1]q to publicKeys", name, reason)
			}
		}
	}
}

// Explain lists what of a pipeline is kept in the Secret, and why, by path. The variables of extraEnvVars are among it, by name.
func Explain(config *Config, pipeline *omapi.IngestionPipeline) ([]workflow.Finding, error) {
	// Nothing of a service but its name and type is in a configuration.
	service := &omapi.Service{Name: pipeline.Service.Name, ServiceType: "any"}
	full, err := workflow.Build(pipeline, service)
	if err != nil {
		return nil, err
	}
	rules := config.secretRules()
	found := rules.Explain(full)
	for _, variable := range config.ExtraEnvVars {
		if isSecretVariable(config, variable) {
			found = append(found, workflow.Finding{Path: variable.Name, Reason: rules.Variable(variable.Name, variable.Value)})
		}
	}
	return found, nil
}
