package k8sclient

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func loadText(t *testing.T, text string, environ ...string) (*Loaded, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return LoadConfig(Sources{Path: path, Environ: environ})
}

// TestHelmValues: people have the values of OpenMetadata's Helm chart.
func TestHelmValues(t *testing.T) {
	t.Parallel()
	loaded, err := LoadConfig(Sources{Path: "testdata/cases/12-helm-values.yaml"})
	require.NoError(t, err)
	assert.Equal(t, "prod-ingestion", loaded.Namespace)
	assert.Equal(t, "docker.getcollate.io/openmetadata/ingestion-base:1.12.6", loaded.IngestionImage)
	assert.Equal(t, "http://openmetadata:8585/api", loaded.MetadataAPIEndpoint)
	assert.Equal(t, int32(86400), loaded.TTLSecondsAfterFinished)
	assert.Equal(t, &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}, loaded.SeccompProfile)
	assert.Equal(t, new(int64(1000)), loaded.RunAsUser)
	assert.Empty(t, loaded.NodeSelector)
	assert.Empty(t, loaded.Warnings, "values as the chart has them are no news")

	text, err := os.ReadFile("testdata/cases/12-helm-values.yaml")
	require.NoError(t, err)
	cases := map[string]struct {
		reason   string
		old, new string
		check    func(*testing.T, *Loaded)
		warning  string
		err      string
	}{
		"Empty": {reason: "an empty text is not set, whatever the type", old: `resources: {limits: {cpu: "2", memory: "4Gi"}, requests: {cpu: "500m", memory: "1Gi"}}`, new: "resources: \"\"\n        affinity: \"\"\n        backoffLimit: \"\"\n        startingDeadlineSeconds: \"\"\n        priorityClassName: \"\"", check: func(t *testing.T, l *Loaded) {
			t.Helper()
			assert.Equal(t, DefaultConfig().Resources, l.Resources)
			assert.Equal(t, DefaultConfig().BackoffLimit, l.BackoffLimit)
		}},
		"NodeSelector": {reason: "a text with commas", old: `nodeSelector: ""`, new: `nodeSelector: "a=b,c=d"`, check: func(t *testing.T, l *Loaded) {
			t.Helper()
			assert.Equal(t, map[string]string{"a": "b", "c": "d"}, l.NodeSelector)
		}},
		"Security": {reason: "the user is that of the image", old: "runAsUser: 1000, ", new: "runAsUser: 50000, ", check: func(t *testing.T, l *Loaded) { t.Helper(); assert.Equal(t, new(int64(50000)), l.RunAsUser) }},
		"Variables": {reason: "as the chart has them", old: "extraEnvVars: []", new: `extraEnvVars: ["A:b:c"]`, check: func(t *testing.T, l *Loaded) {
			t.Helper()
			assert.Equal(t, []corev1.EnvVar{{Name: "A", Value: "b:c"}}, l.ExtraEnvVars)
		}},
		"VerifySSL":        {reason: "the chart's spelling", old: "type: k8s", new: "type: k8s\n      verifySsl: ignore", check: func(t *testing.T, l *Loaded) { t.Helper(); assert.Equal(t, "ignore", string(l.VerifySSL)) }},
		"Release":          {reason: "Helm would take the release's namespace", old: `namespace: "prod-ingestion"`, new: `namespace: ""`, warning: "namespace: not set in the Helm values"},
		"Operator":         {reason: "there is none here", old: "useOMJobOperator: false", new: "useOMJobOperator: true", warning: "useOMJobOperator: ignored"},
		"AirflowWithK8s":   {reason: "the chart's default type", old: "type: k8s", new: "type: airflow", warning: "type: ignored; it is airflow"},
		"Airflow":          {reason: "another client's", old: "        namespace:", new: "      nothing:\n        namespace:", err: "has no map k8s"},
		"SecurityUnknown":  {reason: "what is not taken is told", old: "runAsUser: 1000, ", new: "supplementalGroups: [1], ", err: "securityContext.supplementalGroups: is not taken"},
		"Misspelt":         {reason: "the nearest is told", old: "ingestionImage:", new: "ingestionImag:", err: "did you mean ingestionImage?"},
		"ClassName":        {reason: "another client's", old: "namespace:", new: "className: org.x.Other\n        namespace:", err: "another client's configuration"},
		"DuplicateKey":     {reason: "which of the two was meant nobody knows", old: "ttlSecondsAfterFinished: 86400", new: "ttlSecondsAfterFinished: 86400\n        ttlSecondsAfterFinished: 1", err: `key "ttlSecondsAfterFinished" is there already`},
		"SecondDocument":   {reason: "it would be left out", old: "openmetadata:\n  config:", new: "a: b\n---\nopenmetadata:\n  config:", err: "it holds 2 documents"},
		"SecurityNoMap":    {reason: "it is a map", old: "securityContext: {", new: "securityContext: [1]\n        other: {", err: "securityContext: is not a map"},
		"GlobalOfOldChart": {reason: "older charts had it there", old: "openmetadata:\n  config:\n", new: "global:\n", check: func(t *testing.T, l *Loaded) { t.Helper(); assert.Equal(t, "prod-ingestion", l.Namespace) }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(string(text), tc.old, tc.new, 1)
			require.NotEqual(t, string(text), changed)
			loaded, err := loadText(t, changed)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			if tc.check != nil {
				tc.check(t, loaded)
			}
			assert.Contains(t, strings.Join(loaded.Warnings, "\n"), tc.warning, tc.reason)
		})
	}
}

// TestVariablesInFiles: a variable is taken character by character, and is no YAML.
func TestVariablesInFiles(t *testing.T) {
	t.Parallel()
	const nasty = "a: \"b\" #c\n- d, 'e'\n"
	env := []string{"NASTY=" + nasty, "EMPTY=", "NUMBER=1.10", "SECONDS=60", "LIST=[a, b]", "YES=true", "QUOTED=\"q\""}
	load := func(text string) *Loaded {
		t.Helper()
		loaded, err := loadText(t, text, env...)
		require.NoError(t, err)
		return loaded
	}
	assert.Equal(t, []corev1.EnvVar{{Name: "A", Value: nasty}}, load("extraEnvVars: [{name: A, value: '${NASTY}'}]\n").ExtraEnvVars)
	assert.Equal(t, []corev1.EnvVar{{Name: "A", Value: nasty}}, load("extraEnvVars: ['A:${NASTY}']\n").ExtraEnvVars)
	assert.Equal(t, map[string]string{"a": "1.10", "b": "true", "c": `"q"`, "d": `x"q"`}, load("podAnnotations: {a: '${NUMBER}', b: '${YES}', c: '${QUOTED}', d: 'x${QUOTED}'}\n").PodAnnotations)
	assert.Equal(t, []string{"a", "b"}, load("imagePullSecrets: ${LIST}\n").ImagePullSecrets, "a parameter may come as text")
	assert.Equal(t, new(int64(60)), load("tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: '${SECONDS}'}]\n").Tolerations[0].TolerationSeconds, "where Kubernetes wants a number it is one")
	assert.Equal(t, int32(60), load("ttlSecondsAfterFinished: ${SECONDS}\n").TTLSecondsAfterFinished)
	assert.Equal(t, DefaultConfig().BackoffLimit, load("backoffLimit: ${EMPTY}\n").BackoffLimit, "an empty variable is as if it were not set")
	assert.Equal(t, int32(7), load("backoffLimit: ${EMPTY:-7}\n").BackoffLimit)
	assert.Equal(t, "http://om/api", load("metadataApiEndpoint: http://${EMPTY:-om}/api\n").MetadataAPIEndpoint)
	assert.Equal(t, new(int64(1000)), load("runAsUser: ${EMPTY}\n").RunAsUser)
	_, err := loadText(t, "metadataApiEndpoint: http://${EMPTY}/api\n", env...)
	require.ErrorContains(t, err, "refers to variable EMPTY, which is empty")
}

// TestEmptyIsNotSet: of every variable and of --set.
func TestEmptyIsNotSet(t *testing.T) {
	t.Parallel()
	want, err := LoadConfig(Sources{})
	require.NoError(t, err)
	environ, flags := make([]string, 0, len(parameters())), make([]string, 0, len(parameters())+1)
	for _, p := range parameters() {
		if p.env != "" {
			environ = append(environ, p.env+"=")
		}
		flags = append(flags, p.name+"=")
	}
	got, err := LoadConfig(Sources{Environ: environ, Flags: append(flags, "")})
	require.NoError(t, err)
	assert.Equal(t, want.Settings(), got.Settings())
	got, err = LoadConfig(Sources{Environ: []string{"K8S_RUN_AS_USER=null"}, Flags: []string{"fsGroup=null"}})
	require.NoError(t, err)
	assert.Nil(t, got.RunAsUser, "the cluster chooses")
	assert.Nil(t, got.FSGroup)
}
