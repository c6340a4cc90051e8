package omapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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

// PipelineStatus is the record of one run. The server replaces the whole record on a write, so what this client does not
// know is kept, as the text that it came as, and written back.
//
//nolint:recvcheck // encoding/json wants a value to marshal and a pointer to unmarshal.
type PipelineStatus struct {
	RunID string
	State PipelineState
	// StartDate, EndDate and Timestamp are milliseconds since 1970. The server keys the record by Timestamp: it
	// stays what it is for the life of the run.
	StartDate, EndDate, Timestamp int64

	Steps            []Step
	Config, Metadata json.RawMessage

	unknown []member
}

type member struct {
	name string
	text json.RawMessage
}

// Step is one step of a record. A record can be 10 MiB large, of which a report needs the names of its steps: the rest
// stays the text that the server gave.
type Step struct {
	Name string

	text json.RawMessage
}

// NewStep is a step of our own.
func NewStep(summary StepSummary) Step {
	text, _ := json.Marshal(summary) //nolint:errchkjson // Strings and numbers always can be.
	return Step{Name: summary.Name, text: text}
}

// Summary decodes the step; of what a newer server may have there it gives as much as it can.
func (s Step) Summary() StepSummary {
	var out StepSummary
	_ = json.Unmarshal(s.text, &out) // As much as it can.
	return out
}

// Failure is the step's newest, without its stack trace; false where it has none.
func (s Step) Failure() (StackTraceError, bool) {
	var newest json.RawMessage
	for name, value := range members(s.text) {
		if name != "failures" {
			continue
		}
		for failure := range elements(value) {
			newest = failure
		}
	}
	var out struct {
		Name  string `json:"name"`
		Error string `json:"error"`
	}
	_ = json.Unmarshal(newest, &out) // As much as it can.
	return StackTraceError{Name: out.Name, Error: out.Error}, newest != nil
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
		if failure, ok := step.Failure(); ok {
			return failure.Name + ": " + failure.Error
		}
	}
	return ""
}

// UnmarshalJSON keeps what the type does not name.
func (s *PipelineStatus) UnmarshalJSON(text []byte) error { return s.parse(bytes.Clone(text)) }

// parse takes the text over.
func (s *PipelineStatus) parse(text json.RawMessage) error {
	if err := json.Unmarshal(text, &struct{}{}); err != nil {
		return err
	}
	*s = PipelineStatus{}
	for name, value := range members(text) {
		var err error
		switch name {
		case "runId":
			err = json.Unmarshal(value, &s.RunID)
		case "pipelineState":
			err = json.Unmarshal(value, &s.State)
		case "startDate":
			err = json.Unmarshal(value, &s.StartDate)
		case "endDate":
			err = json.Unmarshal(value, &s.EndDate)
		case "timestamp":
			err = json.Unmarshal(value, &s.Timestamp)
		case "status":
			for step := range elements(value) {
				s.Steps = append(s.Steps, Step{Name: nameOf(step), text: step})
			}
		case "config":
			s.Config = value
		case "metadata":
			s.Metadata = value
		default:
			s.unknown = append(s.unknown, member{name, value})
		}
		if err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
	}
	return nil
}

func nameOf(step json.RawMessage) (name string) {
	for key, value := range members(step) {
		if key == "name" {
			_ = json.Unmarshal(value, &name) // A name that is none is no name.
		}
	}
	return name
}

// MarshalJSON leaves out what is not set, and puts what was kept behind the rest.
func (s PipelineStatus) MarshalJSON() ([]byte, error) {
	known, err := json.Marshal(struct {
		RunID     string        `json:"runId,omitempty"`
		State     PipelineState `json:"pipelineState,omitempty"`
		StartDate int64         `json:"startDate,omitempty"`
		EndDate   int64         `json:"endDate,omitempty"`
		Timestamp int64         `json:"timestamp,omitempty"`
	}{s.RunID, s.State, s.StartDate, s.EndDate, s.Timestamp})
	if err != nil {
		return nil, err
	}
	kept := slices.Concat([]member{{"config", s.Config}, {"metadata", s.Metadata}}, s.unknown)
	size := len(known) + len(`,"status":[]`)
	for _, step := range s.Steps {
		size += len(step.text) + len(",")
	}
	for _, field := range kept {
		size += 2*len(field.name) + len(field.text) + len(`,"":`)
	}
	out := append(make([]byte, 0, size), known[:len(known)-1]...)
	for i, step := range s.Steps {
		if i == 0 {
			out = append(appendName(out, "status"), '[')
		} else {
			out = append(out, ',')
		}
		out = append(out, step.text...)
	}
	if len(s.Steps) > 0 {
		out = append(out, ']')
	}
	for _, field := range kept {
		if len(field.text) > 0 {
			out = append(appendName(out, field.name), field.text...)
		}
	}
	return append(out, '}'), nil
}

// appendName begins the next member of an object.
func appendName(object []byte, name string) []byte {
	if len(object) > len("{") {
		object = append(object, ',')
	}
	quoted, _ := json.Marshal(name) //nolint:errchkjson // Text always can be.
	return append(append(object, quoted...), ':')
}

// GetStatus reads the record of a run: ErrNoRecord where the run has none, ErrNotFound where the server does not
// know the pipeline, or the run id is not a UUID.
func (c *Client) GetStatus(ctx context.Context, fqn, runID string) (*PipelineStatus, error) {
	path, err := statusPath(fqn)
	if err != nil {
		return nil, err
	}
	var text json.RawMessage
	in := request{
		op:     fmt.Sprintf("read the status of run %s of pipeline %s", runID, fqn),
		method: http.MethodGet, path: path + "/" + escape(runID), into: &text,
	}
	if err := c.do(ctx, in); err != nil {
		return nil, err
	}
	var status PipelineStatus
	if err := status.parse(text); err != nil {
		return nil, c.notJSON(in, err)
	}
	if !strings.EqualFold(status.RunID, runID) {
		return nil, c.notJSON(in, fmt.Errorf("it is the record of run %q", status.RunID)) // A proxy may answer in JSON too.
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

// EachStatus goes through the latest records of a pipeline, newest first, and keeps none: a hundred can be larger than
// the memory. The first error of each ends it, and is returned as it is.
func (c *Client) EachStatus(ctx context.Context, fqn string, limit int, each func(*PipelineStatus) error) error {
	path, err := statusPath(fqn)
	if err != nil {
		return err
	}
	var ended error
	err = c.do(ctx, request{
		op:     "list the runs of pipeline " + fqn,
		method: http.MethodGet, path: path, query: url.Values{"limit": {strconv.Itoa(limit)}},
		into: func(data *json.Decoder) error {
			var status PipelineStatus
			if err := data.Decode(&status); err != nil {
				return err
			}
			ended = each(&status)
			return ended
		},
	})
	if ended != nil {
		return ended // It is not the server's.
	}
	return err
}

// ListStatuses reads the latest records of a pipeline, newest first.
func (c *Client) ListStatuses(ctx context.Context, fqn string, limit int) ([]PipelineStatus, error) {
	var statuses []PipelineStatus
	err := c.EachStatus(ctx, fqn, limit, func(status *PipelineStatus) error {
		statuses = append(statuses, *status)
		return nil
	})
	return statuses, err
}

// CountRows is how many rows the record of a run has among the latest of its pipeline: more than one where reporters wrote
// it first with different timestamps.
func (c *Client) CountRows(ctx context.Context, fqn, runID string) (int, error) {
	const latest = 100
	path, err := statusPath(fqn)
	if err != nil {
		return 0, err
	}
	count := 0
	err = c.do(ctx, request{
		op:     fmt.Sprintf("count the rows of run %s of pipeline %s", runID, fqn),
		method: http.MethodGet, path: path, query: url.Values{"limit": {strconv.Itoa(latest)}},
		into: func(data *json.Decoder) error {
			var row struct {
				RunID string `json:"runId"`
			}
			err := data.Decode(&row)
			if strings.EqualFold(row.RunID, runID) {
				count++
			}
			return err
		},
	})
	return count, err
}

func statusPath(fqn string) (string, error) {
	if fqn == "" {
		return "", errNoFQN
	}
	return pipelinesPath + "/" + escape(fqn) + "/pipelineStatus", nil
}
