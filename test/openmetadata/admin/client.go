package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-resty/resty/v2"
)

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 256 << 20

// Client talks to the admin API of a stand-in in another process.
type Client struct {
	http *resty.Client
}

// NewClient returns a client for the admin API at base, such as http://127.0.0.1:8586. Deadlines come from the
// contexts of the calls, at most a minute each.
func NewClient(base string) *Client {
	return &Client{http: resty.New().SetBaseURL(base).SetTimeout(time.Minute).SetResponseBodyLimit(maxAnswer)}
}

// Health returns nil when the stand-in serves.
func (c *Client) Health(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/healthz", nil, nil, nil)
}

// Token mints a token.
func (c *Client) Token(ctx context.Context, kind TokenKind) (string, error) {
	var out struct {
		Token string `json:"token"`
	}
	err := c.do(ctx, http.MethodGet, "/token", url.Values{"kind": {string(kind)}}, nil, &out)
	return out.Token, err
}

// CA returns the certificate authority of a stand-in that serves TLS, as PEM.
func (c *Client) CA(ctx context.Context) (string, error) {
	var out struct {
		CA string `json:"ca"`
	}
	err := c.do(ctx, http.MethodGet, "/ca", nil, nil, &out)
	return out.CA, err
}

// Requests returns the recorded requests that match, oldest first.
func (c *Client) Requests(ctx context.Context, filter RequestFilter) ([]Request, error) {
	query := url.Values{}
	for key, value := range map[string]string{
		"method": filter.Method, "path": filter.Path, "fqn": filter.FQN,
		"runId": filter.RunID, "userAgent": filter.UserAgent,
	} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if filter.Status != 0 {
		query.Set("status", strconv.Itoa(filter.Status))
	}
	if filter.AfterSeq != 0 {
		query.Set("afterSeq", strconv.FormatInt(filter.AfterSeq, 10))
	}
	var out []Request
	err := c.do(ctx, http.MethodGet, "/requests", query, nil, &out)
	return out, err
}

// Pipelines returns all pipelines with their runs, also the soft-deleted ones.
func (c *Client) Pipelines(ctx context.Context) ([]Pipeline, error) {
	var out []Pipeline
	err := c.do(ctx, http.MethodGet, "/pipelines", nil, nil, &out)
	return out, err
}

// Run returns one run, or nil when the pipeline has none of that id.
func (c *Client) Run(ctx context.Context, fqn, runID string) (*Run, error) {
	pipelines, err := c.Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pipelines {
		if p.FQN != fqn {
			continue
		}
		for i := range p.Runs {
			if p.Runs[i].RunID == runID {
				return &p.Runs[i], nil
			}
		}
	}
	return nil, nil //nolint:nilnil // "no such run" is an answer that callers poll for, not an error.
}

// AddFault sets a fault and returns it with its id.
func (c *Client) AddFault(ctx context.Context, fault Fault) (Fault, error) {
	var out Fault
	err := c.do(ctx, http.MethodPost, "/faults", nil, fault, &out)
	return out, err
}

// Faults lists the faults in force.
func (c *Client) Faults(ctx context.Context) ([]Fault, error) {
	var out []Fault
	err := c.do(ctx, http.MethodGet, "/faults", nil, nil, &out)
	return out, err
}

// RemoveFault ends one fault; requests that hang by it go on.
func (c *Client) RemoveFault(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/faults/"+url.PathEscape(id), nil, nil, nil)
}

// ClearFaults ends all faults.
func (c *Client) ClearFaults(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/faults", nil, nil, nil)
}

// ClearState forgets entities, runs, logs, records and faults; tokens stay valid.
func (c *Client) ClearState(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/state", nil, nil, nil)
}

// Configure changes settings.
func (c *Client) Configure(ctx context.Context, settings Settings) error {
	return c.do(ctx, http.MethodPut, "/settings", nil, settings, nil)
}

// SetQueued sets the runs that the server's runner reports as queued for a pipeline; the list of runs shows them first.
func (c *Client) SetQueued(ctx context.Context, fqn string, runs []json.RawMessage) error {
	return c.do(ctx, http.MethodPut, "/queued", url.Values{"fqn": {fqn}}, runs, nil)
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	request := c.http.R().SetContext(ctx).SetQueryParamsFromValues(query).SetHeader("Content-Type", "application/json")
	if in != nil {
		request.SetBody(in)
	}
	answer, err := request.Execute(method, path)
	if err != nil {
		return fmt.Errorf("the stand-in's admin API gives no answer to %s %s: %w", method, path, err)
	}
	if answer.IsError() {
		return fmt.Errorf("the stand-in's admin API answered %s to %s %s: %s", answer.Status(), method, answer.Request.URL, bytes.TrimSpace(answer.Body()))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Body(), out); err != nil {
		return fmt.Errorf("cannot decode the answer to %s %s: %w", method, answer.Request.URL, err)
	}
	return nil
}
