package omapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What callers act on; test with errors.Is.
var (
	// ErrNotFound: there is no such entity, 404.
	ErrNotFound = errors.New("not found")
	// ErrNoRecord: the pipeline is there, the run has no record, 204.
	ErrNoRecord     = errors.New("no record")
	ErrConflict     = errors.New("conflict")
	ErrUnauthorized = errors.New("unauthorized")
	ErrForbidden    = errors.New("forbidden")
	ErrBadRequest   = errors.New("bad request")
)

// Error is an answer of the server that says no.
type Error struct {
	// Op is what was asked for, as it reads after "cannot".
	Op         string
	URL        string
	StatusCode int
	// Message is the server's own.
	Message string
	// RetryAfter is what the server asks to wait; zero where it does not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	text := fmt.Sprintf("cannot %s: OpenMetadata at %s answered %d: %s", e.Op, e.URL, e.StatusCode, strings.TrimRight(e.Message, ". "))
	switch e.StatusCode {
	case http.StatusUnauthorized:
		text += "; give a valid token of a bot or user"
	case http.StatusForbidden:
		text += "; give the token's user the right to do this on ingestion pipelines"
	case http.StatusTooManyRequests:
		text += "; the server limits requests, try again later"
	}
	return text
}

// Is makes errors.Is(err, ErrNotFound) and its kin work.
func (e *Error) Is(target error) bool {
	switch e.StatusCode {
	case http.StatusNoContent:
		return target == ErrNoRecord
	case http.StatusNotFound:
		return target == ErrNotFound
	case http.StatusConflict:
		return target == ErrConflict
	case http.StatusUnauthorized:
		return target == ErrUnauthorized
	case http.StatusForbidden:
		return target == ErrForbidden
	case http.StatusBadRequest:
		return target == ErrBadRequest
	default:
		return false
	}
}

// ConnectionError is a call that got no answer, or half of one.
type ConnectionError struct {
	Op  string
	URL string
	Err error
}

func (e *ConnectionError) Error() string {
	if errors.Is(e.Err, context.Canceled) { // It was the caller who did not wait.
		return fmt.Sprintf("cannot %s: %v", e.Op, withoutURL(e.Err))
	}
	return fmt.Sprintf("cannot %s: no answer from OpenMetadata at %s: %v; check the address and that the server runs", e.Op, e.URL, withoutURL(e.Err))
}

// withoutURL leaves out net/http's "Get URL: ", which only repeats the address.
func withoutURL(err error) error {
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err
	}
	return err
}

func (e *ConnectionError) Unwrap() error { return e.Err }

// Retryable says whether the same call may succeed later: no answer, too many requests, or a failing server.
func Retryable(err error) bool {
	if _, ok := errors.AsType[*ConnectionError](err); ok {
		return !errors.Is(err, context.Canceled)
	}
	status, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	return status.StatusCode == http.StatusTooManyRequests || status.StatusCode == http.StatusRequestTimeout ||
		status.StatusCode >= http.StatusInternalServerError
}

// oneLine makes a plain-text or HTML answer fit an error line.
func oneLine(s string) string {
	const longest = 300
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if runes := []rune(s); len(runes) > longest {
		s = string(runes[:longest]) + "…"
	}
	if s == "" {
		return "no message"
	}
	return s
}
