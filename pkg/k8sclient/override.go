package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// publicKey is the key, in the Secret of one run, of what a ConfigMap holds for the other runs.
const publicKey = "public"

// ErrNoOverride is an override for a pipeline that is no application; test with errors.Is.
var ErrNoOverride = errors.New("only an application's configuration can be changed for one run")

// overridden is the configuration of one run that differs from the pipeline's; nil where it does not.
func (c *Client) overridden(ctx context.Context, configMap *corev1.ConfigMap, pipeline *omapi.IngestionPipeline, names identity.ObjectNames, runID string, appConfig map[string]any) (*corev1.Secret, error) {
	if len(appConfig) == 0 {
		return nil, nil //nolint:nilnil // The usual run has none.
	}
	fqn := pipeline.FQN()
	if pipeline.PipelineType != omapi.PipelineApplication {
		return nil, fmt.Errorf("pipeline %s, type %s: %w", fqn, pipeline.PipelineType, ErrNoOverride)
	}
	name := names.Secret
	secret, err := c.kube.CoreV1().Secrets(c.config.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.failed("read Secret "+name, err)
	}
	public, err := workflow.Parse(configMap.Data[configKey])
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s: %w", configMap.Name, err)
	}
	overlay, err := workflow.ParseOverlay(string(secret.Data[secretKey]))
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	full, err := workflow.Merge(public, overlay)
	if err != nil {
		return nil, fmt.Errorf("pipeline %s: %w; deploy it again", fqn, err)
	}
	merged, _ := full["appConfig"].(map[string]any)
	merged = maps.Clone(merged)
	if merged == nil {
		merged = map[string]any{}
	}
	maps.Copy(merged, appConfig)
	full["appConfig"] = merged
	return c.runSecret(pipeline, names, runID, full)
}

// runSecret holds the whole configuration of one run: an override may hold a secret.
func (c *Client) runSecret(pipeline *omapi.IngestionPipeline, names identity.ObjectNames, runID string, full workflow.Config) (*corev1.Secret, error) {
	if err := checkSize(full, pipeline); err != nil {
		return nil, err
	}
	public, overlay := workflow.Split(full, c.config.SecretKeys...)
	publicYAML, err := public.YAML()
	if err != nil {
		return nil, err
	}
	overlayYAML, err := overlay.YAML()
	if err != nil {
		return nil, err
	}
	meta := objectMeta(&c.config, pipeline, identity.ApplicationName(pipeline.Name, runID))
	meta.Labels[identity.LabelRunID], meta.Labels[identity.LabelPipeline] = runID, names.Label
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kindSecret}, ObjectMeta: meta, Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{publicKey: []byte(publicYAML), secretKey: []byte(overlayYAML)},
	}, nil
}

// useConfiguration makes a Job read the Secret of its run in place of the pipeline's objects.
func useConfiguration(job *batchv1.Job, secret string) {
	env := job.Spec.Template.Spec.Containers[0].Env
	for i := range env {
		switch env[i].Name {
		case identity.EnvConfig:
			env[i].ValueFrom = secretRef(secret, publicKey)
		case identity.EnvConfigSecret:
			env[i].ValueFrom = secretRef(secret, secretKey)
		}
	}
}

// createWithSecret makes the Job, and before it the Secret of its run, which the Job then owns: it goes when the Job goes.
func (c *Client) createWithSecret(ctx context.Context, job *batchv1.Job, secret *corev1.Secret) error {
	if secret == nil {
		_, err := c.createJob(ctx, job)
		return err
	}
	secrets := c.kube.CoreV1().Secrets(c.config.Namespace)
	if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: FieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
		return c.failed("create Secret "+secret.Name, err)
	}
	created, err := c.createJob(ctx, job)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return errors.Join(err, c.secrets().delete(ctx, secret.Name, ""))
	}
	owned := secret.DeepCopy()
	owned.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(created, batchv1.SchemeGroupVersion.WithKind("Job"))}
	patch, err := applyPatch(owned, "")
	if err != nil {
		return fmt.Errorf("encode Secret %s: %w", secret.Name, err)
	}
	if _, _, err = c.secrets().apply(ctx, secret.Name, patch, true, false); err != nil {
		return c.failed("give Secret "+secret.Name+" to its Job", err)
	}
	return nil
}
