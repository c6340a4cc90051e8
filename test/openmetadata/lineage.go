package openmetadata

import (
	"net/http"
	"sync"
)

// lineage holds the edges between entities.
type lineage struct {
	mu    sync.Mutex
	edges map[[2]string]map[string]any // by the ids from and to
}

func newLineage() *lineage { return &lineage{edges: map[[2]string]map[string]any{}} }

func (l *lineage) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edges = map[[2]string]map[string]any{}
}

func (s *Server) addLineageRoutes() {
	s.router.add(
		route{method: http.MethodPut, pattern: "lineage", consumes: mediaJSON, op: opEdit, handle: s.putEdge},
		route{method: http.MethodGet, pattern: "lineage/getLineageEdge/{from}/{to}", op: opView, handle: s.getEdge},
	)
}

// putEdge adds an edge between two entities that exist, or replaces it.
func (s *Server) putEdge(c *call) (*reply, error) {
	request, err := decodeObject(c.body)
	if err != nil {
		return nil, err
	}
	edge, ok := request["edge"].(map[string]any)
	if !ok {
		return nil, badRequest("[query param edge must not be null]")
	}
	var ids [2]string
	for i, end := range []string{"fromEntity", "toEntity"} {
		reference, _ := edge[end].(map[string]any)
		id, _ := reference["id"].(string)
		entityType, _ := reference["type"].(string)
		if _, err := s.store.byType(entityType, id); err != nil {
			return nil, err
		}
		ids[i] = id
	}
	s.lineage.mu.Lock()
	defer s.lineage.mu.Unlock()
	s.lineage.edges[ids] = edge
	return emptyReply(http.StatusOK), nil
}

func (s *Server) getEdge(c *call) (*reply, error) {
	s.lineage.mu.Lock()
	defer s.lineage.mu.Unlock()
	edge := s.lineage.edges[[2]string{c.params["from"], c.params["to"]}]
	if edge == nil {
		return nil, notFound("lineage edge", c.params["from"]+" to "+c.params["to"])
	}
	return jsonReply(http.StatusOK, map[string]any{"edge": edge})
}
