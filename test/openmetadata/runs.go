package openmetadata

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// maxWrites bounds the writes that are kept of one run.
const maxWrites = 500

// row is one stored pipeline status.
type row struct {
	status    map[string]any
	runID     string
	hasRunID  bool
	timestamp int64
}

// read returns the status as the server shows it: always with its list of steps.
func (r *row) read() map[string]any {
	out := map[string]any{fieldStatus: []any{}}
	maps.Copy(out, r.status)
	return out
}

// runs holds the status rows of all pipelines. Every method is one database statement: locked in itself, with nothing
// locked between two of them. That is what makes first writes race as on the real server.
type runs struct {
	mu     sync.Mutex
	rows   map[string][]*row // by pipeline id
	queued map[string][]map[string]any
	writes map[string]map[string][]admin.Write // by pipeline id and run id
}

func newRuns() *runs {
	r := &runs{}
	r.clear()
	return r
}

func (r *runs) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = map[string][]*row{}
	r.queued = map[string][]map[string]any{}
	r.writes = map[string]map[string][]admin.Write{}
}

// latest returns the row of a run with the greatest timestamp, or nil.
func (r *runs) latest(pipeline, runID string) *row {
	for _, candidate := range r.list(pipeline) {
		if candidate.hasRunID && candidate.runID == runID {
			return candidate
		}
	}
	return nil
}

// list returns the rows of a pipeline, newest first by timestamp.
func (r *runs) list(pipeline string) []*row {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.rows[pipeline])
	slices.SortStableFunc(out, func(a, b *row) int {
		switch {
		case a.timestamp > b.timestamp:
			return -1
		case a.timestamp < b.timestamp:
			return 1
		}
		return 0
	})
	return out
}

// insert adds a row; (pipeline, timestamp) is unique.
func (r *runs) insert(pipeline string, fresh *row) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.rows[pipeline] {
		if other.timestamp == fresh.timestamp {
			return errExists()
		}
	}
	r.rows[pipeline] = append(r.rows[pipeline], fresh)
	return nil
}

// update replaces every row of the run. When a race left several, all get the same timestamp, which the unique key
// refuses: such a run answers 409 until it is deleted.
func (r *runs) update(pipeline string, fresh *row) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var mine []int
	for i, other := range r.rows[pipeline] {
		switch {
		case other.hasRunID && other.runID == fresh.runID:
			mine = append(mine, i)
		case other.timestamp == fresh.timestamp:
			return errExists()
		}
	}
	if len(mine) > 1 {
		return errExists()
	}
	for _, i := range mine {
		r.rows[pipeline][i] = fresh
	}
	return nil
}

// deleteRun removes every row of a run.
func (r *runs) deleteRun(pipeline, runID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows[pipeline] = slices.DeleteFunc(slices.Clone(r.rows[pipeline]), func(other *row) bool {
		return other.hasRunID && other.runID == runID
	})
}

// deletePipeline removes every row of a pipeline.
func (r *runs) deletePipeline(pipeline string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rows, pipeline)
	delete(r.queued, pipeline)
}

func (r *runs) setQueued(pipeline string, statuses []map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued[pipeline] = statuses
}

func (r *runs) queuedOf(pipeline string) []map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.queued[pipeline])
}

// note keeps a write that was tried, also a refused one.
func (r *runs) note(pipeline, runID string, write admin.Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writes[pipeline] == nil {
		r.writes[pipeline] = map[string][]admin.Write{}
	}
	if kept := r.writes[pipeline][runID]; len(kept) < maxWrites {
		r.writes[pipeline][runID] = append(kept, write)
	}
}

func (r *runs) writesOf(pipeline, runID string) []admin.Write {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]admin.Write{}, r.writes[pipeline][runID]...)
}

// view returns the runs of a pipeline as the admin API shows them, newest first.
func (r *runs) view(pipeline string) ([]admin.Run, error) {
	out := []admin.Run{}
	index := map[string]int{}
	var problems []error
	for _, stored := range r.list(pipeline) {
		raw, err := json.Marshal(stored.read())
		problems = append(problems, err)
		if at, seen := index[stored.runID]; seen && stored.hasRunID {
			out[at].Rows = append(out[at].Rows, raw)
			continue
		}
		state, _ := stored.status["pipelineState"].(string)
		index[stored.runID] = len(out)
		out = append(out, admin.Run{
			RunID: stored.runID, State: state, Timestamp: stored.timestamp,
			StartDate: millis(stored.status["startDate"]), EndDate: millis(stored.status["endDate"]),
			Cause: newestFailure(stored.status), Rows: []json.RawMessage{raw}, Writes: r.writesOf(pipeline, stored.runID),
		})
	}
	return out, errors.Join(problems...)
}

// newestFailure is what the product takes for the cause too.
func newestFailure(status map[string]any) *admin.Cause {
	steps, _ := status[fieldStatus].([]any)
	for _, item := range slices.Backward(steps) {
		step, _ := item.(map[string]any)
		failures, _ := step["failures"].([]any)
		for _, entry := range slices.Backward(failures) {
			failure, _ := entry.(map[string]any)
			cause := &admin.Cause{}
			cause.Step, _ = step[fieldName].(string)
			cause.Name, _ = failure[fieldName].(string)
			cause.Error, _ = failure["error"].(string)
			return cause
		}
	}
	return nil
}
