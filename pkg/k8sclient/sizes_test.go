package k8sclient

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// TestLargestThatCanBeExecuted looks for the largest of each kind that is accepted: it is exactly what Linux or Kubernetes take.
func TestLargestThatCanBeExecuted(t *testing.T) {
	t.Parallel()
	sourceConfig := func(fields map[string]any) func(*omapi.IngestionPipeline) {
		return func(p *omapi.IngestionPipeline) { p.SourceConfig = map[string]any{"config": fields} }
	}
	filled := func(n int) string { return strings.Repeat("x", n) }
	cases := map[string]struct {
		reason string
		make   func(n int) (Config, *omapi.IngestionPipeline)
		// size is of what has the limit, in the objects as they are.
		size  func(t *testing.T, config *Config, objects *Objects) int
		limit int
		// each is how much of it a step takes; 1 where it is 0.
		each  int
		names string
	}{
		"Configuration": {
			reason: "main.py reads it whole from one variable",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				return DefaultConfig(), newPipeline(sourceConfig(map[string]any{"x": filled(n)}))
			},
			size: func(t *testing.T, _ *Config, o *Objects) int {
				t.Helper()
				return len("config=") + len(mergedText(t, o))
			},
			limit: 131071, names: "its workflow configuration as variable config, with its secrets,",
		},
		"WithoutSecrets": {
			reason: "a placeholder may be longer than its secret",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				return DefaultConfig(), newPipeline(sourceConfig(map[string]any{"password": slices.Repeat([]any{json.Number("1")}, 100), "x": filled(n)}))
			},
			size: func(_ *testing.T, _ *Config, o *Objects) int {
				return len("config=") + len(o.ConfigMap.Data[configKey])
			},
			limit: 131071, names: "variable config of container exithandler",
		},
		"Secrets": {
			reason: "thousands of secrets, each with its path",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				return DefaultConfig(), newPipeline(sourceConfig(map[string]any{"password": append(slices.Repeat([]any{"s"}, 2500), filled(n+1))}))
			},
			size: func(_ *testing.T, _ *Config, o *Objects) int {
				return len(identity.EnvPreviousSecret+"=") + len(o.Secret.Data[secretKey])
			},
			limit: 131071, names: "variable " + identity.EnvPreviousSecret + " of container exithandler",
		},
		"Variable": {
			reason: "the user's own are strings of the environment, too",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				return withVariables(corev1.EnvVar{Name: "BIG", Value: filled(n)}), newPipeline()
			},
			size:  func(_ *testing.T, c *Config, _ *Objects) int { return len("BIG=") + len(c.ExtraEnvVars[0].Value) },
			limit: 131071, names: "variable BIG of container exithandler",
		},
		"SecretVariable": {
			reason: "also where it comes from the Secret",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				return withVariables(corev1.EnvVar{Name: "DB_PASSWORD", Value: filled(n + 1)}), newPipeline()
			},
			size: func(_ *testing.T, c *Config, _ *Objects) int {
				return len("DB_PASSWORD=") + len(c.ExtraEnvVars[0].Value)
			},
			limit: 131071, names: "variable DB_PASSWORD of container exithandler",
		},
		"Expanded": {
			reason: "Kubernetes puts one variable into another",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				return withVariables(corev1.EnvVar{Name: "A", Value: filled(n)}, corev1.EnvVar{Name: "B", Value: "$(A)$(A)$$(A)$(C)$"}), newPipeline()
			},
			size: func(_ *testing.T, c *Config, _ *Objects) int {
				return len("B=") + 2*len(c.ExtraEnvVars[0].Value) + len("$(A)$(C)$")
			},
			limit: 131071, each: 2, names: "variable B of container exithandler",
		},
		"Environment": {
			reason: "all variables together, of a quarter of the stack",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				const others = 13
				variables := make([]corev1.EnvVar, 0, 1+others)
				variables = append(variables, corev1.EnvVar{Name: "LAST", Value: filled(n)})
				for i := range others {
					variables = append(variables, corev1.EnvVar{Name: "V" + string(rune('A'+i)), Value: "$(BIG)"})
				}
				return withVariables(append([]corev1.EnvVar{{Name: "BIG", Value: filled(130000)}}, variables...)...), newPipeline()
			},
			size: func(t *testing.T, c *Config, o *Objects) int {
				t.Helper()
				return environmentOf(t, c, o)
			},
			limit: 2<<20 - 256<<10, names: "the environment of container ingestion, all variables together,",
		},
		"Revision": {
			reason: "it keeps what both objects hold",
			make: func(n int) (Config, *omapi.IngestionPipeline) {
				const others = 8
				variables := make([]corev1.EnvVar, 0, 1+others)
				variables = append(variables, corev1.EnvVar{Name: "LAST_TOKEN", Value: filled(n + 1)})
				for i := range others {
					variables = append(variables, corev1.EnvVar{Name: string(rune('A'+i)) + "_TOKEN", Value: filled(130000)})
				}
				return withVariables(variables...), newPipeline()
			},
			size: func(_ *testing.T, _ *Config, o *Objects) int {
				size := secretSize(o.Secret)
				for value := range maps.Values(o.ConfigMap.Data) {
					size += len(value)
				}
				return size
			},
			limit: 1 << 20, names: "a revision, which keeps ConfigMap om-config-nightly and Secret om-secret-nightly in one Secret,",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attempt := func(n int) (*Config, *Objects, error) {
				config, pipeline := tc.make(n)
				objects, err := NewObjects(&config, pipeline, mysql())
				return &config, objects, err
			}
			n := 0
			config, objects, err := attempt(n)
			require.NoError(t, err, tc.reason)
			n += (tc.limit - tc.size(t, config, objects)) / max(1, tc.each)
			if config, objects, err = attempt(n + 1); err == nil {
				// It was laid out for people before, and is not any more.
				n += 1 + (tc.limit-tc.size(t, config, objects))/max(1, tc.each)
			}
			config, objects, err = attempt(n)
			require.NoError(t, err, tc.reason)
			assert.InDelta(t, tc.limit, tc.size(t, config, objects), float64(max(1, tc.each)-1), "it is the largest")
			_, _, err = attempt(n + 1)
			require.ErrorIs(t, err, ErrTooLarge, tc.reason)
			require.ErrorContains(t, err, "pipeline mysql_prod.nightly: ")
			require.ErrorContains(t, err, tc.names)
		})
	}
}

func withVariables(variables ...corev1.EnvVar) Config {
	config := DefaultConfig()
	config.ExtraEnvVars = variables
	return config
}

func mergedText(t *testing.T, objects *Objects) string {
	t.Helper()
	full, err := wholeOf(objects.ConfigMap, objects.Secret)
	require.NoError(t, err)
	text, err := full.Compact()
	require.NoError(t, err)
	return text
}

// environmentOf counts the ingestion container's environment as the kernel does, by the values that the test has given.
func environmentOf(t *testing.T, config *Config, objects *Objects) int {
	t.Helper()
	pod := NewJob(config, newPipeline(), testRunID, 0).Spec.Template.Spec
	total := 0
	for _, variable := range pod.Containers[0].Env {
		value := variable.Value
		switch {
		case variable.Name == identity.EnvConfig:
			value = objects.ConfigMap.Data[configKey]
		case variable.Name == identity.EnvConfigFingerprint:
			value = objects.ConfigMap.Data[fingerprintKey]
		case variable.Name == identity.EnvConfigSecret, variable.Name == identity.EnvPreviousSecret:
			value = string(objects.Secret.Data[secretKey])
		case value == "$(BIG)":
			value = strings.Repeat("x", 130000)
		}
		total += len(variable.Name+"="+value+"\x00") + 8
	}
	for _, argument := range pod.Containers[0].Command {
		total += len(argument+"\x00") + 8
	}
	return total
}

// TestManySmallSecretsAreRefused: 3,000 secrets are small as a whole, and their paths are not.
func TestManySmallSecretsAreRefused(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	secrets := make([]any, 3000)
	for i := range secrets {
		secrets[i] = "secret"
	}
	_, err := NewObjects(&config, newPipeline(func(p *omapi.IngestionPipeline) {
		p.SourceConfig = map[string]any{"config": map[string]any{"passwords": map[string]any{"password": secrets}}}
	}), mysql())
	require.ErrorIs(t, err, ErrTooLarge)
	assert.ErrorContains(t, err, "variable configSecret of container exithandler")
}

// TestRunIsRefusedForItsSize: before OpenMetadata is told of the run.
func TestRunIsRefusedForItsSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t, application(map[string]any{"rows": 10}))
	before := w.kube.names()
	_, err := w.client.Run(t.Context(), testFQN, RunOptions{AppConfig: map[string]any{"x": strings.Repeat("x", 1<<17)}})
	require.ErrorIs(t, err, ErrTooLarge, "an override is as large as it is")
	w.client.config.ExtraEnvVars = []corev1.EnvVar{{Name: "BIG", Value: strings.Repeat("x", 140<<10)}}
	_, err = w.client.Run(t.Context(), testFQN, RunOptions{})
	require.ErrorIs(t, err, ErrTooLarge, "the parameters have changed since the deploy")
	_, err = w.client.RunAutomation(t.Context(), json.RawMessage(`{"name":"x"}`))
	require.ErrorIs(t, err, ErrTooLarge, "they hold for all pods")
	require.ErrorIs(t, w.client.ValidateApplication(json.RawMessage(`{"name":"x"}`)), ErrTooLarge)
	pipelines, err := w.om.Pipelines()
	require.NoError(t, err)
	assert.Empty(t, pipelines[0].Runs, "there is no run of it")
	assert.Equal(t, before, w.kube.names(), "nothing was made")
}

func TestExpand(t *testing.T) {
	t.Parallel()
	values := map[string]string{"A": "1", "B": "$(A)"}
	for text, want := range map[string]string{
		"": "", "$": "$", "$$": "$", "$(A)": "1", "$$(A)": "$(A)", "$$$(A)": "$1", "$(B)": "$(A)", "$(C)": "$(C)", "$(A": "$(A", "$A": "$A", "a$(A)b$": "a1b$", "$()": "$()",
	} {
		assert.Equal(t, want, expand(text, values), text)
	}
}

// TestWhatIsNotKeptIsRefused: before anything is done.
func TestWhatIsNotKeptIsRefused(t *testing.T) {
	t.Parallel()
	deep := any("end")
	for range 250 {
		deep = []any{deep}
	}
	for name, tc := range map[string]struct {
		reason string
		value  any
		is     error
		path   string
	}{
		"Infinite":    {reason: "no float is that large", value: json.Number("1e400"), is: workflow.ErrUnrepresentable, path: "/source/sourceConfig/config/x"},
		"Digits":      {reason: "Python reads no more", value: json.Number(strings.Repeat("9", 4301)), is: workflow.ErrUnrepresentable, path: "/source/sourceConfig/config/x"},
		"Deep":        {reason: "PyYAML recurses", value: deep, is: workflow.ErrUnrepresentable, path: "/source/sourceConfig/config/x/0/0"},
		"UTF8":        {reason: "JSON has no other", value: "a\xff", is: workflow.ErrUnrepresentable, path: "/source/sourceConfig/config/x"},
		"Placeholder": {reason: "it stands for a secret that is not there", value: workflow.Placeholder, is: workflow.ErrMissingSecret, path: "/source/sourceConfig/config/x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			_, err := NewObjects(&config, newPipeline(func(p *omapi.IngestionPipeline) {
				p.SourceConfig = map[string]any{"config": map[string]any{"x": tc.value}}
			}), mysql())
			require.ErrorIs(t, err, tc.is, tc.reason)
			require.ErrorContains(t, err, tc.path)
			assert.ErrorContains(t, err, "mysql_prod.nightly")
		})
	}
}
