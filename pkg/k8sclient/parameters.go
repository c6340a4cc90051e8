package k8sclient

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// parameter is one parameter of the pipeline service client.
type parameter struct {
	name string
	// env is its environment variable; empty where it has none.
	env string
	// example is a value that it takes, as text.
	example string
	set     func(c *Config, value any) error
	get     func(c *Config) any
	// outer parameters stand beside OpenMetadata's "parameters", not in them.
	outer bool
	// secret values are never shown.
	secret bool
	// part of another parameter: settable by variable and flag, shown with the whole.
	part bool
}

// field makes a parameter of a field of Config.
func field[T any](name, example string, at func(*Config) *T, parse func(any) (T, error)) parameter {
	return parameter{
		name: name, env: variableName(name), example: example,
		set: func(c *Config, value any) error {
			parsed, err := parse(value)
			if err == nil {
				*at(c) = parsed
			}
			return err
		},
		get: func(c *Config) any { return *at(c) },
	}
}

func parseAs[T ~string](value any) (T, error) {
	text, err := parseString(value)
	return T(strings.TrimSpace(text)), err
}

func parseInt32(value any) (int32, error) {
	number, err := parseInt(32)(value)
	return int32(number), err //nolint:gosec // Parsed with 32 bits.
}

func quantity(name, example string, resourceName corev1.ResourceName, list func(*Config) *corev1.ResourceList) parameter {
	return parameter{
		name: name, env: "K8S_" + strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(name, "resources."), ".", "_")), example: example, part: true,
		set: func(c *Config, value any) error {
			parsed, err := parseQuantities(*list(c), map[string]any{string(resourceName): value})
			if err == nil {
				*list(c) = parsed
			}
			return err
		},
		get: func(c *Config) any { q := (*list(c))[resourceName]; return q.String() },
	}
}

func requests(c *Config) *corev1.ResourceList { return &c.Resources.Requests }
func limits(c *Config) *corev1.ResourceList   { return &c.Resources.Limits }

// setResources changes what the value names.
func setResources(resources *corev1.ResourceRequirements, value any) error {
	if text, ok := value.(string); ok {
		parsed, err := parseEmbedded(text, func(v any) (any, error) { return v, nil })
		if err != nil {
			return err
		}
		value = parsed
	}
	given, ok := value.(map[string]any)
	if !ok {
		return errors.New("is not a map of requests and limits")
	}
	for key, entry := range given {
		var list *corev1.ResourceList
		switch key {
		case "requests":
			list = &resources.Requests
		case "limits":
			list = &resources.Limits
		default:
			return fmt.Errorf("has %q; it has requests and limits", key)
		}
		parsed, err := parseQuantities(*list, entry)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		*list = parsed
	}
	return nil
}

// parameters is the list of all, in the order in which they are shown. Names are those of OpenMetadata's K8sPipelineClient
// where it has them.
func parameters() []parameter {
	outer := func(p parameter) parameter { p.outer = true; return p }
	secret := func(p parameter) parameter { p.secret = true; return p }
	named := func(env string, p parameter) parameter { p.env = env; return p }
	return []parameter{
		field("namespace", "openmetadata-pipelines", func(c *Config) *string { return &c.Namespace }, parseAs[string]),
		field("ingestionImage", "openmetadata/ingestion:1.12.6", func(c *Config) *string { return &c.IngestionImage }, parseAs[string]),
		field("exitHandlerImage", "registry.example/exithandler:1.0", func(c *Config) *string { return &c.ExitHandlerImage }, parseAs[string]),
		field("sidecar", "auto", func(c *Config) *SidecarMode { return &c.Sidecar }, parseAs[SidecarMode]),
		field("serviceMesh", "native", func(c *Config) *ServiceMesh { return &c.ServiceMesh }, parseAs[ServiceMesh]),
		field("imagePullPolicy", "IfNotPresent", func(c *Config) *corev1.PullPolicy { return &c.ImagePullPolicy }, parseAs[corev1.PullPolicy]),
		field("imagePullSecrets", "registry,mirror", func(c *Config) *[]string { return &c.ImagePullSecrets }, parseNames),
		field("serviceAccountName", "openmetadata-ingestion", func(c *Config) *string { return &c.ServiceAccountName }, parseAs[string]),
		{
			name: "resources", env: "K8S_RESOURCES", example: `{"requests":{"cpu":"500m"},"limits":{"memory":"4Gi"}}`,
			set: func(c *Config, value any) error { return setResources(&c.Resources, value) }, get: func(c *Config) any { return c.Resources },
		},
		{
			name: "sidecarResources", env: "K8S_SIDECAR_RESOURCES", example: `{"requests":{"memory":"64Mi"},"limits":{"memory":"64Mi"}}`,
			set: func(c *Config, value any) error { return setResources(&c.SidecarResources, value) }, get: func(c *Config) any { return c.SidecarResources },
		},
		quantity("resources.requests.cpu", "500m", corev1.ResourceCPU, requests),
		quantity("resources.requests.memory", "1Gi", corev1.ResourceMemory, requests),
		quantity("resources.limits.cpu", "2", corev1.ResourceCPU, limits),
		quantity("resources.limits.memory", "4Gi", corev1.ResourceMemory, limits),
		field("ttlSecondsAfterFinished", "604800", func(c *Config) *int32 { return &c.TTLSecondsAfterFinished }, parseInt32),
		field("activeDeadlineSeconds", "7200", func(c *Config) *int64 { return &c.ActiveDeadlineSeconds }, parseInt(64)),
		field("backoffLimit", "3", func(c *Config) *int32 { return &c.BackoffLimit }, parseInt32),
		field("startingDeadlineSeconds", "60", func(c *Config) *int64 { return &c.StartingDeadlineSeconds }, parseInt(64)),
		field("successfulJobsHistoryLimit", "3", func(c *Config) *int32 { return &c.SuccessfulJobsHistoryLimit }, parseInt32),
		field("failedJobsHistoryLimit", "3", func(c *Config) *int32 { return &c.FailedJobsHistoryLimit }, parseInt32),
		field("revisionHistoryLimit", "5", func(c *Config) *int32 { return &c.RevisionHistoryLimit }, parseInt32),
		field("terminationGracePeriodSeconds", "60", func(c *Config) *int64 { return &c.TerminationGracePeriodSeconds }, parseInt(64)),
		field("runAsUser", "1000", func(c *Config) **int64 { return &c.RunAsUser }, parseID),
		field("runAsGroup", "1000", func(c *Config) **int64 { return &c.RunAsGroup }, parseID),
		field("fsGroup", "1000", func(c *Config) **int64 { return &c.FSGroup }, parseID),
		field("runAsNonRoot", "true", func(c *Config) *bool { return &c.RunAsNonRoot }, parseBool),
		field("seccompProfile", "RuntimeDefault", func(c *Config) **corev1.SeccompProfile { return &c.SeccompProfile }, parseSeccomp),
		field("nodeSelector", "disktype=ssd,zone=a", func(c *Config) *map[string]string { return &c.NodeSelector }, parsePairs),
		field("tolerations", `[{"key":"dedicated","operator":"Equal","value":"ingestion","effect":"NoSchedule"}]`,
			func(c *Config) *[]corev1.Toleration { return &c.Tolerations }, parseList[corev1.Toleration]),
		field("affinity", `{"nodeAffinity":{…}}`, func(c *Config) **corev1.Affinity { return &c.Affinity }, parseObject[corev1.Affinity]),
		field("priorityClassName", "batch-low", func(c *Config) *string { return &c.PriorityClassName }, parseAs[string]),
		field("queueName", "ingestion", func(c *Config) *string { return &c.QueueName }, parseAs[string]),
		field("podAnnotations", "team=data,owner=me", func(c *Config) *map[string]string { return &c.PodAnnotations }, parsePairs),
		field("podLabels", "team=data", func(c *Config) *map[string]string { return &c.PodLabels }, parsePairs),
		secret(field("extraEnvVars", "HTTP_PROXY:http://proxy:3128,NO_PROXY:localhost", func(c *Config) *[]corev1.EnvVar { return &c.ExtraEnvVars }, parseVariables)),
		field("secretKeys", "tenantId,customHeaders", func(c *Config) *[]string { return &c.SecretKeys }, parseNames),
		field("publicKeys", "publicKey,tokenLabel", func(c *Config) *[]string { return &c.PublicKeys }, parseNames),
		field("volumes", `[{"name":"ca","secret":{"secretName":"trino-ca"}}]`, func(c *Config) *[]corev1.Volume { return &c.Volumes }, parseList[corev1.Volume]),
		field("volumeMounts", `[{"name":"ca","mountPath":"/etc/ca"}]`, func(c *Config) *[]corev1.VolumeMount { return &c.VolumeMounts }, parseList[corev1.VolumeMount]),
		field("kubeconfigPath", "/etc/kubeconfig", func(c *Config) *string { return &c.KubeconfigPath }, parseAs[string]),
		secret(field("kubeConfigContent", "apiVersion: v1", func(c *Config) *string { return &c.KubeConfigContent }, parseString)),
		outer(field("enabled", "true", func(c *Config) *bool { return &c.Enabled }, parseBool)),
		outer(field("metadataApiEndpoint", "http://openmetadata:8585/api", func(c *Config) *string { return &c.MetadataAPIEndpoint }, parseAs[string])),
		outer(named("K8S_VERIFY_SSL", field("verifySSL", "validate", func(c *Config) *omapi.VerifySSL { return &c.VerifySSL }, parseAs[omapi.VerifySSL]))),
		outer(named("K8S_SSL_CA_CERTIFICATE", field("sslConfig", "{caCertificate: /etc/ca/ca.pem}", func(c *Config) *string { return &c.CACertificate }, parseCA))),
		outer(field("authProvider", "no-auth", func(c *Config) *string { return &c.AuthProvider }, parseAs[string])),
		outer(secret(field("extraHeaders", "X-Gateway-Key=value", func(c *Config) *map[string]string { return &c.ExtraHeaders }, parsePairs))),
		outer(field("hostIp", "10.0.0.1", func(c *Config) *string { return &c.HostIP }, parseAs[string])),
		outer(field("ingestionIpInfoEnabled", "true", func(c *Config) *bool { return &c.IngestionIPInfoEnabled }, parseBool)),
	}
}

// aliases are other names that users of OpenMetadata know.
func aliases() map[string]string {
	return map[string]string{"seccompProfileType": "seccompProfile"}
}

// serverKeys stand beside the parameters and are the server's own, or Airflow's.
func serverKeys() []string {
	return []string{
		"className", "parameters", "apiEndpoint", "healthCheckInterval", "logStorageConfiguration", "queuedStatusTimeoutSeconds",
	}
}

// ignored are parameters of OpenMetadata's client that mean nothing here, and why.
func ignored() map[string]string {
	return map[string]string{
		"inCluster":                 "in a pod its service account is used, unless a kubeconfig is given",
		"skipInit":                  "a switch of OpenMetadata's own unit tests",
		"useOMJobOperator":          "there is no operator here: runs are Jobs, and pipelinectl serve keeps their status true",
		"failureDiagnosticsEnabled": "diagnostics are always on",
		"enableFailureDiagnostics":  "diagnostics are always on",
		"authConfig":                "pods get the token that pipelinectl has, or the pipeline's own connection",
		"secretsManagerLoader":      "set it in the pipeline's own openMetadataServerConnection",
	}
}

// variableName is K8S_ and the name in capitals: ingestionImage is K8S_INGESTION_IMAGE.
func variableName(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return "K8S_" + b.String()
}

// parameterByName finds a parameter by its name or another name for it.
func parameterByName(all []parameter, name string) (parameter, bool) {
	if alias, ok := aliases()[name]; ok {
		name = alias
	}
	i := slices.IndexFunc(all, func(p parameter) bool { return p.name == name })
	if i < 0 {
		return parameter{}, false
	}
	return all[i], true
}
