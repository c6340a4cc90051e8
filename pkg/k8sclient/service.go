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
// Errors are ErrNotDeployed, ErrNotOurs, ErrStale, ErrNothingToKill, ErrNoLogs, ErrNoPage, ErrNoOverride, ErrNoRevision and
// ErrConfig, by errors.Is; *Error for a call to Kubernetes; and those of package omapi.
type PipelineService interface { //nolint:interfacebloat // OpenMetadata's own has as many.
	// Deploy is deployPipeline.
	Deploy(ctx context.Context, pipeline *omapi.IngestionPipeline, options DeployOptions) (*DeployResult, error)
	// Run is runPipeline, runPipelineWithOptions and, for the pipeline of an application, runApplicationFlow.
	Run(ctx context.Context, fqn string, options RunOptions) (*RunResult, error)
	// RunAutomation is runAutomationsWorkflow.
	RunAutomation(ctx context.Context, entity json.RawMessage) (*RunResult, error)
	// Toggle is toggleIngestion; SetEnabled says which state is wanted.
	Toggle(ctx context.Context, fqn string) (*ToggleResult, error)
	SetEnabled(ctx context.Context, fqn string, enabled bool) (*ToggleResult, error)
	// Kill is killIngestion, and killIngestionRun where a run is named.
	Kill(ctx context.Context, fqn, runID string) ([]KillResult, error)
	// Delete is deletePipeline.
	Delete(ctx context.Context, fqn string) (*DeleteResult, error)
	// QueuedRuns is getQueuedPipelineStatus.
	QueuedRuns(ctx context.Context, fqn string) ([]QueuedRun, error)
	// LogPage is getLastIngestionLogs, and getIngestionLogs where a run is named; Logs is for people.
	LogPage(ctx context.Context, fqn, runID, after string) (map[string]string, error)
	Logs(ctx context.Context, fqn string, options LogOptions, out io.Writer) error
	// Health is getServiceStatus.
	Health(ctx context.Context) *Health
	// HostIP is getHostIp.
	HostIP() string
}

var _ PipelineService = (*Client)(nil)
