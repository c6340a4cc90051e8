package openmetadata_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/entities"
)

const (
	pipelinesPath  = "/v1/services/ingestionPipelines"
	servicesPath   = "/v1/services/databaseServices"
	requestTimeout = time.Minute
	mediaPatch     = "application/json-patch+json"
)

// server is what the contract is checked against: the stand-in, or the server that OPENMETADATA_URL names.
type server struct {
	base  string // with /api
	token string
	real  bool
	http  *http.Client
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{http: &http.Client{Timeout: requestTimeout}}
	if address := os.Getenv("OPENMETADATA_URL"); address != "" {
		s.base, s.token, s.real = strings.TrimSuffix(address, "/"), os.Getenv("OPENMETADATA_TOKEN"), true
		require.NotEmpty(t, s.token, "OPENMETADATA_URL needs OPENMETADATA_TOKEN, an admin's: the ingestion bot may not change a pipeline's display name")
		return s
	}
	// The gap makes first writes race each time, as they do on a real server under load.
	standIn, err := openmetadata.New(openmetadata.Options{InsertGap: 10 * time.Millisecond})
	require.NoError(t, err)
	listening := httptest.NewServer(standIn)
	t.Cleanup(listening.Close)
	s.base = listening.URL + "/api"
	s.token, err = standIn.Token(admin.TokenAdmin)
	require.NoError(t, err)
	return s
}

// step is one request and what is answered.
type step struct {
	method, path string
	body         string
	header       map[string]string
	status       int
	contains     string // part of the answer's body
	// lastOfConnection: the server closes the connection after its answer without saying so, and the next request must not
	// be sent on it.
	lastOfConnection bool
	check            func(t *testing.T, header http.Header, body []byte)
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s *server) do(ctx context.Context, one step) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, one.method, s.base+one.path, strings.NewReader(one.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	if one.body != "" || one.method == http.MethodPut || one.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Close = one.lastOfConnection
	for name, value := range one.header {
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return &answer{status: res.StatusCode, header: res.Header, body: body}, err
}

func (s *server) must(t *testing.T, one step) *answer {
	t.Helper()
	got, err := s.do(t.Context(), one)
	require.NoError(t, err)
	require.Equal(t, one.status, got.status, "%s %s: %.500s", one.method, one.path, got.body)
	return got
}

// newService makes a service of its own name and removes it, with all below, at the end.
func (s *server) newService(t *testing.T, prefix string) (id, fqn string) {
	t.Helper()
	made, err := s.entities().CreateService(t.Context(), entities.Service(prefix+uuid.NewString(), nil))
	require.NoError(t, err)
	id, fqn = made.ID, made.FQN
	t.Cleanup(func() {
		// The test's own context is over by now.
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		gone, err := s.do(ctx, step{method: http.MethodDelete, path: servicesPath + "/" + id + "?recursive=true&hardDelete=true"})
		if assert.NoError(t, err) {
			assert.Contains(t, []int{http.StatusOK, http.StatusNotFound}, gone.status, "remove service %s: %s", fqn, gone.body)
		}
	})
	return id, fqn
}

func (s *server) entities() *entities.Client { return &entities.Client{URL: s.base, Token: s.token} }

// pipeline is a fresh pipeline of a case.
type pipeline struct {
	id, fqn    string
	path       string // of its name, below /api
	runs       string // of its statuses, below /api
	byID       string
	run, other string
	ts         int64
}

func (s *server) newPipeline(t *testing.T, serviceID, name string) *pipeline {
	t.Helper()
	made, err := s.entities().CreatePipeline(t.Context(), serviceID, entities.Pipeline(name))
	require.NoError(t, err)
	p := &pipeline{
		id: made.ID, fqn: made.FQN,
		run: uuid.NewString(), other: uuid.NewString(), ts: 1_700_000_000_000,
	}
	p.path = pipelinesPath + "/name/" + encode(p.fqn)
	p.runs = pipelinesPath + "/" + encode(p.fqn) + "/pipelineStatus"
	p.byID = pipelinesPath + "/" + p.id
	return p
}

// put is a status write; rest is more fields of the status, beginning with a comma.
func (p *pipeline) put(run string, ts int64, rest string, status int) step {
	return step{
		method: http.MethodPut, path: p.runs, status: status,
		body: fmt.Sprintf(`{"runId":%q,"timestamp":%d%s}`, run, ts, rest),
	}
}

func (p *pipeline) putRaw(body string, status int) step {
	return step{method: http.MethodPut, path: p.runs, body: body, status: status}
}

func (p *pipeline) get(run string, status int) step {
	return step{method: http.MethodGet, path: p.runs + "/" + run, status: status}
}

// encode percent-encodes once, as one path segment.
func encode(fqn string) string { return strings.ReplaceAll(url.QueryEscape(fqn), "+", "%20") }

func text(t *testing.T, body []byte, field string) string {
	t.Helper()
	value, ok := object(t, body)[field].(string)
	require.True(t, ok, "no %s in %.300s", field, body)
	return value
}

func object(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var out map[string]any
	require.NoError(t, json.Unmarshal(body, &out), "%.300s", body)
	return out
}

func rows(t *testing.T, body []byte) []map[string]any {
	t.Helper()
	var out struct {
		Data []map[string]any `json:"data"`
	}
	require.NoError(t, json.Unmarshal(body, &out), "%.300s", body)
	return out.Data
}

func wantRows(n int) func(*testing.T, http.Header, []byte) {
	return func(t *testing.T, _ http.Header, body []byte) {
		t.Helper()
		assert.Len(t, rows(t, body), n)
	}
}

func wantField(field string, want any) func(*testing.T, http.Header, []byte) {
	return func(t *testing.T, _ http.Header, body []byte) {
		t.Helper()
		assert.Equal(t, want, object(t, body)[field], field)
	}
}

// contractCase is something that a server does. tolerant names why a real server of another version may do otherwise:
// then the case is skipped instead of failed. So is one that is for an admin, if the token is of somebody else.
type contractCase struct {
	name     string
	reason   string
	tolerant string
	admin    bool
	steps    func(p *pipeline) []step
}

func TestContract(t *testing.T) {
	s := newServer(t)
	serviceID, _ := s.newService(t, "contract-")
	for group, cases := range map[string][]contractCase{
		"write": writeCases(), "invalid": invalidCases(), "size": sizeCases(t), "read": readCases(), "lifecycle": lifecycleCases(),
	} {
		t.Run(group, func(t *testing.T) {
			for _, tc := range cases {
				t.Run(tc.name, func(t *testing.T) {
					p := s.newPipeline(t, serviceID, "case-"+uuid.NewString())
					for i, one := range tc.steps(p) {
						s.check(t, tc, i, one)
					}
				})
			}
		})
	}
}

func (s *server) check(t *testing.T, tc contractCase, i int, one step) {
	t.Helper()
	got, err := s.do(t.Context(), one)
	require.NoError(t, err, tc.reason)
	as := fmt.Sprintf("step %d, %s %s: %s\nanswered %d: %.500s", i+1, one.method, one.path, tc.reason, got.status, got.body)
	if s.real && tc.tolerant != "" && (got.status != one.status || !bytes.Contains(got.body, []byte(one.contains))) {
		t.Skipf("differs, as versions do (%s): %s", tc.tolerant, as)
	}
	if s.real && tc.admin && got.status == http.StatusForbidden {
		t.Skipf("this case needs an admin's token: %s", as)
	}
	require.Equal(t, one.status, got.status, as)
	require.Contains(t, string(got.body), one.contains, as)
	if one.check != nil {
		one.check(t, got.header, got.body)
	}
}

func writeCases() []contractCase {
	states := []string{"queued", "running", "success", "failed", "partialSuccess", "stopped"}
	cases := []contractCase{ //nolint:prealloc // the literal is long, what is appended is short
		{
			name: "answer of a write", reason: "a status write is answered with a change event, about three times its size",
			steps: func(p *pipeline) []step {
				one := p.put(p.run, p.ts, `,"pipelineState":"running","metadata":{"text":"`+strings.Repeat("x", 10_000)+`"}`, http.StatusCreated)
				one.check = func(t *testing.T, header http.Header, body []byte) {
					t.Helper()
					assert.Equal(t, "entityFieldsChanged", header.Get("X-Openmetadata-Change"))
					assert.Equal(t, p.id, text(t, body, "entityId"))
					assert.Greater(t, len(body), 2*len(one.body))
				}
				return []step{one}
			},
		},
		{
			name: "last write wins", reason: "there is no state machine: success can become anything",
			steps: func(p *pipeline) []step {
				steps := make([]step, 0, 10)
				for _, state := range []string{"success", "running", "failed", "queued", "partialSuccess"} {
					got := p.get(p.run, http.StatusOK)
					got.check = wantField("pipelineState", state)
					steps = append(steps, p.put(p.run, p.ts, `,"pipelineState":"`+state+`"`, http.StatusCreated), got)
				}
				return steps
			},
		},
		{
			name: "full replacement", reason: "what a write leaves out is gone, the steps become an empty list",
			steps: func(p *pipeline) []step {
				full := `,"pipelineState":"running","startDate":1,"endDate":2,"config":{"a":1},"metadata":{"b":2},"status":[{"name":"Source"}]`
				got := p.get(p.run, http.StatusOK)
				got.check = func(t *testing.T, _ http.Header, body []byte) {
					t.Helper()
					stored := object(t, body)
					for _, field := range []string{"startDate", "endDate", "config", "metadata"} {
						assert.NotContains(t, stored, field)
					}
					assert.Equal(t, []any{}, stored["status"])
				}
				return []step{p.put(p.run, p.ts, full, http.StatusCreated), p.put(p.run, p.ts, `,"pipelineState":"success"`, http.StatusCreated), got}
			},
		},
		{
			name: "no timestamp", reason: "the database refuses a row without one; the stored run stays",
			steps: func(p *pipeline) []step {
				got := p.get(p.run, http.StatusOK)
				got.check = wantField("pipelineState", "running")
				return []step{
					p.put(p.run, p.ts, `,"pipelineState":"running"`, http.StatusCreated),
					p.putRaw(fmt.Sprintf(`{"runId":%q,"pipelineState":"failed"}`, p.run), http.StatusInternalServerError),
					p.putRaw(fmt.Sprintf(`{"runId":%q,"pipelineState":"failed"}`, p.other), http.StatusInternalServerError),
					got,
				}
			},
		},
		{
			name: "timestamp of another run", reason: "rows are unique by pipeline and timestamp, also for a run that moves",
			steps: func(p *pipeline) []step {
				taken := p.put(p.other, p.ts, `,"pipelineState":"running"`, http.StatusConflict)
				taken.contains = "Entity already exists"
				return []step{
					p.put(p.run, p.ts, `,"pipelineState":"running"`, http.StatusCreated), taken,
					p.get(p.other, http.StatusNoContent),
					p.put(p.other, p.ts+1, `,"pipelineState":"running"`, http.StatusCreated),
					p.put(p.other, p.ts, `,"pipelineState":"running"`, http.StatusConflict),
				}
			},
		},
		{
			name: "free timestamp", reason: "a run with a changed timestamp moves, it is not doubled",
			steps: func(p *pipeline) []step {
				return []step{
					p.put(p.run, p.ts, "", http.StatusCreated), p.put(p.run, p.ts+5, "", http.StatusCreated),
					{method: http.MethodGet, path: p.runs, status: http.StatusOK, check: wantRows(1)},
					p.put(p.other, p.ts, "", http.StatusCreated),
				}
			},
		},
		{
			name: "no state", reason: "a status without a state, or with null, is stored without one",
			steps: func(p *pipeline) []step {
				got := p.get(p.run, http.StatusOK)
				got.check = func(t *testing.T, _ http.Header, body []byte) {
					t.Helper()
					assert.NotContains(t, object(t, body), "pipelineState")
				}
				return []step{
					p.put(p.run, p.ts, "", http.StatusCreated), got,
					p.put(p.run, p.ts, `,"pipelineState":null`, http.StatusCreated), got,
				}
			},
		},
		{
			name: "no run id", reason: "anonymous rows pile up",
			steps: func(p *pipeline) []step {
				return []step{
					p.putRaw(`{"timestamp":1,"pipelineState":"failed"}`, http.StatusCreated),
					p.putRaw(`{"timestamp":2,"pipelineState":"failed"}`, http.StatusCreated),
					{method: http.MethodGet, path: p.runs, status: http.StatusOK, check: wantRows(2)},
				}
			},
		},
		{
			name: "run id that is no UUID", reason: "it is stored, but cannot be read",
			steps: func(p *pipeline) []step {
				return []step{p.put("manual-1", p.ts, "", http.StatusCreated), p.get("manual-1", http.StatusNotFound)}
			},
		},
		{
			name: "case of the run id", reason: "a write compares the text, a read compares the lower-cased UUID",
			steps: func(p *pipeline) []step {
				upper := strings.ToUpper(p.run)
				return []step{
					p.put(upper, p.ts, "", http.StatusCreated), p.get(upper, http.StatusNoContent),
					p.put(p.run, p.ts+1, "", http.StatusCreated), p.get(upper, http.StatusOK),
				}
			},
		},
		{
			name: "If-Match", reason: "a status write takes no notice of it",
			steps: func(p *pipeline) []step {
				one := p.put(p.run, p.ts, "", http.StatusCreated)
				one.header = map[string]string{"If-Match": `"0.0-0"`}
				return []step{one}
			},
		},
		{
			name: "gzip", reason: "a request may be compressed",
			steps: func(p *pipeline) []step {
				one := p.put(p.run, p.ts, `,"pipelineState":"running"`, http.StatusCreated)
				var packed bytes.Buffer
				writer := gzip.NewWriter(&packed)
				_, _ = writer.Write([]byte(one.body)) // A buffer does not fail.
				_ = writer.Close()
				one.body, one.header = packed.String(), map[string]string{"Content-Encoding": "gzip"}
				return []step{one, p.get(p.run, http.StatusOK)}
			},
		},
	}
	for _, state := range states {
		tc := contractCase{
			name: "new run " + state, reason: "a new run may have any state",
			steps: func(p *pipeline) []step {
				return []step{p.put(p.run, p.ts, `,"pipelineState":"`+state+`"`, http.StatusCreated), p.get(p.run, http.StatusOK)}
			},
		}
		if state == "stopped" {
			tc.tolerant = "older servers do not know this state"
		}
		cases = append(cases, tc)
	}
	return cases
}

func invalidCases() []contractCase {
	plain := func(t *testing.T, header http.Header, _ []byte) {
		t.Helper()
		assert.Contains(t, header.Get("Content-Type"), "text/plain")
	}
	cases := []contractCase{
		{
			name: "content type", reason: "only JSON is taken",
			steps: func(p *pipeline) []step {
				one := p.put(p.run, p.ts, "", http.StatusUnsupportedMediaType)
				one.header = map[string]string{"Content-Type": "text/plain"}
				return []step{one}
			},
		},
		{
			name: "methods", reason: "a status is written by PUT",
			steps: func(p *pipeline) []step {
				return []step{
					{method: http.MethodPost, path: p.runs, body: "{}", status: http.StatusMethodNotAllowed},
					{
						method: http.MethodPatch, path: p.runs, body: "[]", status: http.StatusMethodNotAllowed,
						header: map[string]string{"Content-Type": mediaPatch},
					},
				}
			},
		},
		{
			name: "unknown pipeline", reason: "its name is in the message",
			steps: func(p *pipeline) []step {
				one := p.put(p.run, p.ts, "", http.StatusNotFound)
				one.path = pipelinesPath + "/nobody.knows/pipelineStatus"
				one.contains = "ingestionPipeline instance for nobody.knows not found"
				return []step{one}
			},
		},
		{
			name: "broken JSON", reason: "the answer is text, not JSON",
			steps: func(p *pipeline) []step {
				one := p.putRaw(`{"runId":`, http.StatusBadRequest)
				one.check = plain
				return []step{one}
			},
		},
		{
			name: "NUL", reason: "PostgreSQL cannot store it", tolerant: "a server on MySQL can",
			steps: func(p *pipeline) []step {
				return []step{
					p.put(p.run, p.ts, `,"metadata":{"a":"x\u0000y"}`, http.StatusInternalServerError), p.get(p.run, http.StatusNoContent),
				}
			},
		},
	}
	for _, bad := range []struct {
		name, fields, contains string
		status                 int
	}{
		{"unknown state", `"pipelineState":"done"`, "", http.StatusBadRequest},
		{"state in capitals", `"pipelineState":"SUCCESS"`, "", http.StatusBadRequest},
		{"state with a capital", `"pipelineState":"Running"`, "", http.StatusBadRequest},
		{"empty state", `"pipelineState":""`, "", http.StatusBadRequest},
		{"unknown field", `"extra":1`, `Unrecognized field \"extra\"`, http.StatusBadRequest},
		{"unknown field of a step", `"status":[{"name":"a","extra":1}]`, `Unrecognized field \"extra\"`, http.StatusBadRequest},
		{"step without name", `"status":[{"records":1}]`, "", http.StatusBadRequest},
		{"failure without error", `"status":[{"name":"a","failures":[{"name":"b"}]}]`, "", http.StatusBadRequest},
	} {
		cases = append(cases, contractCase{
			name: bad.name, reason: "the body is checked against the schema",
			steps: func(p *pipeline) []step {
				one := p.put(p.run, p.ts, ","+bad.fields, bad.status)
				one.contains = bad.contains
				return []step{one, p.get(p.run, http.StatusNoContent)}
			},
		})
	}
	for name, body := range map[string]string{"empty body": "", "null": "null", "empty object": "{}"} {
		cases = append(cases, contractCase{
			name: name, reason: "the server trips over nothing to store",
			steps: func(p *pipeline) []step { return []step{p.putRaw(body, http.StatusInternalServerError)} },
		})
	}
	return cases
}

func sizeCases(t *testing.T) []contractCase {
	t.Helper()
	if testing.Short() {
		return nil
	}
	const mebi = 1 << 20
	deep := strings.Repeat(`{"a":`, 1100) + "1" + strings.Repeat("}", 1100)
	return []contractCase{
		{
			name: "long string", reason: "10 MiB in one string are stored",
			steps: func(p *pipeline) []step {
				return []step{p.put(p.run, p.ts, `,"metadata":{"a":"`+strings.Repeat("x", 10*mebi)+`"}`, http.StatusCreated)}
			},
		},
		{
			name: "many failures", reason: "10,000 failures of 1 KiB are stored",
			steps: func(p *pipeline) []step {
				one := `{"name":"f","error":"` + strings.Repeat("e", 1000) + `"}`
				list := strings.TrimSuffix(strings.Repeat(one+",", 10_000), ",")
				return []step{p.put(p.run, p.ts, `,"status":[{"name":"s","failures":[`+list+`]}]`, http.StatusCreated)}
			},
		},
		{
			name: "too long string", reason: "the JSON reader takes no string of 20 MiB",
			steps: func(p *pipeline) []step {
				return []step{lastOfConnection(p.put(p.run, p.ts, `,"metadata":{"a":"`+strings.Repeat("x", 20*mebi)+`"}`, http.StatusBadRequest))}
			},
		},
		{
			name: "too deep", reason: "the JSON reader takes no nesting over 1000",
			steps: func(p *pipeline) []step {
				return []step{lastOfConnection(p.put(p.run, p.ts, `,"metadata":`+deep, http.StatusBadRequest))}
			},
		},
	}
}

// lastOfConnection is a step that the server refuses before it has read all of it.
func lastOfConnection(one step) step {
	one.lastOfConnection = true
	return one
}

// TestStepOnItsOwnConnection: what follows a request that makes the server close the connection is sent on another one.
func TestStepOnItsOwnConnection(t *testing.T) {
	t.Parallel()
	connections := make(chan string, 3)
	listening := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { connections <- req.RemoteAddr }))
	t.Cleanup(listening.Close)
	s := &server{http: listening.Client(), base: listening.URL}
	for _, own := range []bool{false, true, false} {
		s.must(t, step{method: http.MethodGet, path: "/", status: http.StatusOK, lastOfConnection: own})
	}
	first, second, third := <-connections, <-connections, <-connections
	assert.Equal(t, first, second, "a connection is used again")
	assert.NotEqual(t, second, third)
}

func readCases() []contractCase {
	fill := func(p *pipeline, n int) []step {
		steps := make([]step, 0, n)
		for i := range n {
			steps = append(steps, p.put(uuid.NewString(), p.ts+int64(i), `,"pipelineState":"success"`, http.StatusCreated))
		}
		return steps
	}
	list := func(p *pipeline, query string, n int) step {
		return step{method: http.MethodGet, path: p.runs + query, status: http.StatusOK, check: wantRows(n)}
	}
	return []contractCase{
		{
			name: "one run", reason: "a status without steps is read with an empty list",
			steps: func(p *pipeline) []step {
				got := p.get(p.run, http.StatusOK)
				got.check = wantField("status", []any{})
				return []step{p.put(p.run, p.ts, `,"pipelineState":"running"`, http.StatusCreated), got}
			},
		},
		{
			name: "unknown run", reason: "it is no error: 204 without a body",
			steps: func(p *pipeline) []step {
				got := p.get(p.run, http.StatusNoContent)
				got.check = func(t *testing.T, _ http.Header, body []byte) {
					t.Helper()
					assert.Empty(t, body)
				}
				return []step{got}
			},
		},
		{
			name: "run id that is no UUID", reason: "there is no such path",
			steps: func(p *pipeline) []step {
				return []step{p.get("7", http.StatusNotFound), p.get("urn:uuid:"+p.run, http.StatusNotFound)}
			},
		},
		{
			name: "run of an unknown pipeline", reason: "the message names the pipeline",
			steps: func(p *pipeline) []step {
				return []step{{
					method: http.MethodGet, path: pipelinesPath + "/nobody.knows/pipelineStatus/" + p.run,
					status: http.StatusNotFound, contains: "ingestionPipeline instance for nobody.knows not found",
				}}
			},
		},
		{
			name: "list", reason: "without parameters the latest five by timestamp, newest first; with a range all of it",
			steps: func(p *pipeline) []step {
				latest := list(p, "", 5)
				latest.check = func(t *testing.T, _ http.Header, body []byte) {
					t.Helper()
					got := rows(t, body)
					require.Len(t, got, 5)
					for i, row := range got {
						assert.InDelta(t, p.ts+int64(6-i), row["timestamp"], 0)
					}
				}
				from := fmt.Sprintf("?startTs=%d", p.ts)
				return append(fill(p, 7), latest,
					list(p, from, 7),
					list(p, fmt.Sprintf("?startTs=%d", p.ts+1), 6),
					list(p, fmt.Sprintf("?endTs=%d", p.ts+1), 2),
					list(p, fmt.Sprintf("?startTs=%d&endTs=%d", p.ts+2, p.ts+4), 3),
					list(p, "?limit=2", 2), list(p, "?limit=100000", 7), list(p, from+"&limit=3", 3),
				)
			},
		},
		{
			name: "list total", reason: "it is the size of the page, not of the list", tolerant: "2.x changes the list",
			steps: func(p *pipeline) []step {
				one := list(p, "?limit=2", 2)
				one.check = func(t *testing.T, _ http.Header, body []byte) {
					t.Helper()
					paging, _ := object(t, body)["paging"].(map[string]any)
					assert.InDelta(t, 2, paging["total"], 0)
				}
				return append(fill(p, 3), one)
			},
		},
		{
			name: "list with wrong parameters", reason: "a limit of 0 is refused, what is no number is an unknown path",
			steps: func(p *pipeline) []step {
				return []step{
					{method: http.MethodGet, path: p.runs + "?limit=0", status: http.StatusBadRequest},
					{method: http.MethodGet, path: p.runs + "?startTs=yesterday", status: http.StatusNotFound},
				}
			},
		},
		{
			name: "pipelineStatuses", reason: "the row with the greatest timestamp, not the last written", tolerant: "newer servers answer a list",
			steps: func(p *pipeline) []step {
				return []step{
					p.put(p.run, p.ts+10, `,"pipelineState":"success"`, http.StatusCreated),
					p.put(p.other, p.ts, `,"pipelineState":"failed"`, http.StatusCreated),
					{
						method: http.MethodGet, path: p.path + "?fields=pipelineStatuses", status: http.StatusOK,
						contains: `"runId":"` + p.run + `"`,
					},
				}
			},
		},
	}
}

func lifecycleCases() []contractCase {
	patch := func(p *pipeline, body string, header map[string]string, status int) step {
		all := map[string]string{"Content-Type": mediaPatch}
		maps.Copy(all, header)
		return step{method: http.MethodPatch, path: p.byID, body: body, header: all, status: status}
	}
	return []contractCase{
		{
			name: "patch of the statuses", reason: "it is answered as if it were done, but not stored",
			steps: func(p *pipeline) []step {
				one := patch(p, fmt.Sprintf(`[{"op":"add","path":"/pipelineStatuses","value":{"runId":%q,"pipelineState":"failed","timestamp":%d}}]`, p.run, p.ts),
					nil, http.StatusOK)
				return []step{one, p.get(p.run, http.StatusNoContent)}
			},
		},
		{
			name: "patch of a field", reason: "it is stored", admin: true,
			steps: func(p *pipeline) []step {
				got := step{method: http.MethodGet, path: p.path, status: http.StatusOK, check: wantField("displayName", "Shown")}
				return []step{patch(p, `[{"op":"add","path":"/displayName","value":"Shown"}]`, nil, http.StatusOK), got}
			},
		},
		{
			name: "patch of an old version", reason: "a stale If-Match is refused", admin: true,
			steps: func(p *pipeline) []step {
				return []step{
					patch(p, `[{"op":"add","path":"/displayName","value":"Shown"}]`, map[string]string{"If-Match": `"0.0-0"`}, http.StatusPreconditionFailed),
				}
			},
		},
		{
			name: "defaults of airflowConfig", reason: "the server fills them in", tolerant: "retries was 3",
			steps: func(p *pipeline) []step {
				return []step{{method: http.MethodGet, path: p.path, status: http.StatusOK, check: func(t *testing.T, _ http.Header, body []byte) {
					t.Helper()
					got, _ := object(t, body)["airflowConfig"].(map[string]any)
					for field, want := range map[string]any{"pausePipeline": false, "concurrency": 1.0, "pipelineTimezone": "UTC", "retries": 0.0, "pipelineCatchup": false, "maxActiveRuns": 1.0} {
						assert.Equal(t, want, got[field], field)
					}
				}}}
			},
		},
		{
			name: "dates of airflowConfig", reason: "they are given in ISO 8601 and told in milliseconds",
			steps: func(p *pipeline) []step {
				return []step{
					patch(p, `[{"op":"add","path":"/airflowConfig/startDate","value":"2099-01-01T00:00:00Z"},{"op":"add","path":"/airflowConfig/endDate","value":"2100-01-01"}]`, nil, http.StatusOK),
					{method: http.MethodGet, path: p.path, status: http.StatusOK, check: func(t *testing.T, _ http.Header, body []byte) {
						t.Helper()
						got, _ := object(t, body)["airflowConfig"].(map[string]any)
						assert.InDelta(t, 4070908800000.0, got["startDate"], 0)
						assert.InDelta(t, 4102444800000.0, got["endDate"], 0)
					}},
				}
			},
		},
		{
			name: "permissions", reason: "they tell beforehand whether statuses may be written, of all pipelines and of one",
			steps: func(p *pipeline) []step {
				allowed := func(t *testing.T, _ http.Header, body []byte) {
					t.Helper()
					assert.Equal(t, "ingestionPipeline", object(t, body)["resource"])
					assert.Contains(t, object(t, body)["permissions"], map[string]any{"operation": "EditIngestionPipelineStatus", "access": "allow"})
				}
				return []step{
					{method: http.MethodGet, path: "/v1/permissions/ingestionPipeline", status: http.StatusOK, check: allowed},
					{method: http.MethodGet, path: "/v1/permissions/ingestionPipeline/name/" + encode(p.fqn), status: http.StatusOK, check: allowed},
				}
			},
		},
		{
			name: "delete of a run", reason: "always 204",
			steps: func(p *pipeline) []step {
				return []step{
					p.put(p.run, p.ts, "", http.StatusCreated),
					{method: http.MethodDelete, path: p.byID + "/pipelineStatus/" + p.run, status: http.StatusNoContent},
					p.get(p.run, http.StatusNoContent),
					{method: http.MethodDelete, path: p.byID + "/pipelineStatus/" + p.run, status: http.StatusNoContent},
				}
			},
		},
		{
			name: "soft delete and restore", reason: "a deleted pipeline takes no status, a restored one has lost its runs",
			steps: func(p *pipeline) []step {
				gone := p.put(p.run, p.ts, "", http.StatusNotFound)
				gone.contains = "ingestionPipeline instance for " + p.fqn + " not found"
				return []step{
					p.put(p.run, p.ts, "", http.StatusCreated),
					{method: http.MethodDelete, path: p.byID, status: http.StatusOK},
					gone,
					{method: http.MethodGet, path: p.path, status: http.StatusNotFound},
					{method: http.MethodPut, path: pipelinesPath + "/restore", body: `{"id":"` + p.id + `"}`, status: http.StatusOK},
					p.get(p.run, http.StatusNoContent),
					p.put(p.run, p.ts, "", http.StatusCreated),
				}
			},
		},
		{
			name: "hard delete", reason: "the pipeline is gone",
			steps: func(p *pipeline) []step {
				return []step{
					{method: http.MethodDelete, path: p.byID + "?hardDelete=true", status: http.StatusOK},
					{method: http.MethodGet, path: p.path + "?include=all", status: http.StatusNotFound},
				}
			},
		},
	}
}

func TestContractRaces(t *testing.T) {
	const writers = 20
	s := newServer(t)
	serviceID, _ := s.newService(t, "contract-races-")
	cases := []struct {
		name, reason string
		existing     bool
		run          func(p *pipeline, i int) string
		ts           func(p *pipeline, i int) int64
		check        func(t *testing.T, created, conflicts, rows int)
	}{
		{
			name: "new run, one timestamp", reason: "who loses the insert race gets 409; there is one row",
			run: func(p *pipeline, _ int) string { return p.run }, ts: func(p *pipeline, _ int) int64 { return p.ts },
			check: func(t *testing.T, created, _, rows int) {
				t.Helper()
				assert.Positive(t, created)
				assert.Equal(t, 1, rows)
			},
		},
		{
			name: "existing run", reason: "updates do not race", existing: true,
			run: func(p *pipeline, _ int) string { return p.run }, ts: func(p *pipeline, _ int) int64 { return p.ts },
			check: func(t *testing.T, created, _, rows int) {
				t.Helper()
				assert.Equal(t, writers, created)
				assert.Equal(t, 1, rows)
			},
		},
		{
			name: "twenty runs, one timestamp", reason: "one of them gets it",
			run: func(*pipeline, int) string { return uuid.NewString() }, ts: func(p *pipeline, _ int) int64 { return p.ts },
			check: func(t *testing.T, created, conflicts, rows int) {
				t.Helper()
				assert.Equal(t, []int{1, writers - 1, 1}, []int{created, conflicts, rows})
			},
		},
		{
			name: "twenty runs, different timestamps", reason: "they do not touch one another",
			run: func(*pipeline, int) string { return uuid.NewString() }, ts: func(p *pipeline, i int) int64 { return p.ts + int64(i) },
			check: func(t *testing.T, created, _, rows int) {
				t.Helper()
				assert.Equal(t, []int{writers, writers}, []int{created, rows})
			},
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p := s.newPipeline(t, serviceID, "case-"+uuid.NewString())
			if tc.existing {
				s.must(t, p.put(p.run, p.ts, "", http.StatusCreated))
			}
			created, conflicts := s.race(t, writers, func(i int) step { return p.put(tc.run(p, i), tc.ts(p, i), "", 0) })
			assert.Equal(t, writers, created+conflicts, tc.reason)
			tc.check(t, created, conflicts, s.countRows(t, p))
		})
	}

	t.Run("new run, different timestamps", func(t *testing.T) {
		// First writes that race leave several rows of one run, and the run cannot be written until it is deleted.
		const tries = 20
		var (
			p     *pipeline
			count int
		)
		for range tries { // On a busy machine they may come one by one.
			p = s.newPipeline(t, serviceID, "case-"+uuid.NewString())
			created, conflicts := s.race(t, writers, func(i int) step { return p.put(p.run, p.ts+int64(i), "", 0) })
			assert.Equal(t, writers, created+conflicts)
			count = s.countRows(t, p)
			assert.GreaterOrEqual(t, created, count)
			if count > 1 {
				break
			}
		}
		if s.real && count == 1 {
			t.Skip("the writes did not race this time")
		}
		require.Greater(t, count, 1)
		s.must(t, p.put(p.run, p.ts, "", http.StatusConflict))
		s.must(t, p.get(p.run, http.StatusOK))
		s.must(t, step{method: http.MethodDelete, path: p.byID + "/pipelineStatus/" + p.run, status: http.StatusNoContent})
		assert.Zero(t, s.countRows(t, p))
		s.must(t, p.put(p.run, p.ts, "", http.StatusCreated))
	})
}

func (s *server) countRows(t *testing.T, p *pipeline) int {
	t.Helper()
	return len(rows(t, s.must(t, step{method: http.MethodGet, path: p.runs + "?startTs=0", status: http.StatusOK}).body))
}

// race sends all writes at once and counts 201 and 409.
func (s *server) race(t *testing.T, writers int, write func(i int) step) (created, conflicts int) {
	t.Helper()
	var (
		group    sync.WaitGroup
		mu       sync.Mutex
		problems []error
	)
	start := make(chan struct{})
	for i := range writers {
		one := write(i)
		group.Go(func() {
			<-start
			got, err := s.do(t.Context(), one)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				problems = append(problems, err)
				return
			}
			switch got.status {
			case http.StatusCreated:
				created++
			case http.StatusConflict:
				conflicts++
			}
		})
	}
	close(start)
	group.Wait()
	require.NoError(t, errors.Join(problems...))
	return created, conflicts
}

func TestContractAuthentication(t *testing.T) {
	s := newServer(t)
	parts := strings.Split(s.token, ".")
	require.Len(t, parts, 3, "the token is no JWT")
	head := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	// A character in the middle of the signature: the last one may have bits without a meaning.
	middle := len(parts[2]) / 2
	forged := parts[2][:middle] + swap(parts[2][middle]) + parts[2][middle+1:]

	for _, tc := range []struct {
		name, reason, authorization string
		status                      int
		contains                    string
	}{
		{"no token", "it is asked for", "", http.StatusUnauthorized, "Not Authorized! Token not present"},
		{"basic", "only bearer tokens count", "Basic YTpi", http.StatusUnauthorized, "Not Authorized! Token not present"},
		{"lower-case bearer", "the scheme is compared with its case", "bearer " + s.token, http.StatusUnauthorized, "Not Authorized! Token not present"},
		{"garbage", "it is no JWT", "Bearer garbage", http.StatusUnauthorized, "Not Authorized! Invalid token."},
		{"bad signature", "it is checked", "Bearer " + parts[0] + "." + parts[1] + "." + forged, http.StatusUnauthorized, "Not Authorized! Invalid token."},
		{
			"unknown key", "the server does not catch that there is no such key",
			"Bearer " + head(`{"alg":"RS256","typ":"JWT","kid":"nobody-knows"}`) + "." + parts[1] + "." + parts[2], http.StatusInternalServerError, "",
		},
		{
			"no algorithm", "the server does not catch it",
			"Bearer " + head(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".", http.StatusInternalServerError, "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := s.must(t, step{
				method: http.MethodGet, path: pipelinesPath, status: tc.status, header: map[string]string{"Authorization": tc.authorization},
			})
			assert.Contains(t, string(got.body), tc.contains, tc.reason)
		})
	}
	t.Run("version", func(t *testing.T) {
		got := s.must(t, step{method: http.MethodGet, path: "/v1/system/version", status: http.StatusOK, header: map[string]string{"Authorization": ""}})
		assert.NotEmpty(t, text(t, got.body, "version"), "the version is told to anyone")
	})
}

func TestContractNames(t *testing.T) {
	s := newServer(t)
	serviceID, serviceFQN := s.newService(t, "contract.names ")
	assert.True(t, strings.HasPrefix(serviceFQN, `"`) && strings.HasSuffix(serviceFQN, `"`), "a name with a dot is stored quoted: %s", serviceFQN)

	for _, name := range []string{
		//nolint:gosmopolitan // names in any script are the point.
		"plain", "a.b", "a b", "it's", "a/b", "100%", "50%25", "a+b", "a#b", "a?b", "a;b", `a\b`, "a>b", "a&b", "a\tb", "Größe-表",
	} {
		t.Run("works "+name, func(t *testing.T) {
			p := s.newPipeline(t, serviceID, name)
			quoted := name
			if strings.Contains(name, ".") {
				quoted = `"` + name + `"`
			}
			assert.Equal(t, serviceFQN+"."+quoted, p.fqn)
			s.must(t, p.put(p.run, p.ts, `,"pipelineState":"running"`, http.StatusCreated))
			s.must(t, p.get(p.run, http.StatusOK))
			s.must(t, step{method: http.MethodGet, path: p.path, status: http.StatusOK})
		})
	}

	p := s.newPipeline(t, serviceID, "Some Thing/x")
	for _, tc := range []struct{ name, reason, encoded string }{
		{"raw slash", "it ends the segment", strings.ReplaceAll(encode(p.fqn), "%2F", "/")},
		{"plus for a space", "that is for forms, not for paths", strings.ReplaceAll(encode(p.fqn), "%20", "+")},
		{"double encoding", "the path is decoded once", encode(encode(p.fqn))},
		{"needless quotes", "the stored name has none", encode(serviceFQN + `."Some Thing/x"`)},
		{"other case", "names are compared with their case", encode(strings.ToLower(p.fqn))},
	} {
		t.Run("404 "+tc.name, func(t *testing.T) {
			one := step{method: http.MethodGet, path: pipelinesPath + "/name/" + tc.encoded, status: http.StatusNotFound}
			got, err := s.do(t.Context(), one)
			require.NoError(t, err)
			assert.Equal(t, one.status, got.status, "%s: %s", tc.reason, got.body)
		})
	}

	create := func(name string, status int) step {
		pipeline := entities.Pipeline(name)
		pipeline["service"] = map[string]any{"id": serviceID, "type": "databaseService"}
		body, err := json.Marshal(pipeline)
		require.NoError(t, err)
		return step{method: http.MethodPost, path: pipelinesPath, body: string(body), status: status}
	}
	for _, tc := range []struct {
		name, pipeline string
		status         int
	}{
		{"quote", `a"b`, http.StatusInternalServerError},
		{"double colon", "a::b", http.StatusBadRequest},
		{"newline", "a\nb", http.StatusBadRequest},
		{"empty", "", http.StatusBadRequest},
		{"too long", strings.Repeat("n", 257), http.StatusBadRequest},
	} {
		t.Run("cannot be created "+tc.name, func(t *testing.T) {
			s.must(t, create(tc.pipeline, tc.status))
		})
	}

	t.Run("twice", func(t *testing.T) {
		got := s.must(t, create("Some Thing/x", http.StatusConflict))
		assert.Contains(t, string(got.body), "Entity already exists")
	})
}

// swap returns another character of the same alphabet.
func swap(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}
