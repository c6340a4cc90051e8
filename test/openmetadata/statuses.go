package openmetadata

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// defaultRuns is how many runs a list without parameters has.
const defaultRuns = 5

func statusFields() []string {
	return []string{"startDate", fieldStatus, "runId", "endDate", "pipelineState", "config", fieldTimestamp, "metadata"}
}

func stepFields() []string {
	return []string{
		fieldName, "records", "updated_records", "warnings", "errors", "filtered", "failures",
		"progress", "operationMetrics", "sourceTimeMs", "sinkTimeMs",
	}
}

func failureFields() []string { return []string{fieldName, "error", "stackTrace"} }

func pipelineStates() []string {
	return []string{"queued", "running", "success", "failed", "partialSuccess", "stopped"}
}

// parseStatus checks a status as the server's JSON reader and validator do.
func parseStatus(object map[string]any) (*row, error) {
	if err := unknownField(object, statusFields()); err != nil {
		return nil, err
	}
	parsed := &row{status: map[string]any{}}
	for field, value := range object {
		if value != nil {
			parsed.status[field] = value
		}
	}
	if state, has := parsed.status["pipelineState"]; has {
		if text, ok := state.(string); !ok || !slices.Contains(pipelineStates(), text) {
			return nil, badRequest("query param pipelineState must be one of %v", pipelineStates())
		}
	}
	switch id := parsed.status["runId"].(type) {
	case nil:
	case string:
		parsed.runID, parsed.hasRunID = id, true
	default:
		return nil, badRequest("Cannot deserialize runId from %T", id)
	}
	if err := parsed.checkTypes(); err != nil {
		return nil, err
	}
	parsed.timestamp, _ = parsed.status[fieldTimestamp].(int64)
	return parsed, checkSteps(parsed.status[fieldStatus])
}

// checkTypes checks the fields that are objects, and turns times into numbers.
func (r *row) checkTypes() error {
	for _, field := range []string{"config", "metadata"} {
		if value, has := r.status[field]; has {
			if _, ok := value.(map[string]any); !ok {
				return badRequest("Cannot deserialize %s from %T", field, value)
			}
		}
	}
	for _, field := range []string{"startDate", "endDate", fieldTimestamp} {
		number, err := toMillis(r.status[field])
		if err != nil {
			return err
		}
		if _, has := r.status[field]; has {
			r.status[field] = number
		}
	}
	return nil
}

func checkSteps(value any) error {
	return eachObject(fieldStatus, value, func(step map[string]any) error {
		if err := cmp.Or(unknownField(step, stepFields()), required(step, fieldStatus, fieldName)); err != nil {
			return err
		}
		return eachObject("failures", step["failures"], func(failure map[string]any) error {
			return cmp.Or(unknownField(failure, failureFields()), required(failure, "failures", fieldName, "error"))
		})
	})
}

func eachObject(name string, value any, check func(map[string]any) error) error {
	if value == nil {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		return badRequest("Cannot deserialize %s from %T", name, value)
	}
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			return badRequest("Cannot deserialize an item of %s from %T", name, item)
		}
		if err := check(object); err != nil {
			return err
		}
	}
	return nil
}

func required(object map[string]any, name string, fields ...string) error {
	for _, field := range fields {
		if object[field] == nil {
			return badRequest("[query param %s[].%s must not be null]", name, field)
		}
	}
	return nil
}

// putStatus stores a status: last write wins, without a look at the state before.
func (s *Server) putStatus(c *call) (*reply, error) {
	pipeline, err := s.store.byFQN(c.kind, c.params["fqn"], includeNonDeleted)
	if err != nil {
		return nil, err
	}
	object, err := decodeObject(c.body)
	if err != nil {
		return nil, err
	}
	fresh, err := parseStatus(object)
	if err != nil {
		return nil, err
	}
	c.record.RunID = fresh.runID
	before, err := s.storeStatus(c, pipeline, fresh)
	s.noteWrite(c, pipeline, fresh, err)
	if err != nil {
		return nil, err
	}
	return changeEvent(c, s.now(), pipeline, before, fresh)
}

// storeStatus is the server's "look for a row of this run, then insert or update", without a lock from one to the other.
func (s *Server) storeStatus(c *call, pipeline *entity, fresh *row) (*row, error) {
	var before *row
	if fresh.hasRunID {
		before = s.runs.latest(pipeline.id, fresh.runID)
	}
	s.pause(c.ctx, s.insertGap())
	switch {
	case fresh.status[fieldTimestamp] == nil:
		return nil, errors.New(`null value in column "timestamp" violates not-null constraint`)
	case hasNUL(fresh.status):
		return nil, errNUL()
	case before != nil:
		return before, s.runs.update(pipeline.id, fresh)
	}
	return nil, s.runs.insert(pipeline.id, fresh)
}

func (s *Server) noteWrite(c *call, pipeline *entity, fresh *row, err error) {
	status := http.StatusCreated
	if err != nil {
		status = errorReply(err).status
	}
	state, _ := fresh.status["pipelineState"].(string)
	s.runs.note(pipeline.id, fresh.runID, admin.Write{
		Time: c.record.Time, State: state, Status: status,
		UserAgent: c.record.UserAgent, Subject: c.user, Failures: countFailures(fresh.status),
	})
}

func countFailures(status map[string]any) int {
	count := 0
	steps, _ := status[fieldStatus].([]any)
	for _, item := range steps {
		step, _ := item.(map[string]any)
		failures, _ := step["failures"].([]any)
		count += len(failures)
	}
	return count
}

// changeEvent answers a status write. It repeats the status three times, as the server's answer does.
func changeEvent(c *call, now time.Time, pipeline *entity, before, fresh *row) (*reply, error) {
	field := map[string]any{fieldName: "pipelineStatus", "newValue": fresh.read()}
	if before != nil {
		field["oldValue"] = before.read()
	}
	description := map[string]any{
		"fieldsAdded": []any{}, "fieldsDeleted": []any{}, "fieldsUpdated": []any{field},
		"previousVersion": pipeline.doc[fieldVersion],
	}
	changed := map[string]any{"changeDescription": description, "pipelineStatuses": fresh.read()}
	maps.Copy(changed, pipeline.doc)
	answer, err := jsonReply(http.StatusCreated, map[string]any{
		"id": uuid.NewString(), "eventType": "entityFieldsChanged", "entityType": typePipeline,
		"entityId": pipeline.id, "entityFullyQualifiedName": pipeline.fqn, "userName": c.user,
		fieldTimestamp: now.UnixMilli(), "currentVersion": pipeline.doc[fieldVersion],
		"changeDescription": description, "entity": changed,
	})
	if err == nil {
		answer.header.Set(headerChange, "entityFieldsChanged")
	}
	return answer, err
}

// runID is the path's run id in lower case; what is no UUID in its usual form is an unknown path.
func (c *call) runID() (string, error) {
	const usual = 36 // characters: uuid.Parse also takes others.
	text := c.params["runId"]
	id, err := uuid.Parse(text)
	if err != nil || len(text) != usual {
		return "", errNoRoute()
	}
	return id.String(), nil
}

// getStatus answers 204 for an unknown run.
func (s *Server) getStatus(c *call) (*reply, error) {
	id, err := c.runID()
	if err != nil {
		return nil, err
	}
	pipeline, err := s.store.byFQN(c.kind, c.params["fqn"], includeNonDeleted)
	if err != nil {
		return nil, err
	}
	found := s.runs.latest(pipeline.id, id)
	if found == nil {
		return emptyReply(http.StatusNoContent), nil
	}
	return jsonReply(http.StatusOK, found.read())
}

// listStatuses answers the runs in a time range, newest first; without any parameter the latest few.
func (s *Server) listStatuses(c *call) (*reply, error) {
	pipeline, err := s.store.byFQN(c.kind, c.params["fqn"], includeNonDeleted)
	if err != nil {
		return nil, err
	}
	wanted, err := c.statusRange()
	if err != nil {
		return nil, err
	}
	page := []map[string]any{}
	for _, stored := range s.runs.list(pipeline.id) {
		if int64(len(page)) == wanted.limit {
			break
		}
		if wanted.from <= stored.timestamp && stored.timestamp <= wanted.to {
			page = append(page, stored.read())
		}
	}
	page = append(s.runs.queuedOf(pipeline.id), page...)
	return jsonReply(http.StatusOK, map[string]any{"data": page, "paging": map[string]any{"total": len(page)}})
}

// statusRange is which runs a list asks for: from and to are inclusive, in milliseconds.
type statusRange struct{ from, to, limit int64 }

func (c *call) statusRange() (statusRange, error) {
	wanted := statusRange{from: math.MinInt64, to: math.MaxInt64, limit: math.MaxInt64}
	given := false
	for name, target := range map[string]*int64{"startTs": &wanted.from, "endTs": &wanted.to, "limit": &wanted.limit} {
		number, has, err := c.queryNumber(name)
		if err != nil {
			return wanted, err
		}
		if has {
			*target, given = number, true
		}
	}
	switch {
	case wanted.limit <= 0:
		return wanted, badRequest("[query param limit must be greater than 0]")
	case !given:
		wanted.limit = defaultRuns
	}
	return wanted, nil
}

// queryNumber reads a whole number; what is none is an unknown path to the server.
func (c *call) queryNumber(name string) (int64, bool, error) {
	text := c.query.Get(name)
	if text == "" {
		return 0, false, nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, false, errNoRoute()
	}
	return number, true, nil
}

func (s *Server) deleteStatus(c *call) (*reply, error) {
	id, err := c.runID()
	if err != nil {
		return nil, err
	}
	pipeline, err := s.store.byID(c.kind, c.params["id"], includeNonDeleted)
	if err != nil {
		return nil, err
	}
	s.runs.deleteRun(pipeline.id, id)
	return emptyReply(http.StatusNoContent), nil
}

func (s *Server) deleteStatuses(c *call) (*reply, error) {
	pipeline, err := s.store.byID(c.kind, c.params["id"], includeNonDeleted)
	if err != nil {
		return nil, err
	}
	s.runs.deletePipeline(pipeline.id)
	return emptyReply(http.StatusNoContent), nil
}

// latestStatus is what a pipeline's field pipelineStatuses shows: the row with the greatest timestamp, or nil.
func (s *Server) latestStatus(pipeline *entity) map[string]any {
	rows := s.runs.list(pipeline.id)
	if len(rows) == 0 {
		return nil
	}
	return rows[0].read()
}
