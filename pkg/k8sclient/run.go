package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// RunResult says which run was started.
type RunResult struct {
	FQN     string `json:"fullyQualifiedName"`
	RunID   string `json:"runId"`
	JobName string `json:"jobName"`
}

// RunOptions are how a run differs from the pipeline that is deployed.
type RunOptions struct {
	// AppConfig is put over the appConfig of an application, field by field; other pipelines have none.
	AppConfig map[string]any
	// Token is the ingestion bot's for this run; empty: the one that the pipeline was deployed with, which may have been
	// replaced since.
	Token string
}

// Run starts a deployed pipeline now. Its Job is created first, as one that cannot run; then the record is written, queued;
// then the Job is let run. A run of which any of it fails does not start, whatever of it takes effect late, and its record
// is failed, with the cause. A command that is interrupted leaves the Job, from which the next one for the pipeline, or
// pipelinectl serve, finishes that.
func (c *Client) Run(ctx context.Context, fqn string, options RunOptions) (*RunResult, error) {
	configMap, names, err := c.configMap(ctx, fqn)
	if err != nil {
		return nil, err
	}
	pipeline, err := pipelineOf(configMap)
	if err != nil {
		return nil, err
	}
	keys, err := c.checkSecret(ctx, configMap, fqn, names)
	if err != nil {
		return nil, err
	}
	config, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	if c.om == nil {
		return nil, fmt.Errorf("run pipeline %s: %w", fqn, ErrNoServer)
	}
	if err := c.finishLeft(ctx, pipelineSelector(names)); err != nil {
		return nil, fmt.Errorf("finish an earlier command that was interrupted: %w", err)
	}
	runID := c.newRunID(ctx)
	own, err := c.overridden(ctx, configMap, pipeline, names, runID, options)
	if err != nil {
		return nil, err
	}
	job := NewJob(config, pipeline, runID, time.Now().UnixMilli())
	renameJob(job, identity.NamesOf(pipeline.Name, fqn), names)
	keys.use(&job.Spec, names.Secret)
	if own != nil {
		useConfiguration(job, own.Name)
	}
	if err := checkRun(job, configMap, own); err != nil {
		return nil, fmt.Errorf("run pipeline %s: %w", fqn, err)
	}
	if err := c.newStart(fqn, runID, job, own).run(ctx); err != nil {
		return nil, err
	}
	return &RunResult{FQN: fqn, RunID: runID, JobName: job.Name}, nil
}

// checkSecret refuses a run whose pod would wait for ever: its secret values, and those of variables, are in the Secret of the
// deploy. It gives the Secret's keys of the variables, by the keys of a first deploy.
func (c *Client) checkSecret(ctx context.Context, configMap *corev1.ConfigMap, fqn string, names identity.ObjectNames) (variableKeys, error) {
	objects := &parts{fqn: fqn, names: names, configMap: configMap}
	found, err := c.secrets().get(ctx, names.Secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, c.failed("read Secret "+names.Secret, err)
	}
	secret, _ := found.(*corev1.Secret)
	if secret != nil {
		objects.secret = secret
	}
	if err := objects.checkRunnable(); err != nil {
		return nil, err
	}
	wanted := secretVariables(&c.config)
	keys, missing := findVariables(wanted, secret.Data)
	if len(missing) > 0 {
		name, _, _ := parseVariableKey(missing[0])
		if newestVersion(secret.Data, name) == 0 {
			return nil, fmt.Errorf("%w: it was deployed without variable %s of extraEnvVars; deploy pipeline %s again", ErrStale, name, fqn)
		}
		return nil, fmt.Errorf("%w: it was deployed with another value of variable %s of extraEnvVars; deploy pipeline %s again", ErrStale, name, fqn)
	}
	return keys, nil
}

// createJob makes a run's Job. It answers an error only if the Job is not there, or a *jobLeftError.
func (c *Client) createJob(ctx context.Context, job *batchv1.Job) (*batchv1.Job, error) {
	created, err := c.jobClient().create(ctx, job)
	if err == nil {
		made, _ := created.(*batchv1.Job)
		return made, nil
	}
	err = c.failed("create Job "+job.Name, err)
	if !apierrors.IsAlreadyExists(err) && !uncertain(err) {
		return nil, err
	}
	// An answer was lost, or time is over: the run id is in the name, so it is this very Job where it is there.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.undoTimeout)
	defer cancel()
	existing, getErr := c.jobClient().get(ctx, job.Name)
	switch {
	case getErr != nil:
		// Also if it is not there: the API server may still be at it.
		return nil, &jobLeftError{job.Name, errors.Join(err, getErr)}
	case existing.GetLabels()[identity.LabelRunID] != job.Labels[identity.LabelRunID]:
		return nil, err
	}
	made, _ := existing.(*batchv1.Job)
	return made, nil
}
