package openmetadata_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// standIn is a stand-in that listens, with a client of its admin API.
type standIn struct {
	*openmetadata.Server

	listener *openmetadata.Listener
	admin    *admin.Client
	client   *server
}

func start(t *testing.T, certificates *openmetadata.Certificates) *standIn {
	t.Helper()
	s, err := openmetadata.New(openmetadata.Options{})
	require.NoError(t, err)
	listener, err := s.Listen(t.Context(), "127.0.0.1:0", certificates)
	require.NoError(t, err)
	adminServer := httptest.NewServer(s.Admin(certificates))
	t.Cleanup(func() {
		s.ClearFaults()
		adminServer.Close()
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		assert.NoError(t, listener.Close(ctx))
	})
	token, err := s.Token(admin.TokenBot)
	require.NoError(t, err)
	// A connection of its own per request: a fault must not meet a connection that is kept alive and is tried again.
	transport := &http.Transport{DisableKeepAlives: true}
	return &standIn{
		Server: s, listener: listener, admin: admin.NewClient(adminServer.URL),
		client: &server{base: listener.URL() + "/api", token: token, http: &http.Client{Transport: transport, Timeout: requestTimeout}},
	}
}

func (s *standIn) pipeline(t *testing.T) *pipeline {
	t.Helper()
	id, _ := s.client.newService(t, "svc-")
	return s.client.newPipeline(t, id, "p-"+uuid.NewString())
}

func (s *standIn) fault(t *testing.T, fault admin.Fault) admin.Fault {
	t.Helper()
	set, err := s.admin.AddFault(t.Context(), fault)
	require.NoError(t, err)
	return set
}

func TestTokens(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	for _, tc := range []struct {
		kind     admin.TokenKind
		reason   string
		status   int
		contains string
	}{
		{admin.TokenAdmin, "may do all", http.StatusCreated, ""},
		{admin.TokenBot, "may write statuses", http.StatusCreated, ""},
		{admin.TokenExpired, "is refused by name", http.StatusUnauthorized, "Expired token!"},
		{
			admin.TokenNoRight, "lacks the right", http.StatusForbidden,
			"Principal: CatalogPrincipal{name='viewer'} operations [EditIngestionPipelineStatus] not allowed",
		},
		{admin.TokenUnknownUser, "is valid, of nobody", http.StatusNotFound, "not found"},
		{admin.TokenBadSignature, "is signed by another key", http.StatusUnauthorized, "Not Authorized! Invalid token."},
		{admin.TokenUnknownKey, "names a key that is not there", http.StatusInternalServerError, ""},
		{admin.TokenNoAlgorithm, "is not signed", http.StatusInternalServerError, ""},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			token, err := s.admin.Token(t.Context(), tc.kind)
			require.NoError(t, err)
			one := p.put(p.run, p.ts, "", tc.status)
			one.header = map[string]string{"Authorization": "Bearer " + token}
			got := s.client.must(t, one)
			assert.Contains(t, string(got.body), tc.contains, tc.reason)
		})
	}
	_, err := s.admin.Token(t.Context(), "golden")
	require.ErrorContains(t, err, "golden")
}

func TestFaults(t *testing.T) {
	const path = "pipelineStatus$"
	for _, tc := range []struct {
		name, reason string
		fault        admin.Fault
		check        func(t *testing.T, got *answer, err error)
		stored       bool
	}{
		{
			name: "status", reason: "the answer is as told and the write did not happen",
			fault: admin.Fault{Kind: admin.FaultStatus, Status: http.StatusTooManyRequests, Headers: map[string]string{"Retry-After": "7"}},
			check: func(t *testing.T, got *answer, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, http.StatusTooManyRequests, got.status)
				assert.Equal(t, "7", got.header.Get("Retry-After"))
				assert.InDelta(t, http.StatusTooManyRequests, object(t, got.body)["code"], 0)
			},
		},
		{
			name: "status after handling", reason: "the write happened, the answer says it did not", stored: true,
			fault: admin.Fault{Kind: admin.FaultStatus, Status: http.StatusBadGateway, Body: "bad", AfterHandling: true},
			check: func(t *testing.T, got *answer, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, http.StatusBadGateway, got.status)
				assert.Equal(t, "bad", string(got.body))
			},
		},
		{
			name: "delay", reason: "the answer comes late, but comes", stored: true,
			fault: admin.Fault{Kind: admin.FaultDelay, Delay: admin.Duration(50 * time.Millisecond)},
			check: func(t *testing.T, got *answer, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, http.StatusCreated, got.status)
			},
		},
		{
			name: "reset", reason: "the connection breaks by RST", fault: admin.Fault{Kind: admin.FaultReset},
			check: func(t *testing.T, _ *answer, err error) {
				t.Helper()
				require.ErrorIs(t, err, syscall.ECONNRESET)
			},
		},
		{
			name: "truncate", reason: "the body ends early", stored: true, fault: admin.Fault{Kind: admin.FaultTruncate},
			check: func(t *testing.T, _ *answer, err error) {
				t.Helper()
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			},
		},
		{
			name: "garbage", reason: "a proxy answers with a page", fault: admin.Fault{Kind: admin.FaultGarbage},
			check: func(t *testing.T, got *answer, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, got.status)
				assert.False(t, json.Valid(got.body))
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, nil)
			p := s.pipeline(t)
			begin := time.Now()
			tc.fault.Method, tc.fault.Path, tc.fault.Count = http.MethodPut, path, 1
			set := s.fault(t, tc.fault)
			got, err := s.client.do(t.Context(), p.put(p.run, p.ts, "", 0))
			tc.check(t, got, err)
			assert.GreaterOrEqual(t, time.Since(begin), time.Duration(tc.fault.Delay))
			want := http.StatusNoContent
			if tc.stored {
				want = http.StatusOK
			}
			s.client.must(t, p.get(p.run, want))
			s.client.must(t, p.put(p.run, p.ts, "", http.StatusCreated)) // Count was 1.
			hit, err := s.admin.Requests(t.Context(), admin.RequestFilter{Method: http.MethodPut, Path: path})
			require.NoError(t, err)
			require.Len(t, hit, 2)
			assert.Equal(t, set.ID, hit[0].Fault, tc.reason)
			assert.Empty(t, hit[1].Fault)
		})
	}
}

func TestFaultSkipAndMatch(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	s.fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusServiceUnavailable, UserAgent: "^hook/", Skip: 1, Count: 1})
	as := func(agent string) int {
		one := p.put(p.run, p.ts, "", 0)
		one.header = map[string]string{"User-Agent": agent}
		got, err := s.client.do(t.Context(), one)
		require.NoError(t, err)
		return got.status
	}
	assert.Equal(t, []int{201, 201, 503, 201}, []int{as("other"), as("hook/1"), as("hook/1"), as("hook/1")})

	in, err := s.admin.Faults(t.Context())
	require.NoError(t, err)
	require.Len(t, in, 1)
	assert.Equal(t, 1, in[0].Hits)
	require.NoError(t, s.admin.RemoveFault(t.Context(), in[0].ID))
	require.Error(t, s.admin.RemoveFault(t.Context(), in[0].ID), "it is gone")
	_, err = s.admin.AddFault(t.Context(), admin.Fault{Kind: "earthquake"})
	require.ErrorContains(t, err, "earthquake")
	_, err = s.admin.AddFault(t.Context(), admin.Fault{Kind: admin.FaultReset, Path: "("})
	require.ErrorContains(t, err, "cannot set the fault")
}

func TestFaultHang(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)

	t.Run("client gives up", func(t *testing.T) {
		set := s.fault(t, admin.Fault{Kind: admin.FaultHang})
		ctx, giveUp := context.WithCancel(t.Context())
		defer giveUp()
		done := make(chan error, 1)
		go func() {
			_, err := s.client.do(ctx, p.put(p.run, p.ts, "", 0))
			done <- err
		}()
		s.hangs(t)
		giveUp()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Eventually(t, func() bool {
			got, err := s.admin.Requests(t.Context(), admin.RequestFilter{Method: http.MethodPut, Path: "pipelineStatus$"})
			return err == nil && len(got) == 1 && got[0].Fault == set.ID && got[0].Status == 0
		}, requestTimeout, 10*time.Millisecond, "the request ends without an answer")
		require.NoError(t, s.admin.RemoveFault(t.Context(), set.ID))
		s.client.must(t, p.get(p.run, http.StatusNoContent))
	})
	t.Run("released", func(t *testing.T) {
		s.fault(t, admin.Fault{Kind: admin.FaultHang, Count: 1})
		done := make(chan error, 1)
		go func() {
			got, err := s.client.do(t.Context(), p.put(p.run, p.ts, "", 0))
			if err == nil && got.status != http.StatusCreated {
				err = errors.New(string(got.body))
			}
			done <- err
		}()
		s.hangs(t)
		select {
		case err := <-done:
			require.Fail(t, "answered while it should hang", "%v", err)
		default:
		}
		require.NoError(t, s.admin.ClearFaults(t.Context()))
		require.NoError(t, <-done)
	})
}

// hangs waits until the only fault has met a request.
func (s *standIn) hangs(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		in, err := s.admin.Faults(t.Context())
		return err == nil && len(in) == 1 && in[0].Hits == 1
	}, requestTimeout, 10*time.Millisecond)
}

func TestFaultDown(t *testing.T) {
	s := start(t, nil)
	address := s.listener.Address()
	p := s.pipeline(t)
	begin, down := time.Now(), 500*time.Millisecond
	s.fault(t, admin.Fault{Kind: admin.FaultDown, Duration: admin.Duration(down)})
	// On a machine that stood still meanwhile it may be back already.
	if _, err := s.client.do(t.Context(), p.get(p.run, 0)); err != nil || time.Since(begin) < down {
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
	require.Eventually(t, func() bool {
		got, err := s.client.do(t.Context(), p.get(p.run, 0))
		return err == nil && got.status == http.StatusNoContent
	}, requestTimeout, 20*time.Millisecond, "it comes back with its state")
	assert.Equal(t, address, s.listener.Address())

	s.fault(t, admin.Fault{Kind: admin.FaultDown})
	_, err := s.client.do(t.Context(), p.get(p.run, 0))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, s.admin.ClearFaults(t.Context()))
	s.client.must(t, p.get(p.run, http.StatusNoContent))

	bare, err := openmetadata.New(openmetadata.Options{})
	require.NoError(t, err)
	_, err = bare.AddFault(t.Context(), admin.Fault{Kind: admin.FaultDown})
	require.ErrorContains(t, err, "Listen")
}

func TestTLS(t *testing.T) {
	certificates, err := openmetadata.NewCertificates([]string{"127.0.0.1"})
	require.NoError(t, err)
	s := start(t, certificates)
	ca, err := s.admin.CA(t.Context())
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(ca)))
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}

	plain := s.client.http
	version := step{method: http.MethodGet, path: "/v1/system/version", status: http.StatusOK}
	_, err = s.client.do(t.Context(), version)
	require.ErrorAs(t, err, new(x509.UnknownAuthorityError))
	s.client.http = &http.Client{Transport: trusting, Timeout: requestTimeout}
	s.client.must(t, version)

	expired := true
	require.NoError(t, s.admin.Configure(t.Context(), admin.Settings{TLSExpired: &expired}))
	var invalid x509.CertificateInvalidError
	_, err = s.client.do(t.Context(), version)
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, x509.Expired, invalid.Reason)
	s.client.http = plain
}

func TestRecords(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	one := p.put(p.run, p.ts, `,"pipelineState":"running","metadata":{"jwtToken":"`+s.client.token+`"}`, http.StatusCreated)
	one.header = map[string]string{"User-Agent": "exithandler/1"}
	s.client.must(t, one)
	s.client.must(t, step{method: http.MethodGet, path: "/v1/no/such/path", status: http.StatusNotFound})

	got, err := s.admin.Requests(t.Context(), admin.RequestFilter{Method: http.MethodPut, RunID: p.run})
	require.NoError(t, err)
	require.Len(t, got, 1)
	record := got[0]
	assert.Equal(t, http.StatusCreated, record.Status)
	assert.Equal(t, p.fqn, record.FQN)
	assert.Equal(t, "ingestion-bot", record.Subject)
	assert.Equal(t, "exithandler/1", record.UserAgent)
	assert.Contains(t, record.Body, `"pipelineState":"running"`)
	assert.Equal(t, int64(len(one.body)), record.BodySize)
	assert.Positive(t, record.AnswerSize)
	assert.NotZero(t, record.Seq)

	all, err := s.admin.Requests(t.Context(), admin.RequestFilter{})
	require.NoError(t, err)
	text, err := json.Marshal(all)
	require.NoError(t, err)
	assert.NotContains(t, string(text), s.client.token, "no record holds the token")

	lost, err := s.admin.Requests(t.Context(), admin.RequestFilter{Path: "^/api/v1/no/such", Status: http.StatusNotFound, AfterSeq: record.Seq})
	require.NoError(t, err)
	require.Len(t, lost, 1)
	assert.Empty(t, lost[0].Route)
	_, err = s.admin.Requests(t.Context(), admin.RequestFilter{Path: "("})
	require.Error(t, err)
}

func TestTooLargeBody(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	_, err := s.client.do(t.Context(), p.put(p.run, p.ts, `,"metadata":{"a":"`+strings.Repeat("x", 64<<20)+`"}`, 0))
	require.Error(t, err, "the connection breaks while the client sends")
	got, err := s.admin.Requests(t.Context(), admin.RequestFilter{Method: http.MethodPut, Path: "pipelineStatus$"})
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Zero(t, got[0].Status)
	assert.True(t, got[0].BodyTruncated)
}

func TestViewOfRuns(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	failed := `,"pipelineState":"failed","startDate":5,"endDate":9,"status":[{"name":"Source"},{"name":"Sink","failures":[{"name":"table_1","error":"cannot read"},{"name":"OOMKilled","error":"memory"}]}]`
	s.client.must(t, p.put(p.run, p.ts, `,"pipelineState":"running"`, http.StatusCreated))
	s.client.must(t, p.put(p.run, p.ts, `,"pipelineState":"nonsense"`, http.StatusBadRequest))
	s.client.must(t, p.put(p.run, p.ts, failed, http.StatusCreated))
	s.client.must(t, p.put(p.other, p.ts+1, `,"pipelineState":"queued"`, http.StatusCreated))
	s.client.must(t, p.put(p.other, p.ts, `,"pipelineState":"queued"`, http.StatusConflict))

	run, err := s.admin.Run(t.Context(), p.fqn, p.run)
	require.NoError(t, err)
	require.NotNil(t, run)
	assert.Equal(t, "failed", run.State)
	assert.Equal(t, &admin.Cause{Step: "Sink", Name: "OOMKilled", Error: "memory"}, run.Cause)
	assert.Equal(t, []int64{p.ts, 5, 9}, []int64{run.Timestamp, run.StartDate, run.EndDate})
	assert.Len(t, run.Rows, 1)
	require.Len(t, run.Writes, 2, "a write that is refused for its form is not one of the run's")
	assert.Equal(t, []string{"running", "failed"}, []string{run.Writes[0].State, run.Writes[1].State})
	assert.Equal(t, 2, run.Writes[1].Failures)

	pipelines, err := s.admin.Pipelines(t.Context())
	require.NoError(t, err)
	require.Len(t, pipelines, 1)
	require.Len(t, pipelines[0].Runs, 2)
	assert.Equal(t, p.other, pipelines[0].Runs[0].RunID, "newest first")
	assert.Equal(t, http.StatusConflict, pipelines[0].Runs[0].Writes[1].Status, "a write that lost is shown")

	missing, err := s.admin.Run(t.Context(), p.fqn, uuid.NewString())
	require.NoError(t, err)
	assert.Nil(t, missing)
}

func TestQueuedRuns(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	s.client.must(t, p.put(p.run, p.ts, `,"pipelineState":"queued"`, http.StatusCreated))
	same := json.RawMessage(`{"runId":"` + p.run + `","pipelineState":"queued","timestamp":1}`)
	require.NoError(t, s.admin.SetQueued(t.Context(), p.fqn, []json.RawMessage{same}))
	got := rows(t, s.client.must(t, step{method: http.MethodGet, path: p.runs, status: http.StatusOK}).body)
	require.Len(t, got, 2, "the runner's queued runs are not matched with the stored ones")
	assert.InDelta(t, 1, got[0]["timestamp"], 0)
	require.Error(t, s.admin.SetQueued(t.Context(), "nobody.knows", nil))
}

func TestStreamedLogs(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	base := pipelinesPath + "/logs/" + encode(p.fqn)
	send := func(body string) step {
		return step{method: http.MethodPost, path: base + "/" + p.run, body: body, status: http.StatusOK}
	}
	got := s.client.must(t, send(`{"logs":"one\ntwo\n","connectorId":"host-1","timestamp":1,"compressed":false,"lineCount":3}`))
	assert.Contains(t, got.header.Get("Set-Cookie"), "PIPELINE_SESSION=")
	s.client.must(t, send(`"three\n"`))
	s.client.must(t, step{method: http.MethodPost, path: base + "/" + p.run + "/close", body: `{}`, status: http.StatusOK, contains: "closed"})

	page := object(t, s.client.must(t, step{method: http.MethodGet, path: base + "/" + p.run + "?limit=2", status: http.StatusOK}).body)
	assert.Equal(t, "[host-1] one\ntwo\n", page["logs"])
	assert.Equal(t, "2", page["after"])
	rest := object(t, s.client.must(t, step{method: http.MethodGet, path: base + "/" + p.run + "?after=2", status: http.StatusOK}).body)
	assert.Equal(t, "three\n", rest["logs"])
	assert.NotContains(t, rest, "after")
	last := object(t, s.client.must(t, step{method: http.MethodGet, path: pipelinesPath + "/logs/" + p.id + "/last", status: http.StatusOK}).body)
	assert.Equal(t, "[host-1] one\ntwo\nthree\n", last["logs"])
	runs := object(t, s.client.must(t, step{method: http.MethodGet, path: base, status: http.StatusOK}).body)
	assert.Equal(t, []any{p.run}, runs["runs"])
}

func TestEntities(t *testing.T) {
	s := start(t, nil)
	_, service := s.client.newService(t, "svc-")
	put := func(path, body string, status int) map[string]any {
		return object(t, s.client.must(t, step{method: http.MethodPut, path: path, body: body, status: status}).body)
	}
	database := put("/v1/databases", `{"name":"a.b","service":"`+service+`"}`, http.StatusCreated)
	assert.Equal(t, service+`."a.b"`, database["fullyQualifiedName"])
	assert.Equal(t, "CustomDatabase", database["serviceType"])
	put("/v1/databaseSchemas", `{"name":"public","database":"`+service+`.\"a.b\""}`, http.StatusCreated)
	schema := service + `.\"a.b\".public`
	table := put("/v1/tables", `{"name":"t","description":"x","columns":[{"name":"c.d","dataType":"INT"}],"databaseSchema":"`+schema+`"}`, http.StatusCreated)
	assert.Equal(t, service+`."a.b".public.t`, table["fullyQualifiedName"])
	for _, ancestor := range []string{"service", "database", "databaseSchema"} {
		assert.Contains(t, table, ancestor)
	}
	columns, _ := table["columns"].([]any)
	require.Len(t, columns, 1)
	assert.Equal(t, service+`."a.b".public.t."c.d"`, field(columns[0], "fullyQualifiedName"))

	again := put("/v1/tables", `{"name":"t","columns":[{"name":"e","dataType":"INT"}],"databaseSchema":"`+schema+`"}`, http.StatusOK)
	assert.Equal(t, table["id"], again["id"])
	assert.NotContains(t, again, "description", "a PUT replaces the whole")
	assert.InDelta(t, 0.2, again["version"], 0.001)

	bulk := put("/v1/tables/bulk", `[{"name":"u","columns":[],"databaseSchema":"`+schema+`"},{"name":"v","databaseSchema":"no.such"}]`, http.StatusOK)
	assert.Equal(t, "partialSuccess", bulk["status"])
	assert.InDelta(t, 1, bulk["numberOfRowsFailed"], 0)

	list := func(query string) map[string]any {
		return object(t, s.client.must(t, step{method: http.MethodGet, path: "/v1/tables?" + query, status: http.StatusOK}).body)
	}
	first := list("limit=1&database=" + encode(service+`."a.b"`))
	paging, _ := first["paging"].(map[string]any)
	assert.InDelta(t, 2, paging["total"], 0)
	after, _ := paging["after"].(string)
	require.NotEmpty(t, after)
	second := list("limit=1&after=" + encode(after))
	items, _ := second["data"].([]any)
	require.Len(t, items, 1)
	assert.Equal(t, "u", field(items[0], "name"))

	edge := `{"edge":{"fromEntity":{"id":"` + field(table, "id") + `","type":"table"},"toEntity":{"id":"` + field(database, "id") + `","type":"database"}}}`
	s.client.must(t, step{method: http.MethodPut, path: "/v1/lineage", body: edge, status: http.StatusOK})
	s.client.must(t, step{
		method: http.MethodGet, status: http.StatusOK, contains: "toEntity",
		path: "/v1/lineage/getLineageEdge/" + field(table, "id") + "/" + field(database, "id"),
	})

	id := field(database, "id")
	s.client.must(t, step{method: http.MethodDelete, path: "/v1/databases/" + id, status: http.StatusBadRequest, contains: "not empty"})
	s.client.must(t, step{method: http.MethodDelete, path: "/v1/databases/" + id + "?recursive=true", status: http.StatusOK})
	byName := "/v1/tables/name/" + encode(service+`."a.b".public.t`)
	s.client.must(t, step{method: http.MethodGet, path: byName, status: http.StatusNotFound})
	s.client.must(t, step{method: http.MethodGet, path: byName + "?include=deleted", status: http.StatusOK})
}

// field is a text field of a JSON object.
func field(value any, name string) string {
	object, _ := value.(map[string]any)
	text, _ := object[name].(string)
	return text
}

func TestAdminSettings(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	require.NoError(t, s.admin.Health(t.Context()))
	gap := admin.Duration(time.Millisecond)
	require.NoError(t, s.admin.Configure(t.Context(), admin.Settings{InsertGap: &gap}))
	expired := true
	require.ErrorContains(t, s.admin.Configure(t.Context(), admin.Settings{TLSExpired: &expired}), "--tls")
	_, err := s.admin.CA(t.Context())
	require.ErrorContains(t, err, "--tls")

	require.NoError(t, s.admin.ClearState(t.Context()))
	got, err := s.admin.Pipelines(t.Context())
	require.NoError(t, err)
	assert.Empty(t, got)
	s.client.must(t, p.get(p.run, http.StatusNotFound))
}

func TestPage(t *testing.T) {
	s := start(t, nil)
	p := s.pipeline(t)
	s.client.must(t, p.put(p.run, p.ts, `,"pipelineState":"running"`, http.StatusCreated))
	get := func(path string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.listener.URL()+path, nil)
		require.NoError(t, err)
		res, err := s.client.http.Do(req)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		require.Equal(t, http.StatusOK, res.StatusCode)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(body)
	}
	assert.Contains(t, get("/"), "runs.json")
	assert.Contains(t, get("/runs.json"), p.run)
}

func TestListenTaken(t *testing.T) {
	socket, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	s, err := openmetadata.New(openmetadata.Options{})
	require.NoError(t, err)
	_, err = s.Listen(t.Context(), socket.Addr().String(), nil)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}
