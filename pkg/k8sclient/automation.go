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
	var workflow struct {
		Name string `json:"name"`
		FQN  string `json:"fullyQualifiedName"`
	}
	if err := json.Unmarshal(entity, &workflow); err != nil {
		return nil, fmt.Errorf("the automation workflow is not JSON of the entity Workflow: %w", err)
	}
	if workflow.Name == "" {
		return nil, errors.New("the automation workflow has no name")
	}
	if size := len(identity.EnvConfig) + 1 + len(entity); size > maxVariable {
		return nil, fmt.Errorf("automation workflow %s has %d bytes, a container's variable can have %d", workflow.Name, size, maxVariable)
	}
	runID := uuid.NewString()
	name := identity.AutomationName(workflow.Name, runID)
	meta := metav1.ObjectMeta{
		Name: name, Namespace: c.config.Namespace,
		Labels: map[string]string{
			identity.LabelName: openMetadata, identity.LabelComponent: "automation", identity.LabelManagedBy: openMetadata,
			identity.LabelRunID: runID,
		},
	}
	secret := &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kindSecret}, ObjectMeta: *meta.DeepCopy(), Type: corev1.SecretTypeOpaque,
		Data: secretVariables(&c.config),
	}
	secret.Data[secretKey] = entity // It holds the source's password.
	if err := c.createWithSecret(ctx, c.automationJob(meta, name), secret); err != nil {
		return nil, err
	}
	return &RunResult{FQN: workflow.FQN, RunID: runID, JobName: name}, nil
}

func (c *Client) automationJob(meta metav1.ObjectMeta, secret string) *batchv1.Job {
	config := &c.config
	env := append([]corev1.EnvVar{{Name: identity.EnvConfig, ValueFrom: secretRef(secret, secretKey)}}, extraVariables(config, secret)...)
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			// Somebody waits for the answer: a second try would come too late.
			BackoffLimit:            new(int32),
			ActiveDeadlineSeconds:   new(int64(automationDeadline)),
			TTLSecondsAfterFinished: &config.TTLSecondsAfterFinished,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: podMeta(config, meta),
				Spec:       basePodSpec(config, env, "python", "run_automation.py"),
			},
		},
	}
}
