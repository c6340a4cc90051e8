package k8sclient

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/internal/golden"
	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

const (
	testRunID     = "0190b0a0-1111-7222-8333-444455556666"
	testTimestamp = int64(1_700_000_000_123)
	botToken      = "eyJhbGciOi.bot.token"
)

// newPipeline is a metadata pipeline with a schedule; edits change it.
func newPipeline(edits ...func(*omapi.IngestionPipeline)) *omapi.IngestionPipeline {
	pipeline := &omapi.IngestionPipeline{
		ID: "5f0c1c7e-0000-4000-8000-000000000000", Name: "nightly", DisplayName: "Every night", FullyQualifiedName: "mysql_prod.nightly",
		PipelineType: omapi.PipelineMetadata,
		Service:      omapi.EntityReference{Type: "databaseService", Name: "mysql_prod"},
		SourceConfig: map[string]any{"config": map[string]any{"type": "DatabaseMetadata", "schemaFilterPattern": map[string]any{"includes": []any{"^a$"}}}},
		OpenMetadataServerConnection: map[string]any{
			"hostPort": "http://openmetadata:8585/api", "authProvider": "openmetadata", "securityConfig": map[string]any{"jwtToken": botToken},
		},
		AirflowConfig: omapi.AirflowConfig{ScheduleInterval: "@daily", PipelineTimezone: "Europe/Berlin"},
		LoggerLevel:   "DEBUG",
	}
	for _, edit := range edits {
		edit(pipeline)
	}
	return pipeline
}

func onDemand(p *omapi.IngestionPipeline) { p.AirflowConfig = omapi.AirflowConfig{} }

func mysql() *omapi.Service { return &omapi.Service{Name: "mysql_prod", ServiceType: "Mysql"} }

func TestManifests(t *testing.T) {
	t.Parallel()
	everything, err := LoadConfig(Sources{Path: "testdata/all-parameters.yaml"})
	require.NoError(t, err)
	unlike := DefaultConfig()
	for _, p := range parameters() {
		if !p.part {
			assert.NotEqual(t, p.get(&unlike), p.get(&everything.Config), "testdata/all-parameters.yaml sets %s", p.name)
		}
	}
	cases := map[string]struct {
		reason string
		config Config
		file   string
	}{
		"Default": {reason: "what a user gets who sets nothing", config: DefaultConfig(), file: "default.yaml"},
		"All":     {reason: "every parameter is somewhere", config: everything.Config, file: "all.yaml"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipeline := newPipeline()
			client, err := New(nil, nil, tc.config)
			require.NoError(t, err)
			objects, err := client.render(t.Context(), &client.config, pipeline, mysql())
			require.NoError(t, err, tc.reason)
			job := NewJob(&tc.config, pipeline, testRunID, testTimestamp)
			golden.Assert(t, tc.file, manifest(t, objects.ConfigMap, readable(objects.Secret), objects.CronJob, job))

			for _, o := range []object{objects.ConfigMap, objects.CronJob, job} {
				text := manifest(t, o)
				assert.NotContains(t, text, botToken, "no secret in a %s", kindOf(o))
				assert.NotContains(t, text, "hunter2", "no secret in a %s", kindOf(o))
			}
		})
	}
}

// readable is a Secret with its data as text.
func readable(secret *corev1.Secret) *corev1.Secret {
	out := secret.DeepCopy()
	out.StringData, out.Data = map[string]string{}, nil
	for key, value := range secret.Data {
		out.StringData[key] = string(value)
	}
	return out
}

func manifest(t *testing.T, objects ...object) string {
	t.Helper()
	documents := make([]string, len(objects))
	for i, o := range objects {
		data, err := yaml.Marshal(o)
		require.NoError(t, err)
		documents[i] = string(data)
	}
	return strings.Join(documents, "---\n")
}

func TestCronJob(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		config func(*Config)
		edit   func(*omapi.IngestionPipeline)
		check  func(t *testing.T, spec *batchv1.CronJobSpec)
	}{
		"Zone": {
			reason: "the zone goes to the field that Kubernetes has for it", edit: func(*omapi.IngestionPipeline) {},
			check: func(t *testing.T, spec *batchv1.CronJobSpec) {
				t.Helper()
				assert.Equal(t, "0 0 * * *", spec.Schedule)
				require.NotNil(t, spec.TimeZone)
				assert.Equal(t, "Europe/Berlin", *spec.TimeZone)
				assert.False(t, *spec.Suspend)
				assert.Equal(t, batchv1.ForbidConcurrent, spec.ConcurrencyPolicy)
			},
		},
		"NoZone": {
			reason: "no zone is UTC, the schema's default, and not the controller's own", edit: func(p *omapi.IngestionPipeline) { p.AirflowConfig.PipelineTimezone = "" },
			check: func(t *testing.T, spec *batchv1.CronJobSpec) { t.Helper(); assert.Equal(t, new("UTC"), spec.TimeZone) },
		},
		"Disabled": {
			reason: "a disabled pipeline keeps its schedule, and does not run", edit: func(p *omapi.IngestionPipeline) { p.Enabled = new(false) },
			check: func(t *testing.T, spec *batchv1.CronJobSpec) { t.Helper(); assert.True(t, *spec.Suspend) },
		},
		"Enabled": {
			reason: "enabled is the default, given or not", edit: func(p *omapi.IngestionPipeline) { p.Enabled = new(true) },
			check: func(t *testing.T, spec *batchv1.CronJobSpec) { t.Helper(); assert.False(t, *spec.Suspend) },
		},
		"NoCatchUp": {
			reason: "a CronJob with 0 never fires", config: func(c *Config) { c.StartingDeadlineSeconds = 0 }, edit: func(*omapi.IngestionPipeline) {},
			check: func(t *testing.T, spec *batchv1.CronJobSpec) {
				t.Helper()
				assert.Equal(t, int64(60), *spec.StartingDeadlineSeconds)
			},
		},
		"RunID": {
			reason: "all attempts of a tick share the Job, and know the run by it", edit: func(*omapi.IngestionPipeline) {},
			check: func(t *testing.T, spec *batchv1.CronJobSpec) {
				t.Helper()
				template := spec.JobTemplate
				assert.NotContains(t, template.Labels, identity.LabelRunID)
				assert.NotContains(t, template.Spec.Template.Labels, identity.LabelRunID)
				assert.Equal(t, "metadata.labels['batch.kubernetes.io/controller-uid']", variableOf(t, template.Spec.Template.Spec, identity.EnvRunID).ValueFrom.FieldRef.FieldPath)
				assert.Equal(t, "metadata.labels['batch.kubernetes.io/job-name']", variableOf(t, template.Spec.Template.Spec, identity.EnvJobName).ValueFrom.FieldRef.FieldPath)
			},
		},
		"None": {
			reason: "a pipeline on demand has no CronJob", edit: onDemand,
			check: func(t *testing.T, spec *batchv1.CronJobSpec) { t.Helper(); assert.Nil(t, spec) },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			if tc.config != nil {
				tc.config(&config)
			}
			objects, err := NewObjects(&config, newPipeline(tc.edit), mysql())
			require.NoError(t, err, tc.reason)
			if objects.CronJob == nil {
				tc.check(t, nil)
				return
			}
			tc.check(t, &objects.CronJob.Spec)
		})
	}
}

func variableOf(t *testing.T, spec corev1.PodSpec, name string) corev1.EnvVar {
	t.Helper()
	for _, variable := range spec.Containers[0].Env {
		if variable.Name == name {
			return variable
		}
	}
	t.Fatalf("there is no variable %s", name)
	return corev1.EnvVar{}
}

func TestRenderAsksForTheService(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "mysql_prod", "nightly")
	client, err := New(nil, server.Client(t), DefaultConfig())
	require.NoError(t, err)
	objects, err := client.render(t.Context(), &client.config, newPipeline(), nil)
	require.NoError(t, err)
	assert.Contains(t, objects.ConfigMap.Data["config"], `"type": "customdatabase"`, "the source's type is the service's")

	_, err = client.render(t.Context(), &client.config, newPipeline(func(p *omapi.IngestionPipeline) { p.Service.Name = "nowhere" }), nil)
	require.ErrorIs(t, err, omapi.ErrNotFound)
	_, err = client.render(t.Context(), &client.config, newPipeline(func(p *omapi.IngestionPipeline) {
		p.PipelineType, p.Service = omapi.PipelineApplication, omapi.EntityReference{Name: "OpenMetadata", Type: "metadataService"}
		p.SourceConfig = map[string]any{"config": map[string]any{"sourcePythonClass": "a.B"}}
	}), nil)
	require.NoError(t, err, "an application needs no service")
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		edit   func(*omapi.IngestionPipeline)
		is     error
		want   string
	}{
		"Type":         {reason: "an unknown type would be found out by main.py", edit: func(p *omapi.IngestionPipeline) { p.PipelineType = "teleport" }, is: workflow.ErrUnsupportedType, want: `mysql_prod.nightly: pipeline type is not supported: "teleport"; it is one of TestSuite, application`},
		"NoConnection": {reason: "a run without a server can tell nobody", edit: func(p *omapi.IngestionPipeline) { p.OpenMetadataServerConnection = nil }, is: workflow.ErrNoConnection, want: "mysql_prod.nightly"},
		"Schedule":     {reason: "the controller would refuse it in silence", edit: func(p *omapi.IngestionPipeline) { p.AirflowConfig.ScheduleInterval = "often" }, is: ErrSchedule, want: "mysql_prod.nightly"},
		"Size": {
			reason: "Linux would refuse to start the container",
			edit: func(p *omapi.IngestionPipeline) {
				p.SourceConfig = map[string]any{"config": map[string]any{"x": strings.Repeat("x", 1<<17)}}
			},
			is:   ErrTooLarge,
			want: "the limit is 131071",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := New(nil, nil, DefaultConfig())
			require.NoError(t, err)
			_, err = client.render(t.Context(), &client.config, newPipeline(tc.edit), mysql())
			require.ErrorContains(t, err, tc.want, tc.reason)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is, tc.reason)
			}
			assert.NotContains(t, err.Error(), botToken)
		})
	}
}

func TestUsersLabelsAndVariablesDoNotHideARun(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.PodLabels = map[string]string{identity.LabelRunID: "not-yours", identity.LabelPipeline: "not-yours", "team": "data"}
	config.PodAnnotations = map[string]string{identity.AnnotationFQN: "not-yours"}
	job := NewJob(&config, newPipeline(), testRunID, testTimestamp)
	template := job.Spec.Template
	assert.Equal(t, testRunID, template.Labels[identity.LabelRunID])
	assert.Equal(t, "nightly", template.Labels[identity.LabelPipeline])
	assert.Equal(t, "data", template.Labels["team"])
	assert.Equal(t, "mysql_prod.nightly", template.Annotations[identity.AnnotationFQN])
	assert.Equal(t, testRunID, variableOf(t, template.Spec, identity.EnvRunID).Value)
	assert.Equal(t, job.Name, variableOf(t, template.Spec, identity.EnvJobName).Value)
	assert.Equal(t, "1700000000123", job.Annotations[identity.AnnotationTimestamp])
}

// TestDollarInAName: Kubernetes replaces $(NAME) in a variable's value, and makes $ of $$.
func TestDollarInAName(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.ExtraEnvVars = []corev1.EnvVar{{Name: "URL", Value: "http://$(namespace)/"}}
	for name, want := range map[string]string{"a$b": "svc.a$$b", "a$$b": "svc.a$$$$b", "$(pipelineType)": "svc.$$(pipelineType)"} {
		objects, err := NewObjects(&config, newPipeline(func(p *omapi.IngestionPipeline) { p.Name, p.FullyQualifiedName = name, "svc."+name }), mysql())
		require.NoError(t, err)
		pod := objects.CronJob.Spec.JobTemplate.Spec.Template.Spec
		assert.Equal(t, want, variableOf(t, pod, identity.EnvPipelineFQN).Value, "it is read as svc.%s", name)
		assert.Equal(t, "http://$(namespace)/", variableOf(t, pod, "URL").Value, "the user's own are Kubernetes'")
	}
}
