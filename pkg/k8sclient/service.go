package k8sclient

import (
	"context"
	"encoding/json"
	"io"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// PipelineService is what a server needs of whoever runs its pipelines: the operations of OpenMetadata's
// PipelineServiceClientInterface. *Client is one on Kubernetes.
//
// Errors are ErrNotDeployed, ErrNotOurs, ErrStale, ErrNoServer, ErrNothingToKill, ErrNoCronJob, ErrNoLogs, ErrNoPage,
// ErrNoOverride, ErrNoRevision and ErrConfig, by errors.Is; *Error for a call to Kubernetes; and those of package omapi.
type PipelineService interface { //nolint:interfacebloat // OpenMetadata's own has as many.
	// Deploy is deployPipeline.
	Deploy(ctx context.Context, pipeline *omapi.IngestionPipeline, options DeployOptions) (*DeployResult, error)
	// Run is runPipeline and runPipelineWithOptions.
	Run(ctx context.Context, fqn string, options RunOptions) (*RunResult, error)
	// RunAutomation is runAutomationsWorkflow.
	RunAutomation(ctx context.Context, entity json.RawMessage) (*RunResult, error)
	// RunApplication is runApplicationFlow, ValidateApplication is validateAppRegistration.
	RunApplication(ctx context.Context, entity json.RawMessage) (*RunResult, error)
	ValidateApplication(entity json.RawMessage) error
	// Toggle is toggleIngestion; SetEnabled says which state is wanted.
	Toggle(ctx context.Context, fqn string) (*ToggleResult, error)
	SetEnabled(ctx context.Context, fqn string, enabled bool) (*ToggleResult, error)
	// Kill is killIngestion, and killIngestionRun where a run is named.
	Kill(ctx context.Context, fqn, runID string) ([]KillResult, error)
	// Delete is deletePipeline, by force or not.
	Delete(ctx context.Context, fqn string, options DeleteOptions) (*DeleteResult, error)
	// QueuedRuns is getQueuedPipelineStatus.
	QueuedRuns(ctx context.Context, fqn string) ([]QueuedRun, error)
	// LogPage is getLastIngestionLogs, and getIngestionLogs where a run is named; Logs is for people.
	LogPage(ctx context.Context, fqn, runID, after string) (map[string]string, error)
	Logs(ctx context.Context, fqn string, options LogOptions, out io.Writer) error
	// Health is getServiceStatus.
	Health(ctx context.Context) *Health
	// HostIP is getHostIp.
	HostIP() string
	// Platform is getPlatform.
	Platform() string
	// PinsCredentialsAtDeployTime is of the same name.
	PinsCredentialsAtDeployTime() bool
}

var _ PipelineService = (*Client)(nil)

// Platform is the name by which OpenMetadata shows where pipelines run.
func (c *Client) Platform() string { return "Kubernetes" }

// PinsCredentialsAtDeployTime says that runs use the token which the pipeline was deployed with: when the bot's token is
// replaced, pipelines have to be deployed again. RunOptions.Token gives one run another.
func (c *Client) PinsCredentialsAtDeployTime() bool { return true }
