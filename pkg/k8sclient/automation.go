package k8sclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// automationDeadline ends a test of a connection that nobody waits for any more, in seconds.
const automationDeadline = 600

// RunAutomation runs an automation workflow, such as the test of a connection, once. The entity is the Workflow as
// OpenMetadata has it; the process stores its result there. It has no record of a pipeline, as it is none.
func (c *Client) RunAutomation(ctx context.Context, entity json.RawMessage) (*RunResult, error) {
	known, err := parseEntity("automation workflow", "Workflow", entity)
	if err != nil {
		return nil, err
	}
	runID := uuid.NewString()
	meta := c.entityMeta("automation", identity.AutomationName(known.Name, runID), runID)
	run, err := c.newEntityRun(known, entity, meta, automationDeadline, "python", "run_automation.py")
	if err != nil {
		return nil, err
	}
	return c.runEntity(ctx, run)
}

// RunApplication runs an application once. The entity is the App as OpenMetadata has it, whose pipeline, if it has one, is not
// asked; a pipeline of type application is run by Run, and has a record.
func (c *Client) RunApplication(ctx context.Context, entity json.RawMessage) (*RunResult, error) {
	run, err := c.newApplicationRun(entity)
	if err != nil {
		return nil, err
	}
	return c.runEntity(ctx, run)
}

// ValidateApplication checks whether an application could be run.
func (c *Client) ValidateApplication(entity json.RawMessage) error {
	_, err := c.newApplicationRun(entity)
	return err
}

func (c *Client) newApplicationRun(entity json.RawMessage) (*entityRun, error) {
	known, err := parseEntity("application", "App", entity)
	if err != nil {
		return nil, err
	}
	runID := uuid.NewString()
	meta := c.entityMeta("application", identity.ApplicationName(known.Name, runID), runID)
	meta.Labels[identity.LabelAppName] = identity.LabelValue(known.Name)
	return c.newEntityRun(known, entity, meta, c.config.ActiveDeadlineSeconds, "python", "-m", "metadata.applications.runner")
}

// named is what is read of an entity that the pod reads whole.
type named struct {
	Name string `json:"name"`
	FQN  string `json:"fullyQualifiedName"`
}

func parseEntity(what, kind string, entity json.RawMessage) (*named, error) {
	var known named
	if err := json.Unmarshal(entity, &known); err != nil {
		return nil, fmt.Errorf("the %s is not JSON of the entity %s: %w", what, kind, err)
	}
	if known.Name == "" {
		return nil, errors.New("the " + what + " has no name")
	}
	var whole workflow.Config
	if err := json.Unmarshal(entity, &whole); err != nil {
		return nil, fmt.Errorf("the %s is not JSON of the entity %s: %w", what, kind, err)
	}
	if err := workflow.CheckMasks(whole); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, known.Name, err)
	}
	return &known, nil
}

func (c *Client) entityMeta(component, name, runID string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: c.config.Namespace,
		Labels: map[string]string{
			identity.LabelName: openMetadata, identity.LabelComponent: component, identity.LabelManagedBy: openMetadata,
			identity.LabelRunID: runID,
		},
	}
}

// entityRun is a Job whose pod reads an entity, from a Secret: it holds the source's password.
type entityRun struct {
	known  *named
	job    *batchv1.Job
	secret *corev1.Secret
}

func (c *Client) newEntityRun(known *named, entity json.RawMessage, meta metav1.ObjectMeta, deadline int64, command ...string) (*entityRun, error) {
	config := &c.config
	// The process reads it as YAML, as it does a pipeline's configuration.
	text, err := workflow.Recode(entity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", known.Name, err)
	}
	env := append([]corev1.EnvVar{{Name: identity.EnvConfig, ValueFrom: secretRef(meta.Name, secretKey)}}, extraVariables(config, meta.Name)...)
	job := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			// Somebody waits for the answer: a second try would come too late.
			BackoffLimit:            new(int32),
			ActiveDeadlineSeconds:   &deadline,
			TTLSecondsAfterFinished: &config.TTLSecondsAfterFinished,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: podMeta(config, meta),
				Spec:       basePodSpec(config, env, command...),
			},
		},
	}
	secret := &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kindSecret}, ObjectMeta: *meta.DeepCopy(), Type: corev1.SecretTypeOpaque,
		Data: secretVariables(config),
	}
	secret.Data[secretKey] = []byte(text)
	if err := checkRun(job, nil, secret); err != nil {
		return nil, fmt.Errorf("%s: %w", known.Name, err)
	}
	return &entityRun{known: known, job: job, secret: secret}, nil
}

func (c *Client) runEntity(ctx context.Context, run *entityRun) (*RunResult, error) {
	if err := c.createWithSecret(ctx, run.job, run.secret); err != nil {
		return nil, err
	}
	return &RunResult{FQN: run.known.FQN, RunID: run.job.Labels[identity.LabelRunID], JobName: run.job.Name}, nil
}
