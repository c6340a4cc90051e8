package openmetadata

import "net/http"

// addPermissionRoutes answers what a user may do, of pipelines.
func (s *Server) addPermissionRoutes() {
	s.router.add(
		route{method: http.MethodGet, pattern: "permissions/" + typePipeline, handle: s.getPermissions},
		route{method: http.MethodGet, pattern: "permissions/" + typePipeline + "/name/{fqn}", handle: s.getPermissions},
	)
}

func (s *Server) getPermissions(c *call) (*reply, error) {
	if fqn, named := c.params["fqn"]; named {
		for _, k := range s.kinds {
			if k.entity != typePipeline {
				continue
			}
			if _, err := s.store.byFQN(k, fqn, includeNonDeleted); err != nil {
				return nil, err
			}
		}
	}
	operations := []operation{opCreate, opDelete, opView, opEdit, opEditStatus, "Deploy", "Trigger", "Kill"}
	permissions := make([]map[string]any, len(operations))
	for i, op := range operations {
		access := "allow"
		if authorize(c.user, op) != nil {
			access = "notAllow"
		}
		permissions[i] = map[string]any{"operation": op, "access": access}
	}
	return jsonReply(http.StatusOK, map[string]any{"resource": typePipeline, "permissions": permissions})
}
