package openmetadata

import "net/http"

// putEntities creates or replaces many entities. It tells of each what became of it, and answers 200 also when some failed.
func (s *Server) putEntities(c *call) (*reply, error) {
	value, err := decodeJSON(c.body)
	if err != nil {
		return nil, err
	}
	list, ok := value.([]any)
	if !ok {
		return nil, badRequest("Cannot deserialize the body: a list is expected")
	}
	passed, failed := []any{}, []any{}
	for _, item := range list {
		fqn, created, err := s.putOne(c, item)
		if err != nil {
			refused := errorReply(err)
			failed = append(failed, map[string]any{"request": item, fieldStatus: refused.status, "message": err.Error()})
			continue
		}
		result := map[string]any{"request": fqn, fieldStatus: http.StatusOK, "hasSideEffects": true}
		if created {
			result[fieldStatus] = http.StatusCreated
		}
		passed = append(passed, result)
	}
	status := "success"
	switch {
	case len(failed) > 0 && len(passed) > 0:
		status = "partialSuccess"
	case len(failed) > 0:
		status = "failure"
	}
	return jsonReply(http.StatusOK, map[string]any{
		"dryRun": false, fieldStatus: status, "numberOfRowsProcessed": len(list),
		"numberOfRowsPassed": len(passed), "numberOfRowsFailed": len(failed),
		"successRequest": passed, "failedRequest": failed,
	})
}

func (s *Server) putOne(c *call, item any) (fqn string, created bool, err error) {
	request, ok := item.(map[string]any)
	if !ok {
		return "", false, badRequest("Cannot deserialize an item of the list: an object is expected")
	}
	if err := checkCreate(c.kind, request); err != nil {
		return "", false, err
	}
	stored, created, err := s.store.put(c.kind, request, c.user, true)
	if err != nil {
		return "", false, err
	}
	return stored.fqn, created, nil
}
