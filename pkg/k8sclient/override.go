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
func (c *Client) overridden(ctx context.Context, configMap *corev1.ConfigMap, pipeline *omapi.IngestionPipeline, names identity.ObjectNames, runID string, options RunOptions) (*corev1.Secret, error) {
	if len(options.AppConfig) == 0 && options.Token == "" {
		return nil, nil //nolint:nilnil // The usual run has none.
	}
	if len(options.AppConfig) > 0 && pipeline.PipelineType != omapi.PipelineApplication {
		return nil, fmt.Errorf("pipeline %s, type %s: %w", pipeline.FQN(), pipeline.PipelineType, ErrNoOverride)
	}
	secret, err := c.kube.CoreV1().Secrets(c.config.Namespace).Get(ctx, names.Secret, metav1.GetOptions{})
	if err != nil {
		return nil, c.failed("read Secret "+names.Secret, err)
	}
	full, err := wholeOf(configMap, secret)
	if err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	if len(options.AppConfig) > 0 {
		merged, _ := full["appConfig"].(map[string]any)
		merged = maps.Clone(merged)
		if merged == nil {
			merged = map[string]any{}
		}
		maps.Copy(merged, options.AppConfig)
		full["appConfig"] = merged
	}
	token, err := omapi.CleanToken(options.Token)
	if err != nil {
		return nil, err
	}
	if token != "" {
		connection := connectionOf(full)
		if connection == nil {
			return nil, fmt.Errorf("pipeline %s was deployed without a connection to OpenMetadata; deploy it again", pipeline.FQN())
		}
		connection["securityConfig"] = map[string]any{"jwtToken": token}
	}
	return c.runSecret(pipeline, names, runID, full)
}

// runSecret holds the whole configuration of one run: an override may hold a secret. It has the name of the run's Job.
func (c *Client) runSecret(pipeline *omapi.IngestionPipeline, names identity.ObjectNames, runID string, full workflow.Config) (*corev1.Secret, error) {
	publicYAML, overlayYAML, err := halves(&c.config, full, pipeline)
	if err != nil {
		return nil, err
	}
	meta := objectMeta(&c.config, pipeline, identity.JobName(pipeline.Name, pipeline.FQN(), runID))
	meta.Labels[identity.LabelRunID], meta.Labels[identity.LabelPipeline] = runID, names.Label
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kindSecret}, ObjectMeta: meta, Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{
			publicKey: []byte(publicYAML), fingerprintKey: []byte(workflow.Fingerprint(publicYAML)), secretKey: []byte(overlayYAML),
		},
	}, nil
}

// useConfiguration makes a Job read the Secret of its run in place of the pipeline's objects. The sidecar too: it reports
// by the connection of the run.
func useConfiguration(job *batchv1.Job, secret string) {
	spec := &job.Spec.Template.Spec
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			env := containers[i].Env
			for k := range env {
				switch env[k].Name {
				case identity.EnvConfig:
					env[k].ValueFrom = secretRef(secret, publicKey)
				case identity.EnvConfigFingerprint:
					env[k].ValueFrom = secretRef(secret, fingerprintKey)
				case identity.EnvPreviousSecret:
					env[k].ValueFrom = optionalSecretRef(secret, previousKey)
				case identity.EnvConfigSecret:
					env[k].ValueFrom = secretRef(secret, secretKey)
				}
			}
		}
	}
}

// createWithSecret makes a Job, and the Secret that only its pods read. The Job comes first, so that the Secret is made with
// its owner and goes with it, whatever happens here: it may hold the password of a source. A pod takes longer to come to
// its containers than the Secret takes to be there, and waits for it where it does not.
func (c *Client) createWithSecret(ctx context.Context, job *batchv1.Job, secret *corev1.Secret) error {
	created, err := c.createJob(ctx, job)
	if err != nil || secret == nil {
		return err
	}
	// Nothing waits for the Secret before the Job goes: to block its deletion would need update on jobs/finalizers where
	// OwnerReferencesPermissionEnforcement is on, as in OpenShift.
	secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion(job), Kind: kindOf(job), Name: created.GetName(), UID: created.GetUID()}}
	_, err = c.secrets().create(ctx, secret)
	if err == nil || apierrors.IsAlreadyExists(err) { // Its name is the run's: an answer was lost.
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.undoTimeout)
	defer cancel()
	err = c.failed("create Secret "+secret.Name, err)
	if undoErr := c.jobClient().delete(ctx, job.Name, metav1.DeletePropagationBackground, thisOne(created)); undoErr != nil && !apierrors.IsNotFound(undoErr) {
		return errors.Join(err, &jobLeftError{job.Name, undoErr})
	}
	return err
}

// jobLeftError is a Job that may be there though it shall not. Whether its run has started only it can tell.
type jobLeftError struct {
	job string
	err error
}

func (e *jobLeftError) Error() string {
	return fmt.Sprintf("whether Job %[1]s was made is not known; where it is not wanted, kubectl delete job %[1]s in its namespace: %[2]v", e.job, e.err)
}

func (e *jobLeftError) Unwrap() error { return e.err }
