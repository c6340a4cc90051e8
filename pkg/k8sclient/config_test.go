package k8sclient

import (
	"fmt"
	"os"
	"path/filepath"
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
		"Defaults": {reason: "all parameters have OpenMetadata's defaults", want: func(*Config) {}},
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
				"tolerations: [{key: dedicated, operator: Exists, tolerationSeconds: 5}]\nseccompProfileType: RuntimeDefault\n" +
				"volumes: [{name: ca, secret: {secretName: trino}}]\nvolumeMounts: [{name: ca, mountPath: /etc/ca}]\n",
			want: func(c *Config) {
				c.ExtraEnvVars = []corev1.EnvVar{{Name: "A", Value: "1:2"}, {Name: "B", ValueFrom: secretRef("s", "k")}}
				c.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists, TolerationSeconds: new(int64(5))}}
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
		"NoUser": {
			reason: "a cluster that chooses the user, such as OpenShift, needs none",
			file:   "runAsUser: null\nrunAsGroup: ''\nnamespace: null\n",
			want:   func(c *Config) { c.RunAsUser, c.RunAsGroup = nil, nil },
		},
		"Strength": {
			reason:  "a flag is stronger than a variable, which is stronger than the file",
			file:    "namespace: file\nbackoffLimit: 1\nserviceAccountName: file\n",
			environ: []string{"K8S_NAMESPACE=variable", "K8S_BACKOFF_LIMIT=2", "K8S_INGESTION_IMAGE=", "K8S_LIMITS_CPU=4", "K8S_OTHER_PROGRAM=x"},
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
			reason: "each error costs the user a round", file: "namespace: Not_One\nimagePullPolicy: Sometimes\nactiveDeadlineSeconds: 0\nserviceAccountName: A B\n",
			want: []string{`namespace: "Not_One"`, `imagePullPolicy: "Sometimes"`, "activeDeadlineSeconds: 0", `serviceAccountName: "A B"`},
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
		"NotYAML":   {reason: "any file may be given by mistake", file: "{{", want: []string{"is not YAML with parameters"}},
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
