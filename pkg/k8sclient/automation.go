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
	return c.runEntity(ctx, known, entity, meta, automationDeadline, "python", "run_automation.py")
}

// RunApplication runs an application once. The entity is the App as OpenMetadata has it, whose pipeline, if it has one, is not
// asked; a pipeline of type application is run by Run, and has a record.
func (c *Client) RunApplication(ctx context.Context, entity json.RawMessage) (*RunResult, error) {
	known, err := parseEntity("application", "App", entity)
	if err != nil {
		return nil, err
	}
	runID := uuid.NewString()
	meta := c.entityMeta("application", identity.ApplicationName(known.Name, runID), runID)
	meta.Labels[identity.LabelAppName] = identity.LabelValue(known.Name)
	return c.runEntity(ctx, known, entity, meta, c.config.ActiveDeadlineSeconds, "python", "-m", "metadata.applications.runner")
}

// ValidateApplication checks whether an application could be run.
func (c *Client) ValidateApplication(entity json.RawMessage) error {
	_, err := parseEntity("application", "App", entity)
	return err
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
	if size := len(identity.EnvConfig) + 1 + len(entity); size > maxVariable {
		return nil, fmt.Errorf("%s %s has %d bytes, a container's variable can have %d", what, known.Name, size, maxVariable)
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

// runEntity makes a Job whose pod reads an entity, from a Secret: it holds the source's password.
func (c *Client) runEntity(ctx context.Context, known *named, entity json.RawMessage, meta metav1.ObjectMeta, deadline int64, command ...string) (*RunResult, error) {
	config := &c.config
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
	secret.Data[secretKey] = entity
	if err := c.createWithSecret(ctx, job, secret); err != nil {
		return nil, err
	}
	return &RunResult{FQN: known.FQN, RunID: meta.Labels[identity.LabelRunID], JobName: meta.Name}, nil
}
