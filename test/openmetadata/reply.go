package openmetadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
)

// reply is a whole answer; it is built before it is sent so that a fault can lose or mangle it.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// apiError is an answer of the server that says why a request was refused.
type apiError struct {
	status  int
	message string
	plain   bool // the body is text, not JSON
}

// Error returns the server's message.
func (e *apiError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &apiError{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

func notFound(entityType, name string) error {
	return &apiError{status: http.StatusNotFound, message: fmt.Sprintf("%s instance for %s not found", entityType, name)}
}

// errNoRoute is what the server's router answers itself, without a word on the object.
func errNoRoute() error {
	return &apiError{status: http.StatusNotFound, message: "HTTP 404 Not Found"}
}

func errExists() error {
	return &apiError{status: http.StatusConflict, message: "Entity already exists"}
}

func jsonReply(status int, value any) (*reply, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the answer: %w", err)
	}
	return &reply{status: status, header: http.Header{headerContentType: {"application/json"}}, body: body}, nil
}

func emptyReply(status int) *reply { return &reply{status: status, header: http.Header{}} }

// errorReply turns an error into the answer that the server gives for it.
func errorReply(err error) *reply {
	var refused *apiError
	if !errors.As(err, &refused) {
		refused = &apiError{status: http.StatusInternalServerError, message: err.Error()}
	}
	if refused.plain {
		return &reply{
			status: refused.status, body: []byte(refused.message),
			header: http.Header{headerContentType: {"text/plain; charset=utf-8"}},
		}
	}
	answer, err := jsonReply(refused.status, map[string]any{"code": refused.status, "message": refused.message})
	if err != nil {
		return emptyReply(http.StatusInternalServerError)
	}
	return answer
}

func (a *reply) writeTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // The client may be gone; the record of the request stands all the same.
}
