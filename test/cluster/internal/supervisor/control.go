package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serveControl answers the commands from outside until ctx ends.
func (s *supervisor) serveControl(ctx context.Context) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "unix", ControlSocket)
	if err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(s.status()); err != nil {
			s.log.Warn("answering", "error", err)
		}
	})
	mux.HandleFunc("POST /node/stop", func(w http.ResponseWriter, r *http.Request) {
		answer(w, s.stopNode(r.Context(), r.URL.Query().Get("kill") == "true"))
	})
	mux.HandleFunc("POST /node/start", func(w http.ResponseWriter, r *http.Request) {
		answer(w, s.startNode(r.Context()))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the control socket: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
