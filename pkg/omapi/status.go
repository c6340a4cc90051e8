package omapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// PipelineState is the state of a run, as OpenMetadata's schema pipelineState names it.
type PipelineState string

// The states that a server accepts.
const (
	StateQueued         PipelineState = "queued"
	StateRunning        PipelineState = "running"
	StateSuccess        PipelineState = "success"
	StatePartialSuccess PipelineState = "partialSuccess"
	StateFailed         PipelineState = "failed"
	StateStopped        PipelineState = "stopped"
)

// Terminal says whether the state is one that a run ends in.
func (s PipelineState) Terminal() bool {
	switch s {
	case StateSuccess, StatePartialSuccess, StateFailed, StateStopped:
		return true
	case StateQueued, StateRunning:
		return false
	default:
		return false
	}
}

// Known says whether the state is one of the schema's.
func (s PipelineState) Known() bool {
	return s == StateQueued || s == StateRunning || s.Terminal()
}

// PipelineStatus is the record of one run. The server replaces the whole record on a write, so fields that this
// client does not know are kept and written back.
//
//nolint:recvcheck // encoding/json wants a value to marshal and a pointer to unmarshal.
type PipelineStatus struct {
	RunID string        `json:"runId,omitempty"`
	State PipelineState `json:"pipelineState,omitempty"`
	// StartDate, EndDate and Timestamp are milliseconds since 1970. The server keys the record by Timestamp: it
	// stays what it is for the life of the run.
	StartDate int64           `json:"startDate,omitempty"`
	EndDate   int64           `json:"endDate,omitempty"`
	Timestamp int64           `json:"timestamp,omitempty"`
	Steps     []StepSummary   `json:"status,omitempty"`
	Config    json.RawMessage `json:"config,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`

	unknown map[string]json.RawMessage
}

// StepSummary is what one step of a run did.
type StepSummary struct {
	Name           string            `json:"name"`
	Records        int               `json:"records"`
	UpdatedRecords int               `json:"updated_records"`
	Warnings       int               `json:"warnings"`
	Errors         int               `json:"errors"`
	Filtered       int               `json:"filtered"`
	Failures       []StackTraceError `json:"failures,omitempty"`

	unknown map[string]json.RawMessage
}

// StackTraceError is one failure of a step. The server refuses one without Name or Error.
type StackTraceError struct {
	Name       string `json:"name"`
	Error      string `json:"error"`
	StackTrace string `json:"stackTrace,omitempty"`
}

// Cause is the newest failure that the record names, empty where it names none.
func (s *PipelineStatus) Cause() string {
	for _, step := range slices.Backward(s.Steps) {
		if n := len(step.Failures); n > 0 {
			return step.Failures[n-1].Name + ": " + step.Failures[n-1].Error
		}
	}
	return ""
}

// UnmarshalJSON keeps the fields that the type does not name.
func (s *PipelineStatus) UnmarshalJSON(data []byte) error {
	type plain PipelineStatus
	unknown, err := decodeKeeping(data, (*plain)(s), "runId", "pipelineState", "startDate", "endDate", "timestamp", "status", "config", "metadata")
	s.unknown = unknown
	return err
}

// MarshalJSON writes the kept fields back. Steps that have none are no Marshalers for encoding/json, which would read
// their text again: they hold long logs.
func (s PipelineStatus) MarshalJSON() ([]byte, error) {
	type (
		plain     PipelineStatus
		plainStep StepSummary
	)
	out := struct {
		plain

		Steps []any `json:"status,omitempty"`
	}{plain: plain(s)}
	for _, step := range s.Steps {
		if len(step.unknown) == 0 {
			out.Steps = append(out.Steps, plainStep(step))
		} else {
			out.Steps = append(out.Steps, step)
		}
	}
	return encodeKept(out, s.unknown)
}

// UnmarshalJSON keeps the fields that the type does not name.
func (s *StepSummary) UnmarshalJSON(data []byte) error {
	type plain StepSummary
	unknown, err := decodeKeeping(data, (*plain)(s), "name", "records", "updated_records", "warnings", "errors", "filtered", "failures")
	s.unknown = unknown
	return err
}

// MarshalJSON writes the kept fields back.
func (s StepSummary) MarshalJSON() ([]byte, error) {
	type plain StepSummary
	return encodeKept(plain(s), s.unknown)
}

func decodeKeeping(data []byte, known any, names ...string) (map[string]json.RawMessage, error) {
	if err := json.Unmarshal(data, known); err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	for _, name := range names {
		delete(all, name)
	}
	if len(all) == 0 {
		return nil, nil //nolint:nilnil // A nil map is an empty one.
	}
	return all, nil
}

func encodeKept(known any, unknown map[string]json.RawMessage) ([]byte, error) {
	data, err := json.Marshal(known)
	if err != nil || len(unknown) == 0 {
		return data, err
	}
	kept, err := json.Marshal(unknown)
	if err != nil {
		return nil, err
	}
	if len(data) == len("{}") {
		return kept, nil
	}
	// Two objects become one; no name is in both.
	data[len(data)-1] = ','
	return append(data, kept[1:]...), nil
}

// GetStatus reads the record of a run: ErrNoRecord where the run has none, ErrNotFound where the server does not
// know the pipeline, or the run id is not a UUID.
func (c *Client) GetStatus(ctx context.Context, fqn, runID string) (*PipelineStatus, error) {
	path, err := statusPath(fqn)
	if err != nil {
		return nil, err
	}
	var status PipelineStatus
	err = c.do(ctx, request{
		op:     fmt.Sprintf("read the status of run %s of pipeline %s", runID, fqn),
		method: http.MethodGet, path: path + "/" + escape(runID), into: &status,
	})
	if err != nil {
		return nil, err
	}
	return &status, nil
}

// PutStatus writes the whole record. ErrConflict: another run has the timestamp, or the record is there more than
// once, or another writer came first.
func (c *Client) PutStatus(ctx context.Context, fqn string, status *PipelineStatus) error {
	path, err := statusPath(fqn)
	if err != nil {
		return err
	}
	return c.do(ctx, request{
		op:     fmt.Sprintf("write the status %s of run %s of pipeline %s", status.State, status.RunID, fqn),
		method: http.MethodPut, path: path, body: status,
	})
}

// DeleteStatus removes all rows of a run's record; the pipeline is named by its id.
func (c *Client) DeleteStatus(ctx context.Context, pipelineID, runID string) error {
	return c.do(ctx, request{
		op:     fmt.Sprintf("delete the status of run %s of pipeline %s", runID, pipelineID),
		method: http.MethodDelete, path: pipelinesPath + "/" + escape(pipelineID) + "/pipelineStatus/" + escape(runID),
	})
}

// ListStatuses reads the latest records of a pipeline, newest first.
func (c *Client) ListStatuses(ctx context.Context, fqn string, limit int) ([]PipelineStatus, error) {
	path, err := statusPath(fqn)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data []PipelineStatus `json:"data"`
	}
	err = c.do(ctx, request{
		op:     "list the runs of pipeline " + fqn,
		method: http.MethodGet, path: path, query: url.Values{"limit": {strconv.Itoa(limit)}}, into: &answer,
	})
	return answer.Data, err
}

func statusPath(fqn string) (string, error) {
	if fqn == "" {
		return "", errNoFQN
	}
	return pipelinesPath + "/" + escape(fqn) + "/pipelineStatus", nil
}
