package k8sclient

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// load reads a configuration of a text, an environment and flags.
func load(t *testing.T, file string, environ, flags []string) (*Loaded, error) {
	t.Helper()
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	}
	return LoadConfig(Sources{Path: path, Environ: environ, Flags: flags})
}

func TestLoadConfigTakes(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason         string
		file           string
		environ, flags []string
		want           func(*Config)
	}{
		"Defaults": {reason: "without any source nothing is changed", want: func(*Config) {}},
		"Section": {
			reason: "the section may stand alone too",
			file:   "className: " + clientClass + "\nmetadataApiEndpoint: http://om/api\nparameters: {namespace: data}\n",
			want:   func(c *Config) { c.Namespace, c.MetadataAPIEndpoint = "data", "http://om/api" },
		},
		"References": {
			reason: "references are within texts too, several of them, with braces in a default",
			file: "pipelineServiceClientConfiguration:\n  metadataApiEndpoint: http://${OM_HOST}:${OM_PORT:-8585}/api\n" +
				"  parameters:\n    ingestionImage: ${IMAGE:-\"openmetadata/ingestion\"}:${TAG:-1.10}\n    serviceAccountName: ${A:-${B:-c}}\n" +
				"    nodeSelector: '${NODES:-{disk: ssd}}'\n",
			environ: []string{"OM_HOST=om"},
			want: func(c *Config) {
				c.MetadataAPIEndpoint, c.IngestionImage, c.ServiceAccountName = "http://om:8585/api", "openmetadata/ingestion:1.10", "c"
				c.NodeSelector = map[string]string{"disk": "ssd"}
			},
		},
		"Literal": {
			reason: "$${ is for what the pod's own shell is to expand, also beside a reference",
			file: "pipelineServiceClientConfiguration:\n  parameters:\n" +
				"    extraEnvVars: ['CMD:echo $${HOME} ${OM_HOST} $$', 'ALONE:$${HOME}', 'OPEN:$${', 'NESTED:${A:-$${HOME}}', 'MONEY:$HOME']\n",
			environ: []string{"OM_HOST=om", "HOME=/root"},
			want: func(c *Config) {
				c.ExtraEnvVars = []corev1.EnvVar{
					{Name: "CMD", Value: "echo ${HOME} om $$"}, {Name: "ALONE", Value: "${HOME}"}, {Name: "OPEN", Value: "${"},
					{Name: "NESTED", Value: "${HOME}"}, {Name: "MONEY", Value: "$HOME"},
				}
			},
		},
		"NotInTheFile": {
			reason: "a shell has expanded a variable and a flag already where it was asked to", environ: []string{"K8S_POD_ANNOTATIONS=a=${HOME}", "HOME=/root"},
			flags: []string{"extraEnvVars=CMD:echo ${HOME} $${HOME}"},
			want: func(c *Config) {
				c.PodAnnotations = map[string]string{"a": "${HOME}"}
				c.ExtraEnvVars = []corev1.EnvVar{{Name: "CMD", Value: "echo ${HOME} $${HOME}"}}
			},
		},
		"Server": {
			reason: "how the pods reach the server, with the keys of older servers, and those that are not ours",
			file: "pipelineServiceClientConfiguration:\n  apiEndpoint: http://localhost:8080\n  healthCheckInterval: 300\n  logStorageConfiguration: {type: default}\n" +
				"  queuedStatusTimeoutSeconds: 60\n  verifySSL: validate\n  sslConfig: {certificatePath: /etc/ca.pem}\n  authProvider: no-auth\n",
			want: func(c *Config) { c.VerifySSL, c.CACertificate, c.AuthProvider = "validate", "/etc/ca.pem", "no-auth" },
		},
		"NoCA": {
			reason: "a server's own configuration has an empty path", file: "verifySSL: no-ssl\nsslConfig: {certificatePath: ''}\n", want: func(*Config) {},
		},
		"Images": {
			reason: "a registry has a port, and an image a digest",
			file:   "ingestionImage: localhost:5000/a/b-c/d_e:1.2@sha256:" + strings.Repeat("a1", 32) + "\nexitHandlerImage: exithandler\n",
			want: func(c *Config) {
				c.IngestionImage, c.ExitHandlerImage = "localhost:5000/a/b-c/d_e:1.2@sha256:"+strings.Repeat("a1", 32), "exithandler"
			},
		},
		"OtherResources": {
			reason: "there are more than cpu and memory", file: "resources: {limits: {nvidia.com/gpu: 1, ephemeral-storage: 1Gi}}\n",
			want: func(c *Config) {
				c.Resources.Limits["nvidia.com/gpu"] = resource.MustParse("1")
				c.Resources.Limits[corev1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
			},
		},
		"Parameters": {
			reason: "the parameters may stand alone",
			file:   "namespace: data\nbackoffLimit: 1\n",
			want:   func(c *Config) { c.Namespace, c.BackoffLimit = "data", 1 },
		},
		"ServerConfiguration": {
			reason: "a server's own configuration has more than ours, and references to variables",
			file: "clusterName: om\npipelineServiceClientConfiguration:\n" +
				"  className: ${PIPELINE_SERVICE_CLIENT_CLASS_NAME:-\"" + clientClass + "\"}\n" +
				"  apiEndpoint: http://localhost:8080\n  metadataApiEndpoint: http://om:8585/api\n  hostIp: \"\"\n" +
				"  parameters:\n    namespace: ${OM_NAMESPACE:-\"data\"}\n    ttlSecondsAfterFinished: ${OM_TTL:-60}\n" +
				"    extraEnvVars: ${OM_ENV:-[]}\n    useOMJobOperator: false\n",
			environ: []string{"OM_TTL=120"},
			want: func(c *Config) {
				c.Namespace, c.TTLSecondsAfterFinished, c.MetadataAPIEndpoint = "data", 120, "http://om:8585/api"
			},
		},
		"TextForms": {
			reason: "OpenMetadata hands maps and lists on as text",
			file: "imagePullSecrets: ' a, b ,'\nnodeSelector: ' disk = ssd , zone=a-b'\npodAnnotations: {count: 1, b: true, q: 'x=y'}\n" +
				"extraEnvVars: 'URL:http://proxy:3128/x,EMPTY:'\nrunAsNonRoot: 'false'\nactiveDeadlineSeconds: '60'\n",
			want: func(c *Config) {
				c.ImagePullSecrets = []string{"a", "b"}
				c.NodeSelector = map[string]string{"disk": "ssd", "zone": "a-b"}
				c.PodAnnotations = map[string]string{"count": "1", "b": "true", "q": "x=y"}
				c.ExtraEnvVars = []corev1.EnvVar{{Name: "URL", Value: "http://proxy:3128/x"}, {Name: "EMPTY"}}
				c.RunAsNonRoot, c.ActiveDeadlineSeconds = false, 60
			},
		},
		"KubernetesForms": {
			reason: "Kubernetes' own shapes are taken as they are",
			file: "extraEnvVars:\n- 'A:1:2'\n- {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}\n" +
				"tolerations: [{key: dedicated, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]\nseccompProfileType: RuntimeDefault\n" +
				"volumes: [{name: ca, secret: {secretName: trino}}]\nvolumeMounts: [{name: ca, mountPath: /etc/ca}]\n",
			want: func(c *Config) {
				c.ExtraEnvVars = []corev1.EnvVar{{Name: "A", Value: "1:2"}, {Name: "B", ValueFrom: secretRef("s", "k")}}
				c.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(5))}}
				c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
				c.Volumes = []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "trino"}}}}
				c.VolumeMounts = []corev1.VolumeMount{{Name: "ca", MountPath: "/etc/ca"}}
			},
		},
		"Resources": {
			reason: "what is not named keeps its default; a number is a quantity; an empty one takes the limit away",
			file:   "resources: {requests: {cpu: 1}, limits: {cpu: '', memory: 8Gi}}\n",
			want: func(c *Config) {
				c.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1")
				delete(c.Resources.Limits, corev1.ResourceCPU)
				c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("8Gi")
			},
		},
		"Sidecar": {
			reason: "a LimitRange may want more of every container, or nobody a limit", file: "sidecarResources: {requests: {memory: 128Mi}, limits: {memory: 128Mi, cpu: null}}\nseccompProfile: none\n",
			want: func(c *Config) {
				c.SidecarResources.Requests[corev1.ResourceMemory] = resource.MustParse("128Mi")
				c.SidecarResources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")}
				c.SeccompProfile = nil
			},
		},
		"SeccompEmpty": {reason: "an empty value is as if it were not set", file: "seccompProfile: ''\n", want: func(*Config) {}},
		"NoUser": {
			reason: "a cluster that chooses the user, such as OpenShift, needs none",
			file:   "runAsUser: null\nrunAsGroup: ''\nnamespace: null\n",
			want:   func(c *Config) { c.RunAsUser, c.RunAsGroup = nil, nil },
		},
		"Strength": {
			reason:  "a flag is stronger than a variable, which is stronger than the file",
			file:    "namespace: file\nbackoffLimit: 1\nserviceAccountName: file\n",
			environ: []string{"K8S_NAMESPACE=variable", "K8S_BACKOFF_LIMIT=2", "K8S_INGESTION_IMAGE=", "K8S_LIMITS_CPU=4", "K8S_OTHER_PROGRAM=x", "K8S_HOST=1.2.3.4"},
			flags:   []string{"namespace=flag"},
			want: func(c *Config) {
				c.Namespace, c.BackoffLimit, c.ServiceAccountName = "flag", 2, "file"
				c.Resources.Limits[corev1.ResourceCPU] = resource.MustParse("4")
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loaded, err := load(t, tc.file, tc.environ, tc.flags)
			require.NoError(t, err, tc.reason)
			want := DefaultConfig()
			tc.want(&want)
			assert.EqualExportedValues(t, want, loaded.Config, tc.reason)
		})
	}
}

// TestDefaultConfig compares with OpenMetadata's K8sPipelineClientConfig, but for what is our own.
func TestDefaultConfig(t *testing.T) {
	t.Parallel()
	got := map[string]any{}
	config := DefaultConfig()
	for _, p := range parameters() {
		data, err := json.Marshal(p.get(&config))
		require.NoError(t, err)
		got[p.name] = string(data)
	}
	for name, want := range map[string]string{
		"namespace": `"openmetadata-pipelines"`, "ingestionImage": `"docker.getcollate.io/openmetadata/ingestion:latest"`, "imagePullPolicy": `"IfNotPresent"`,
		"imagePullSecrets": "null", "serviceAccountName": `"openmetadata-ingestion"`,
		"resources.requests.cpu": `"500m"`, "resources.requests.memory": `"1Gi"`, "resources.limits.cpu": `"2"`, "resources.limits.memory": `"4Gi"`,
		"ttlSecondsAfterFinished": "604800", "activeDeadlineSeconds": "7200", "backoffLimit": "3", "startingDeadlineSeconds": "60",
		"successfulJobsHistoryLimit": "3", "failedJobsHistoryLimit": "3", "terminationGracePeriodSeconds": "60",
		"nodeSelector": "null", "podAnnotations": "null", "runAsUser": "1000", "runAsGroup": "1000", "fsGroup": "1000", "runAsNonRoot": "true",
		"seccompProfile": `{"type":"RuntimeDefault"}`, "extraEnvVars": "null", "tolerations": "null", "enabled": "true", "metadataApiEndpoint": `""`, "verifySSL": `"no-ssl"`,
		"hostIp": `""`, "ingestionIpInfoEnabled": "true", "authProvider": `"openmetadata"`,
	} {
		assert.Equal(t, want, got[name], name)
	}
}

func TestLoadConfigWarns(t *testing.T) {
	t.Parallel()
	const good = "ingestionImage: a:1\n"
	cases := map[string]struct {
		reason  string
		file    string
		environ []string
		want    []string
	}{
		"Nothing":   {reason: "there is nothing to say", file: good},
		"Short":     {reason: "the controller looks every 10 s", file: good + "startingDeadlineSeconds: 9\n", want: []string{"startingDeadlineSeconds: the CronJob controller looks every 10 s, with 9 it misses ticks"}},
		"Ten":       {reason: "that is enough", file: good + "startingDeadlineSeconds: 10\n"},
		"Moving":    {reason: "the image is another one tomorrow", file: "ingestionImage: localhost:5000/a\n", want: []string{"ingestionImage: localhost:5000/a is whatever is newest"}},
		"Variable":  {reason: "another program's, which may be meant for us", file: good, environ: []string{"K8S_HOST=1.2.3.4"}, want: []string{"K8S_HOST: ignored, it is not a parameter's variable; did you mean K8S_HOST_IP?"}},
		"NewServer": {reason: "a newer server has more", file: "pipelineServiceClientConfiguration: {theFuture: 1, authConfig: {}, parameters: {ingestionImage: 'a:1'}}\n", want: []string{"authConfig: ignored; pods get", "theFuture: ignored; nothing is known of it (file "}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loaded, err := load(t, tc.file, tc.environ, nil)
			require.NoError(t, err)
			require.Len(t, loaded.Warnings, len(tc.want), tc.reason)
			for i, want := range tc.want {
				assert.Contains(t, loaded.Warnings[i], want, tc.reason)
			}
		})
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason         string
		file           string
		environ, flags []string
		want           []string
	}{
		"Number": {
			reason: "OpenMetadata's own client takes the default in silence", file: "backoffLimit: many\nttlSecondsAfterFinished: 99999999999\n",
			want: []string{`backoffLimit: "many" is not a whole number, such as 3`, `ttlSecondsAfterFinished: "99999999999" is too large`},
		},
		"AllAtOnce": {
			reason: "each error costs the user a round, whether a value cannot be read or cannot be", environ: []string{"K8S_NAMESPCE=x"}, flags: []string{"fsGroup=x"},
			file: "namespace: Not_One\nimagePullPolicy: Sometimes\nactiveDeadlineSeconds: 0\nserviceAccountName: A B\nbackoffLimit: many\n",
			want: []string{"K8S_NAMESPCE: is not", `fsGroup: "x"`, `backoffLimit: "many"`, `namespace: "Not_One"`, `imagePullPolicy: "Sometimes"`, "activeDeadlineSeconds: 0", `serviceAccountName: "A B"`},
		},
		"Unknown":         {reason: "a misspelt name is told the right one", file: "ingestionImge: x\n", want: []string{"did you mean ingestionImage?"}},
		"UnknownFar":      {reason: "no name is proposed where none is near", file: "teapot: x\n", want: []string{"teapot: is not a parameter (file"}},
		"UnknownVariable": {reason: "a variable is misspelt as easily", environ: []string{"K8S_NAMESPCE=x"}, want: []string{"did you mean K8S_NAMESPACE?"}},
		"UnknownFlag":     {reason: "and a flag", flags: []string{"namespce=x", "namespace"}, want: []string{"did you mean namespace?", "namespace: has no value"}},
		"Boolean":         {reason: "yes is not a boolean of YAML 1.2", file: "runAsNonRoot: 'yes'\n", want: []string{`runAsNonRoot: "yes" is not true or false, such as true`}},
		"Pair":            {reason: "OpenMetadata's own client drops it in silence", file: "nodeSelector: ssd\n", want: []string{"has no name and value with = between them"}},
		"Variable":        {reason: "the value may be a secret, so it is not shown", file: "extraEnvVars: ['hunter2']\n", want: []string{"extraEnvVars: an entry has no colon"}},
		"OwnVariable":     {reason: "the run would not find itself", file: "extraEnvVars: ['config:x']\n", want: []string{"variable config is set by pipelinectl itself"}},
		"Quantity":        {reason: "a quantity has Kubernetes' units", file: "resources: {limits: {memory: 4GB}}\n", want: []string{`limits: memory: "4GB" is not a quantity`}},
		"RequestOverLimit": {
			reason: "the API server would refuse the Job", file: "resources: {requests: {memory: 8Gi}}\n",
			want: []string{"requests.memory 8Gi is more than limits.memory 4Gi"},
		},
		"Toleration": {reason: "one bad field must not drop the whole list", file: "tolerations: [{key: a, tolerationSeconds: soon}]\n", want: []string{"tolerations: ", "is not what Kubernetes takes"}},
		"Field":      {reason: "a field that Kubernetes does not know is a mistake", file: "volumes: [{name: a, sekret: {}}]\n", want: []string{`unknown field "sekret"`}},
		"Mount":      {reason: "a mount needs its volume", file: "volumeMounts: [{name: a, mountPath: /a}]\n", want: []string{`mounts volume "a", which is not in volumes`}},
		"Root":       {reason: "the kubelet would refuse the container", file: "runAsUser: 0\n", want: []string{"0 is root, which runAsNonRoot forbids"}},
		"OtherClient": {
			reason: "the parameters of Airflow's client are others",
			file:   "pipelineServiceClientConfiguration: {className: org.openmetadata.service.clients.pipeline.airflow.AirflowRESTClient}\n",
			want:   []string{"className is org.openmetadata.service.clients.pipeline.airflow.AirflowRESTClient"},
		},
		"Reference": {reason: "a reference without a value is not an empty value", file: "namespace: ${NOWHERE}\n", want: []string{"refers to variable NOWHERE, which is not set"}},
		"Misplaced": {
			reason: "a parameter one level too high would have its default, in silence", file: "pipelineServiceClientConfiguration: {namespace: prod, parameters: {hostIp: 1.2.3.4}}\n",
			want: []string{"namespace: stands in the wrong place, it belongs in pipelineServiceClientConfiguration.parameters", "hostIp: stands in the wrong place, it belongs beside parameters"},
		},
		"MisplacedOutside": {
			reason: "two levels too", file: "clusterName: om\nbackoffLimit: 1\npipelineServiceClientConfiguration: {}\n",
			want: []string{"backoffLimit: stands in the wrong place, it belongs in pipelineServiceClientConfiguration.parameters"},
		},
		"UnknownBeside":  {reason: "so would a misspelt one", file: "pipelineServiceClientConfiguration: {metadataApiEndpont: http://om/api}\n", want: []string{"metadataApiEndpont: is not a parameter; did you mean metadataApiEndpoint?"}},
		"ResourcesText":  {reason: "OpenMetadata's own client takes the defaults in silence", file: "resources: [1]\n", want: []string{"is not a map of requests and limits"}},
		"ResourceName":   {reason: "the API server would refuse the pod", file: "resources: {limits: {mem: 1Gi}}\n", want: []string{`resources.limits: "mem" is not a resource of a container`}},
		"TolerationsMap": {reason: "OpenMetadata's own client ignores it in silence", file: "tolerations: dedicated\n", want: []string{`tolerations: "dedicated" is not a list or map`}},
		"TolerationRules": {
			reason: "the API server would refuse every pod", file: "tolerations: [{key: 'a b', operator: Is, effect: Never}, {value: x}, {key: a, operator: Exists, value: b, tolerationSeconds: 1}]\n",
			want: []string{
				`tolerations: key "a b": name part must consist of`, `operator "Is" is not one of Exists, Equal`, `effect "Never" is not one of NoSchedule`, "one without a key has operator Exists",
				"operator Exists takes no value", "tolerationSeconds is for effect NoExecute",
			},
		},
		"Affinity": {
			reason: "so it would for an affinity", file: "affinity:\n  nodeAffinity:\n    requiredDuringSchedulingIgnoredDuringExecution:\n      nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In}]}]\n" +
				"    preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, preference: {matchExpressions: [{key: zone, operator: Near, values: [a]}]}}]\n" +
				"  podAntiAffinity:\n    requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {'a b': c}}}]\n",
			want: []string{`key "zone", operator "In"`, "weight 101 is not between 1 and 100", `operator "Near"`, `affinity: topologyKey "": name part must be non-empty`, "a b"},
		},
		"NoTerms":       {reason: "no term fits no node", file: "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}\n", want: []string{"nodeAffinity has no nodeSelectorTerms"}},
		"PriorityClass": {reason: "it is an object's name", file: "priorityClassName: Batch Low\n", want: []string{`priorityClassName: "Batch Low" is not a priority class's name`}},
		"Image":         {reason: "it would be found out when a node pulls it", file: "ingestionImage: http://registry/image\nexitHandlerImage: 'a:1:2'\n", want: []string{`ingestionImage: "http://registry/image" is not an image`, `exitHandlerImage: "a:1:2" is not an image`}},
		"LongNamespace": {reason: "it has 63 characters at most", file: "namespace: " + strings.Repeat("a", 64) + "\n", want: []string{"must be no more than 63"}},
		"HistoryLimits": {reason: "the API server would refuse the CronJob", file: "successfulJobsHistoryLimit: -1\nfailedJobsHistoryLimit: -1\n", want: []string{"successfulJobsHistoryLimit: -1 is less than 0", "failedJobsHistoryLimit: -1 is less than 0"}},
		"SidecarSmall":  {reason: "it could not report", file: "sidecarResources: {limits: {memory: 16Mi, cpu: 10m}}\n", want: []string{"sidecarResources: limits.memory 16Mi is less than 32Mi", "limits.cpu 10m is less than 20m"}},
		"SidecarOver":   {reason: "the API server would refuse the pod", file: "sidecarResources: {requests: {memory: 128Mi}}\n", want: []string{"sidecarResources: requests.memory 128Mi is more than limits.memory 64Mi"}},
		"Seccomp":       {reason: "the types are told", file: "seccompProfile: Default\n", want: []string{`seccompProfile: "Default" is not one of RuntimeDefault, Localhost, Unconfined`}},
		"SeccompPath":   {reason: "it is below the kubelet's folder", file: "seccompProfile: 'Localhost:../x'\n", want: []string{`localhostProfile "../x" is not a path below`}},
		"SeccompNoPath": {reason: "the kubelet has to know which", file: "seccompProfile: Localhost\n", want: []string{"type Localhost needs localhostProfile"}},
		"ServiceMesh":   {reason: "the ways are told", file: "serviceMesh: istio\n", want: []string{`serviceMesh: "istio" is neither none`, "nor native"}},
		"VerifySSL":     {reason: "the pods would not reach the server", file: "verifySSL: maybe\n", want: []string{`verifySSL: "maybe" is not one of`}},
		"VerifyNoCA":    {reason: "nor without a certificate authority", file: "verifySSL: validate\n", want: []string{"sslConfig: verifySSL is validate, so caCertificate has to be"}},
		"SSLConfig":     {reason: "client certificates are not supported", file: "sslConfig: {sslKey: x}\n", want: []string{`has "sslKey"; only a caCertificate is taken`}},
		"NotYAML":       {reason: "any file may be given by mistake", file: "{{", want: []string{"is not YAML with parameters"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tc.file, tc.environ, tc.flags)
			require.ErrorIs(t, err, ErrConfig, tc.reason)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want, tc.reason)
			}
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	loaded, err := load(t, "extraEnvVars: ['PASSWORD:hunter2']\nbackoffLimit: 1\nstartingDeadlineSeconds: 0\n",
		[]string{"K8S_LIMITS_CPU=4", "K8S_LIMITS_MEMORY=8Gi"}, []string{"namespace=x"})
	require.NoError(t, err)
	sources := map[string]string{}
	for _, setting := range loaded.Settings() {
		sources[setting.Name] = setting.Source
		assert.NotContains(t, fmt.Sprint(setting.Value), "hunter2", "a value that may be a secret is not shown")
	}
	assert.Equal(t, "flag", sources["namespace"])
	assert.Contains(t, sources["backoffLimit"], "file ")
	assert.Equal(t, "variable K8S_LIMITS_CPU, variable K8S_LIMITS_MEMORY", sources["resources"])
	assert.Equal(t, "default", sources["serviceAccountName"])
	assert.Contains(t, loaded.Warnings, "startingDeadlineSeconds: 0 means no catch-up, but a CronJob with 0 never fires; 60 is used")
}

func TestConfigRefusesBadValuesOfAnEmbeddingServer(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.BackoffLimit, config.FSGroup = -1, new(int64(-1))
	_, err := New(nil, nil, config)
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "backoffLimit: -1 is less than 0")
	require.ErrorContains(t, err, "fsGroup: -1 is less than 0")
}
