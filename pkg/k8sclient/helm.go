package k8sclient

import (
	"fmt"
	"maps"
	"slices"
)

// helmSection finds the part of OpenMetadata's Helm values that configures the pipeline service client; nil for another file.
func helmSection(content map[string]any) map[string]any {
	for _, path := range [][]string{{"openmetadata", "config"}, {"config"}, {"global"}, nil} {
		at := content
		for _, name := range path {
			at, _ = at[name].(map[string]any)
		}
		if section, ok := at["pipelineServiceClientConfig"].(map[string]any); ok {
			return section
		}
	}
	return nil
}

// helm takes the values of OpenMetadata's Helm chart. There an empty text stands for "not set", also of a map or a list.
func (l *loader) helm(section map[string]any, path string) error {
	source := "file " + path
	kubernetes, ok := section["k8s"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s: pipelineServiceClientConfig has no map k8s; its type is %v, another client's configuration", path, section["type"])
	}
	if kind := l.expand(section["type"], "type"); kind != nil && kind != "k8s" {
		l.out.Warnings = append(l.out.Warnings, fmt.Sprintf("type: ignored; it is %v, and what is taken is below k8s (%s)", kind, source))
	}
	if class := l.expand(kubernetes["className"], "className"); !isOurs(class) {
		return fmt.Errorf("%s: className is %v, another client's configuration; ours is %s", path, class, clientClass)
	}
	outer := withoutEmpty(section, "type", "k8s", "airflow", "auth", "sslCertificatePath")
	if verify, ok := outer["verifySsl"]; ok { // The chart's spelling.
		outer["verifySSL"] = verify
		delete(outer, "verifySsl")
	}
	l.take(outer, source, besideParameters)

	inner := withoutEmpty(kubernetes, "className", "rbac", "securityContext")
	// What is always so here is no news.
	for name, usual := range map[string]any{"useOMJobOperator": false, "enableFailureDiagnostics": true} {
		if inner[name] == usual {
			delete(inner, name)
		}
	}
	switch security := kubernetes["securityContext"].(type) {
	case nil, string:
	case map[string]any:
		for name, value := range withoutEmpty(security) {
			if !slices.Contains([]string{"runAsUser", "runAsGroup", "fsGroup", "runAsNonRoot", "seccompProfile"}, name) {
				l.problems.addf("securityContext."+name, "is not taken; it has runAsUser, runAsGroup, fsGroup, runAsNonRoot and seccompProfile (%s)", source)
				continue
			}
			inner[name] = value
		}
	default:
		l.problems.addf("securityContext", "is not a map (%s)", source)
	}
	l.take(inner, source, inParameters)
	l.release = inner["namespace"] == nil
	return nil
}

func isOurs(class any) bool { return class == nil || class == "" || class == clientClass }

// withoutEmpty is a copy without some names, and without what is not set.
func withoutEmpty(values map[string]any, names ...string) map[string]any {
	out := maps.Clone(values)
	maps.DeleteFunc(out, func(name string, value any) bool { return value == "" || value == nil || slices.Contains(names, name) })
	return out
}
