package openmetadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// maxAdminBody bounds a request to the admin API, in bytes.
const maxAdminBody = 16 << 20

// Admin is the admin API: records, faults, tokens, settings. certificates may be nil.
func (s *Server) Admin(certificates *Certificates) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeAdmin(w, "ok", nil) })
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, req *http.Request) {
		kind := admin.TokenKind(req.URL.Query().Get("kind"))
		if kind == "" {
			kind = admin.TokenBot
		}
		token, err := s.Token(kind)
		writeAdmin(w, map[string]string{"token": token}, err)
	})
	mux.HandleFunc("GET /ca", func(w http.ResponseWriter, _ *http.Request) {
		if certificates == nil {
			writeAdmin(w, nil, errNoTLS())
			return
		}
		writeAdmin(w, map[string]string{"ca": certificates.CA()}, nil)
	})
	mux.HandleFunc("GET /requests", s.adminRequests)
	mux.HandleFunc("GET /pipelines", func(w http.ResponseWriter, _ *http.Request) {
		pipelines, err := s.Pipelines()
		writeAdmin(w, pipelines, err)
	})
	mux.HandleFunc("DELETE /state", func(w http.ResponseWriter, req *http.Request) {
		s.Clear()
		writeAdmin(w, nil, s.comeUp(req.Context()))
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { writeAdmin(w, s.Faults(), nil) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, req *http.Request) {
		var wanted admin.Fault
		err := readAdmin(w, req, &wanted)
		if err == nil {
			wanted, err = s.AddFault(req.Context(), wanted)
		}
		writeAdmin(w, wanted, err)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, req *http.Request) {
		s.ClearFaults()
		writeAdmin(w, nil, s.comeUp(req.Context()))
	})
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, req *http.Request) {
		writeAdmin(w, nil, s.RemoveFault(req.PathValue("id")))
	})
	mux.HandleFunc("PUT /settings", func(w http.ResponseWriter, req *http.Request) {
		var settings admin.Settings
		err := readAdmin(w, req, &settings)
		if err == nil {
			err = s.configure(settings, certificates)
		}
		writeAdmin(w, nil, err)
	})
	mux.HandleFunc("PUT /queued", func(w http.ResponseWriter, req *http.Request) {
		var statuses []map[string]any
		err := readAdmin(w, req, &statuses)
		if err == nil {
			err = s.SetQueued(req.URL.Query().Get("fqn"), statuses)
		}
		writeAdmin(w, nil, err)
	})
	return mux
}

func errNoTLS() error { return errors.New("the stand-in serves no TLS; start it with --tls") }

func (s *Server) configure(settings admin.Settings, certificates *Certificates) error {
	if settings.InsertGap != nil {
		s.SetInsertGap(time.Duration(*settings.InsertGap))
	}
	if settings.TLSExpired != nil {
		if certificates == nil {
			return errNoTLS()
		}
		certificates.SetExpired(*settings.TLSExpired)
	}
	return nil
}

func (s *Server) adminRequests(w http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	filter := admin.RequestFilter{
		Method: query.Get("method"), Path: query.Get("path"), FQN: query.Get("fqn"),
		RunID: query.Get("runId"), UserAgent: query.Get("userAgent"),
	}
	var err error
	if text := query.Get(fieldStatus); text != "" {
		if filter.Status, err = strconv.Atoi(text); err != nil {
			writeAdmin(w, nil, fmt.Errorf("cannot filter by status: %w", err))
			return
		}
	}
	if text := query.Get("afterSeq"); text != "" {
		if filter.AfterSeq, err = strconv.ParseInt(text, 10, 64); err != nil {
			writeAdmin(w, nil, fmt.Errorf("cannot filter by afterSeq: %w", err))
			return
		}
	}
	requests, err := s.Requests(filter)
	writeAdmin(w, requests, err)
}

func readAdmin(w http.ResponseWriter, req *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxAdminBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("cannot read the request: %w", err)
	}
	return nil
}

// writeAdmin answers the value, or 400 with the error: whatever goes wrong here is the asker's.
func writeAdmin(w http.ResponseWriter, value any, err error) {
	w.Header().Set(headerContentType, "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		value = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(value) //nolint:errchkjson // our own types encode, and the client may be gone
}
