// Package admin holds the wire types of the stand-in's admin API and a client for it.
package admin

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a time.Duration that JSON shows as text such as "1.5s".
type Duration time.Duration

// MarshalText shows the duration in Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation; an error names the text that is none.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("cannot read the duration %q (write it as 500ms or 2s): %w", text, err)
	}
	*d = Duration(parsed)
	return nil
}

// FaultKind says what a fault does to a request.
type FaultKind string

// The kinds of faults.
const (
	FaultStatus   FaultKind = "status"   // answer Status, Headers and Body
	FaultDelay    FaultKind = "delay"    // wait Delay, then go on as usual
	FaultReset    FaultKind = "reset"    // break the connection with a TCP RST
	FaultHang     FaultKind = "hang"     // answer nothing until the fault is removed or the client is gone
	FaultTruncate FaultKind = "truncate" // promise the whole body, send half of it, close
	FaultGarbage  FaultKind = "garbage"  // answer 200 with an HTML page instead of JSON
	FaultDown     FaultKind = "down"     // close the listener and all connections, reopen after Duration
)

// Fault is a disturbance of the requests that it matches.
type Fault struct {
	ID   string    `json:"id,omitempty"`
	Kind FaultKind `json:"kind"`

	// Method, Path and UserAgent are regular expressions (unanchored; Path sees the decoded path);
	// an empty one matches everything.
	Method    string `json:"method,omitempty"`
	Path      string `json:"path,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`

	// Skip lets that many matching requests pass first; Count is the number of requests that are
	// disturbed then (0: all); Duration is how long the fault lasts from when it is set (0: until removed).
	Skip     int      `json:"skip,omitempty"`
	Count    int      `json:"count,omitempty"`
	Duration Duration `json:"duration,omitempty"`

	// AfterHandling lets the request take effect first: the reply is lost, not the request.
	AfterHandling bool `json:"afterHandling,omitempty"`

	Status  int               `json:"status,omitempty"`
	Body    string            `json:"body,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Delay   Duration          `json:"delay,omitempty"`

	// Hits is how many requests were disturbed so far.
	Hits int `json:"hits"`
}

// Request is the record of one request; it never holds the token.
type Request struct {
	Seq           int64     `json:"seq"`
	Time          time.Time `json:"time"`
	Method        string    `json:"method"`
	Path          string    `json:"path"` // as sent, percent-encoded
	Query         string    `json:"query,omitempty"`
	Route         string    `json:"route,omitempty"` // the pattern that it matched; empty: unknown path
	FQN           string    `json:"fqn,omitempty"`
	RunID         string    `json:"runId,omitempty"`
	Status        int       `json:"status"` // 0: no answer was sent
	UserAgent     string    `json:"userAgent,omitempty"`
	Subject       string    `json:"subject,omitempty"`
	Body          string    `json:"body,omitempty"`
	BodySize      int64     `json:"bodySize"`
	BodyTruncated bool      `json:"bodyTruncated,omitempty"`
	AnswerSize    int64     `json:"answerSize"`
	Duration      Duration  `json:"duration"`
	Fault         string    `json:"fault,omitempty"` // id of the fault that disturbed it
}

// RequestFilter selects requests; empty fields match everything. Path is a regular expression on the decoded path.
type RequestFilter struct {
	Method    string
	Path      string
	FQN       string
	RunID     string
	UserAgent string // substring
	Status    int
	AfterSeq  int64
}

// Pipeline is an ingestion pipeline with its runs, newest first.
type Pipeline struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	FQN     string `json:"fqn"`
	Type    string `json:"type"`
	Service string `json:"service"`
	Deleted bool   `json:"deleted"`
	Runs    []Run  `json:"runs"`
}

// Run is one run as stored, with every write that was tried on it.
type Run struct {
	RunID     string            `json:"runId"`
	State     string            `json:"state"`
	Timestamp int64             `json:"timestamp"`           // milliseconds
	StartDate int64             `json:"startDate,omitempty"` // milliseconds
	EndDate   int64             `json:"endDate,omitempty"`   // milliseconds
	Cause     *Cause            `json:"cause,omitempty"`
	Rows      []json.RawMessage `json:"rows"` // more than one: the duplicates of a race
	Writes    []Write           `json:"writes"`
}

// Cause is the newest failure of a run.
type Cause struct {
	Step  string `json:"step"`
	Name  string `json:"name"`
	Error string `json:"error"`
}

// Write is one status write that was tried, in the order of arrival.
type Write struct {
	Time      time.Time `json:"time"`
	State     string    `json:"state"`
	Status    int       `json:"status"`
	UserAgent string    `json:"userAgent"`
	Subject   string    `json:"subject"`
	Failures  int       `json:"failures"`
}

// TokenKind says which token to mint.
type TokenKind string

// The kinds of tokens.
const (
	TokenAdmin        TokenKind = "admin"         // a person with every right
	TokenBot          TokenKind = "bot"           // the ingestion bot
	TokenExpired      TokenKind = "expired"       // answered with 401
	TokenNoRight      TokenKind = "no-right"      // may read, may write nothing: 403
	TokenUnknownUser  TokenKind = "unknown-user"  // answered with 404
	TokenBadSignature TokenKind = "bad-signature" // answered with 401
	TokenUnknownKey   TokenKind = "unknown-key"   // answered with 500
	TokenNoAlgorithm  TokenKind = "no-algorithm"  //nolint:gosec // the name of a kind: alg none, answered with 500
)

// TokenKinds lists all kinds.
func TokenKinds() []TokenKind {
	return []TokenKind{
		TokenAdmin, TokenBot, TokenExpired, TokenNoRight,
		TokenUnknownUser, TokenBadSignature, TokenUnknownKey, TokenNoAlgorithm,
	}
}

// Settings change how the stand-in behaves; a nil field stays as it is.
type Settings struct {
	// InsertGap is a pause between "is there a row for this run" and the insert, which makes the race between
	// first writes of one run visible.
	InsertGap *Duration `json:"insertGap,omitempty"`
	// TLSExpired presents an expired certificate to new connections.
	TLSExpired *bool `json:"tlsExpired,omitempty"`
}
