package openmetadata

import (
	_ "embed"
	"net/http"
)

//go:embed page.html
var page []byte

// servePage answers the page of pipelines and runs, and the JSON that it shows.
func (s *Server) servePage(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case req.URL.Path == "/":
		w.Header().Set(headerContentType, "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'")
		_, _ = w.Write(page) // The browser may be gone.
	case req.URL.Path == "/runs.json":
		pipelines, err := s.Pipelines()
		writeAdmin(w, pipelines, err)
	default:
		http.NotFound(w, req)
	}
}
