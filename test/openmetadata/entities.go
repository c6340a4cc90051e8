package openmetadata

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

const (
	defaultPage = 10
	maxPage     = 1_000_000
)

// addEntityRoutes adds the operations that every collection has.
func (s *Server) addEntityRoutes(k *kind) {
	bind := func(handle func(*call) (*reply, error)) func(*call) (*reply, error) {
		return func(c *call) (*reply, error) {
			c.kind = k
			return handle(c)
		}
	}
	s.router.add(
		route{method: http.MethodPost, pattern: k.path, consumes: mediaJSON, op: opCreate, handle: bind(s.createEntity)},
		route{method: http.MethodPut, pattern: k.path, consumes: mediaJSON, op: opCreate, handle: bind(s.putEntity)},
		route{method: http.MethodPut, pattern: k.path + "/bulk", consumes: mediaJSON, op: opCreate, handle: bind(s.putEntities)},
		route{method: http.MethodGet, pattern: k.path, op: opView, handle: bind(s.listEntities)},
		route{method: http.MethodPut, pattern: k.path + "/restore", consumes: mediaJSON, op: opEdit, handle: bind(s.restoreEntity)},
		route{method: http.MethodGet, pattern: k.path + "/{id}", op: opView, handle: bind(s.getEntity)},
		route{method: http.MethodPatch, pattern: k.path + "/{id}", consumes: mediaPatch, op: opEdit, handle: bind(s.patchEntity)},
		route{method: http.MethodDelete, pattern: k.path + "/{id}", op: opDelete, handle: bind(s.deleteEntity)},
		route{method: http.MethodGet, pattern: k.path + "/name/{fqn}", op: opView, handle: bind(s.getEntity)},
		route{method: http.MethodPatch, pattern: k.path + "/name/{fqn}", consumes: mediaPatch, op: opEdit, handle: bind(s.patchEntity)},
		route{method: http.MethodDelete, pattern: k.path + "/name/{fqn}", op: opDelete, handle: bind(s.deleteEntity)},
	)
	if k.entity != typePipeline {
		return
	}
	s.router.add(
		route{method: http.MethodPut, pattern: k.path + "/{fqn}/pipelineStatus", consumes: mediaJSON, op: opEditStatus, handle: bind(s.putStatus)},
		route{method: http.MethodGet, pattern: k.path + "/{fqn}/pipelineStatus", op: opView, handle: bind(s.listStatuses)},
		route{method: http.MethodGet, pattern: k.path + "/{fqn}/pipelineStatus/{runId}", op: opView, handle: bind(s.getStatus)},
		route{method: http.MethodDelete, pattern: k.path + "/{id}/pipelineStatus/{runId}", op: opDelete, handle: bind(s.deleteStatus)},
		route{method: http.MethodDelete, pattern: k.path + "/{id}/pipelineStatus", op: opDelete, handle: bind(s.deleteStatuses)},
	)
	s.addLogRoutes(k, bind)
}

func (s *Server) createEntity(c *call) (*reply, error) { return s.writeEntity(c, false) }

func (s *Server) putEntity(c *call) (*reply, error) { return s.writeEntity(c, true) }

func (s *Server) writeEntity(c *call, replace bool) (*reply, error) {
	request, err := decodeObject(c.body)
	if err != nil {
		return nil, err
	}
	if err := checkCreate(c.kind, request); err != nil {
		return nil, err
	}
	stored, created, err := s.store.put(c.kind, request, c.user, replace)
	if err != nil {
		return nil, err
	}
	c.record.FQN = stored.fqn
	status, change := http.StatusOK, "entityUpdated"
	if created {
		status, change = http.StatusCreated, "entityCreated"
	}
	answer, err := s.entityReply(c, stored, status)
	if err == nil {
		answer.header.Set(headerChange, change)
	}
	return answer, err
}

func checkCreate(k *kind, request map[string]any) error {
	if hasNUL(request) {
		return errNUL()
	}
	if k.known != nil {
		if err := unknownField(request, k.known); err != nil {
			return err
		}
	}
	if _, ok := request[fieldName].(string); !ok {
		return badRequest("[query param name must not be null]")
	}
	if k.entity != typePipeline {
		return nil
	}
	for _, field := range []string{"pipelineType", "sourceConfig", "airflowConfig", fieldService} {
		if request[field] == nil {
			return badRequest("[query param %s must not be null]", field)
		}
	}
	if err := fillAirflowConfig(request); err != nil {
		return err
	}
	if text, ok := request["pipelineType"].(string); !ok || !slices.Contains(pipelineTypes(), text) {
		return badRequest("query param pipelineType must be one of %v", pipelineTypes())
	}
	return nil
}

func pipelineTypes() []string {
	return []string{
		"metadata", "usage", "lineage", "profiler", "autoClassification", "TestSuite",
		"dataInsight", "elasticSearchReindex", "dbt", "application", "policyAgent",
	}
}

// lookup finds the entity that the path names by id or by name.
func (s *Server) lookup(c *call, include filter) (*entity, error) {
	if fqn, named := c.params["fqn"]; named {
		return s.store.byFQN(c.kind, fqn, include)
	}
	return s.store.byID(c.kind, c.params["id"], include)
}

func (s *Server) getEntity(c *call) (*reply, error) {
	found, err := s.lookup(c, c.include())
	if err != nil {
		return nil, err
	}
	return s.entityReply(c, found, http.StatusOK)
}

func (s *Server) entityReply(c *call, e *entity, status int) (*reply, error) {
	answer, err := jsonReply(status, s.show(c, e))
	if err == nil {
		answer.header.Set("ETag", e.etag())
	}
	return answer, err
}

// show is the document of an entity with its computed fields.
func (s *Server) show(c *call, e *entity) map[string]any {
	doc := maps.Clone(e.doc)
	doc["href"] = c.baseURL() + apiPrefix + e.kind.path + "/" + e.id
	if e.kind.entity == typePipeline && slices.Contains(c.fields(), "pipelineStatuses") {
		if latest := s.latestStatus(e); latest != nil {
			doc["pipelineStatuses"] = latest
		}
	}
	return doc
}

// listEntities pages by name; the cursor is the encoded name of the last (after) or first (before) entity.
func (s *Server) listEntities(c *call) (*reply, error) {
	limit, has, err := c.queryNumber("limit")
	switch {
	case err != nil:
		return nil, err
	case !has:
		limit = defaultPage
	case limit < 0 || limit > maxPage:
		return nil, badRequest("[query param limit must be between 0 and %d]", maxPage)
	}
	parent := ""
	for _, name := range []string{fieldService, fieldDatabase, fieldSchema} {
		if value := c.query.Get(name); value != "" {
			parent = value
		}
	}
	all := slices.DeleteFunc(s.store.list(c.kind, parent, c.include()), func(e *entity) bool { return !c.selects(e) })
	start, end, err := window(all, c.query, int(limit))
	if err != nil {
		return nil, err
	}
	data := make([]map[string]any, 0, end-start)
	for _, e := range all[start:end] {
		data = append(data, s.show(c, e))
	}
	paging := map[string]any{"total": len(all)}
	if start < end {
		if start > 0 {
			paging["before"] = base64.StdEncoding.EncodeToString([]byte(all[start].fqn))
		}
		if end < len(all) {
			paging["after"] = base64.StdEncoding.EncodeToString([]byte(all[end-1].fqn))
		}
	}
	return jsonReply(http.StatusOK, map[string]any{"data": data, "paging": paging})
}

// selects applies the filters of a list of pipelines.
func (c *call) selects(e *entity) bool {
	if types := c.query.Get("pipelineType"); types != "" {
		own, _ := e.doc["pipelineType"].(string)
		return slices.Contains(strings.Split(types, ","), own)
	}
	return true
}

// window returns the part of the sorted list that the cursors of the query name.
func window(all []*entity, query url.Values, limit int) (start, end int, err error) {
	position := func(cursor string) (int, bool, error) {
		name, err := base64.StdEncoding.DecodeString(cursor)
		if err != nil {
			return 0, false, badRequest("cannot read the cursor %q", cursor)
		}
		at, found := slices.BinarySearchFunc(all, string(name), func(e *entity, fqn string) int { return strings.Compare(e.fqn, fqn) })
		return at, found, nil
	}
	if cursor := query.Get("before"); cursor != "" {
		at, _, err := position(cursor)
		return max(0, at-limit), at, err
	}
	if cursor := query.Get("after"); cursor != "" {
		at, found, err := position(cursor)
		if err != nil {
			return 0, 0, err
		}
		if found {
			at++
		}
		start = at
	}
	return start, min(len(all), start+limit), nil
}

// patchEntity applies a JSON patch. The answer shows the patched document; what a patch cannot change is only shown.
func (s *Server) patchEntity(c *call) (*reply, error) {
	found, err := s.lookup(c, includeNonDeleted)
	if err != nil {
		return nil, err
	}
	if match := c.header.Get("If-Match"); match != "" && match != "*" && match != found.etag() {
		return nil, &apiError{status: http.StatusPreconditionFailed, message: "The entity was changed since it was read"}
	}
	patch, err := jsonpatch.DecodePatch(c.body)
	if err != nil {
		return nil, badRequest("cannot read the JSON patch: %v", err)
	}
	var shown map[string]any
	changed, err := s.store.change(found.id, c.user, func(old *entity, doc map[string]any) error {
		if shown, err = applyPatch(patch, old.doc); err != nil {
			return err
		}
		if err := fillAirflowConfig(shown); err != nil {
			return err
		}
		old.kind.storePatched(doc, shown)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, field := range []string{fieldVersion, "updatedAt", "updatedBy"} {
		shown[field] = changed.doc[field]
	}
	answer, err := jsonReply(http.StatusOK, shown)
	if err == nil {
		answer.header.Set("ETag", changed.etag())
		answer.header.Set(headerChange, "entityUpdated")
	}
	return answer, err
}

func applyPatch(patch jsonpatch.Patch, doc map[string]any) (map[string]any, error) {
	before, err := json.Marshal(doc)
	if err != nil {
		return nil, badRequest("cannot apply the JSON patch: %v", err)
	}
	after, err := patch.Apply(before)
	if err != nil {
		return nil, badRequest("cannot apply the JSON patch: %v", err)
	}
	return decodeObject(after)
}

// storePatched changes the fields of a stored document that a patch may change to those of the patched one.
func (k *kind) storePatched(doc, patched map[string]any) {
	for field := range doc {
		if _, kept := patched[field]; !kept && k.mayPatch(field) {
			delete(doc, field)
		}
	}
	for field, value := range patched {
		if k.mayPatch(field) {
			doc[field] = value
		}
	}
}

// mayPatch tells whether a patch is stored for a field.
func (k *kind) mayPatch(field string) bool {
	if k.patchable != nil {
		return slices.Contains(k.patchable, field)
	}
	identity := []string{"id", fieldName, "fullyQualifiedName", "href", fieldVersion, "updatedAt", "updatedBy", "deleted"}
	return !slices.Contains(identity, field)
}

// deleteEntity answers with the entity. Soft or hard, the runs of a pipeline go with it.
func (s *Server) deleteEntity(c *call) (*reply, error) {
	found, err := s.lookup(c, includeAll)
	if err != nil {
		return nil, err
	}
	c.record.FQN = found.fqn
	gone, err := s.store.remove(c.kind, found.id, c.user, c.query.Get("recursive") == "true", c.query.Get("hardDelete") == "true")
	if err != nil {
		return nil, err
	}
	for _, e := range gone {
		s.runs.deletePipeline(e.id)
		s.logs.deletePipeline(e.id)
	}
	answer, err := s.entityReply(c, gone[0], http.StatusOK)
	if err == nil {
		answer.header.Set(headerChange, "entityDeleted")
	}
	return answer, err
}

func (s *Server) restoreEntity(c *call) (*reply, error) {
	request, err := decodeObject(c.body)
	if err != nil {
		return nil, err
	}
	id, _ := request["id"].(string)
	found, err := s.store.byID(c.kind, id, includeDeleted)
	if err != nil {
		return nil, err
	}
	c.record.FQN = found.fqn
	restored, err := s.store.change(found.id, c.user, func(_ *entity, doc map[string]any) error {
		doc["deleted"] = false
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.entityReply(c, restored, http.StatusOK)
}
