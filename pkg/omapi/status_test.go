package omapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const started = int64(1_700_000_000_000)

func TestStatusRoundTrip(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	fqn := server.Pipeline(t, "svc", "nightly")
	client := server.Client(t)
	runID := uuid.NewString()

	_, err := client.GetStatus(t.Context(), fqn, runID)
	require.ErrorIs(t, err, omapi.ErrNoRecord, "a run that nobody wrote is 204")
	require.NotErrorIs(t, err, omapi.ErrNotFound, "its pipeline is there")

	source := omapi.StepSummary{
		Name: "Source", Records: 3, UpdatedRecords: 1, Warnings: 2, Errors: 1, Filtered: 4,
		Failures: []omapi.StackTraceError{{Name: "table", Error: "no such table", StackTrace: "line 1\nline 2"}},
	}
	wanted := &omapi.PipelineStatus{
		RunID: runID, State: omapi.StateFailed, StartDate: started, EndDate: started + 5, Timestamp: started,
		Steps:  []omapi.Step{omapi.NewStep(source)},
		Config: json.RawMessage(`{"a":1}`), Metadata: json.RawMessage(`{"b":"2"}`),
	}
	require.NoError(t, client.PutStatus(t.Context(), fqn, wanted))
	got, err := client.GetStatus(t.Context(), fqn, runID)
	require.NoError(t, err)
	require.Len(t, got.Steps, 1)
	assert.Equal(t, source, got.Steps[0].Summary())
	assert.Equal(t, "table: no such table", got.Cause())
	wanted.Steps, got.Steps = nil, nil
	assert.Equal(t, wanted, got)
}

func TestListStatuses(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	fqn := server.Pipeline(t, "svc", "nightly")
	client := server.Client(t)
	none, err := client.ListStatuses(t.Context(), fqn, 3)
	require.NoError(t, err)
	assert.Empty(t, none)
	for i := range int64(4) {
		status := &omapi.PipelineStatus{RunID: uuid.NewString(), State: omapi.StateSuccess, Timestamp: started + i}
		require.NoError(t, client.PutStatus(t.Context(), fqn, status))
	}
	got, err := client.ListStatuses(t.Context(), fqn, 3)
	require.NoError(t, err)
	timestamps := make([]int64, len(got))
	for i := range got {
		timestamps[i] = got[i].Timestamp
	}
	assert.Equal(t, []int64{started + 3, started + 2, started + 1}, timestamps, "the latest, newest first")
}

// TestEachStatus: a record is given before the next has come, and the first error is the caller's own.
func TestEachStatus(t *testing.T) {
	t.Parallel()
	given := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, `{"data":[{"runId":"one"}`)
		assert.NoError(t, http.NewResponseController(w).Flush())
		select {
		case <-given:
			fmt.Fprint(w, `,{"runId":"two"},{"runId":"three"}]}`)
		case <-req.Context().Done():
		}
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	enough := errors.New("two are enough")
	err := newClient(t, server.URL+"/api", "").EachStatus(ctx, "svc.nightly", 3, func(status *omapi.PipelineStatus) error {
		if got = append(got, status.RunID); len(got) == 1 {
			close(given)
			return nil
		}
		return enough
	})
	assert.Equal(t, enough, err, "not an error of OpenMetadata")
	assert.Equal(t, []string{"one", "two"}, got)
}

// TestPutKeepsWhatItDoesNotKnow: the server replaces the whole record, so what is not sent back is lost.
func TestPutKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		record string
		want   string
	}{
		"Everything": {
			reason: "a newer server has fields in the record and in its steps",
			record: `{"runId":"r","pipelineState":"running","timestamp":1700000000000,"startDate":1700000000000,"attempt":{"of":3},
				"config":{"deep":[1,2.5,{"x":null}]},"metadata":{"big":12345678901234567890},
				"status":[{"name":"Source","records":7,"operationMetrics":{"p99":1.25},"sourceTimeMs":12,"failures":[{"name":"n","error":"e"}]}]}`,
			want: `{"runId":"r","pipelineState":"failed","timestamp":1700000000000,"startDate":1700000000000,"attempt":{"of":3},
				"config":{"deep":[1,2.5,{"x":null}]},"metadata":{"big":12345678901234567890},
				"status":[{"name":"Source","records":7,
				"operationMetrics":{"p99":1.25},"sourceTimeMs":12,"failures":[{"name":"n","error":"e"}]}]}`,
		},
		"Nothing": {
			reason: "what the server left out is not made up",
			record: `{"runId":"r","timestamp":5}`,
			want:   `{"runId":"r","timestamp":5,"pipelineState":"failed"}`,
		},
		"Null": {
			reason: "a server may say null instead of leaving out",
			record: `{"runId":"r","pipelineState":null,"endDate":null,"status":null,"timestamp":5}`,
			want:   `{"runId":"r","pipelineState":"failed","timestamp":5}`,
		},
		"Spaced": {
			reason: "JSON is what it is, however it is written",
			record: " { \"runId\" : \"r\",\n\t\"status\" : [ { \"name\" : \"a\\\"]\" } , {\"records\":1} ] , \"ti\\u006destamp\":5 , \"x\\\"\" : [ ] } ",
			want:   `{"runId":"r","pipelineState":"failed","timestamp":5,"status":[{"name":"a\"]"},{"records":1}],"x\"":[]}`,
		},
		"UnknownState": {
			reason: "a state of a newer server can be read",
			record: `{"runId":"r","pipelineState":"paused","timestamp":5}`,
			want:   `{"runId":"r","pipelineState":"failed","timestamp":5}`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newRecorder(t, tc.record)
			client := newClient(t, server.URL, "")
			record, err := client.GetStatus(t.Context(), "s.p", "r")
			require.NoError(t, err, tc.reason)
			record.State = omapi.StateFailed
			require.NoError(t, client.PutStatus(t.Context(), "s.p", record), tc.reason)
			assert.JSONEq(t, tc.want, server.written(), tc.reason)
			// JSONEq reads numbers as floats; digits must be those that were sent.
			for _, digits := range []string{"12345678901234567890", "1700000000000"} {
				assert.Equal(t, countOf(tc.record, digits), countOf(server.written(), digits), tc.reason)
			}
		})
	}
}

func countOf(text, part string) int {
	count := 0
	for i := 0; i+len(part) <= len(text); i++ {
		if text[i:i+len(part)] == part {
			count++
		}
	}
	return count
}

// recorder is a server that is not as strict as the stand-in: it gives one record and keeps what is put.
type recorder struct {
	*httptest.Server

	mu   sync.Mutex
	body string
}

func newRecorder(t *testing.T, record string) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if req.Method == http.MethodGet {
			fmt.Fprint(w, record)
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.body = string(body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "{}")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) written() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.body
}

func newClient(t *testing.T, url, token string) *omapi.Client {
	t.Helper()
	client, err := omapi.New(omapi.Config{URL: url, Token: token, UserAgent: "unit-test"})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func TestPutStatusConflict(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	fqn := server.Pipeline(t, "svc", "nightly")
	client := server.Client(t)
	first := &omapi.PipelineStatus{RunID: uuid.NewString(), State: omapi.StateQueued, Timestamp: started}
	require.NoError(t, client.PutStatus(t.Context(), fqn, first))
	second := &omapi.PipelineStatus{RunID: uuid.NewString(), State: omapi.StateQueued, Timestamp: started}
	err := client.PutStatus(t.Context(), fqn, second)
	require.ErrorIs(t, err, omapi.ErrConflict, "two runs of a pipeline cannot have one timestamp")
	assert.False(t, omapi.Retryable(err), "the same write will not succeed later")
	assert.Nil(t, server.Run(t, fqn, second.RunID))
}

func TestNamesInThePath(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason        string
		service, name string
		fqn           string
		path          string
	}{
		"Plain":   {reason: "nothing to escape", service: "svc", name: "nightly", fqn: "svc.nightly", path: "svc.nightly"},
		"Dots":    {reason: "the server stores a name with a dot in quotes", service: "a.b", name: "c.d", fqn: `"a.b"."c.d"`, path: "%22a.b%22.%22c.d%22"},
		"Slash":   {reason: "a raw slash would be another path", service: "svc", name: "a/b", fqn: "svc.a/b", path: "svc.a%2Fb"},
		"Plus":    {reason: "a plus is not a space", service: "svc", name: "a+b c", fqn: "svc.a+b c", path: "svc.a%2Bb%20c"},
		"Percent": {reason: "encoded once, not twice", service: "svc", name: "100%25", fqn: "svc.100%25", path: "svc.100%2525"},
		"Query":   {reason: "the path ends at a raw ? or #", service: "svc", name: "a?b#c;d&e=f", fqn: "svc.a?b#c;d&e=f", path: "svc.a%3Fb%23c%3Bd%26e%3Df"},
		"Unicode": {reason: "names are in any script", service: "svc", name: "\u8ba2\u5355", fqn: "svc.\u8ba2\u5355", path: "svc.%E8%AE%A2%E5%8D%95"},
		"Quote":   {reason: "' stands for itself", service: "svc", name: "it's", fqn: "svc.it's", path: "svc.it%27s"},
		"Dot":     {reason: "a client must not take a dot for a folder", service: "svc", name: "..", fqn: `svc.".."`, path: "svc.%22..%22"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := omtest.Start(t, openmetadata.Options{})
			require.Equal(t, tc.fqn, server.Pipeline(t, tc.service, tc.name), "the server's own name")
			assert.Equal(t, tc.fqn, omapi.JoinFQN(tc.service, tc.name), tc.reason)
			assert.Equal(t, []string{tc.service, tc.name}, omapi.SplitFQN(tc.fqn), tc.reason)
			client := server.Client(t)
			runID := uuid.NewString()
			require.NoError(t, client.PutStatus(t.Context(), tc.fqn, &omapi.PipelineStatus{RunID: runID, State: omapi.StateQueued, Timestamp: started}), tc.reason)
			_, err := client.GetStatus(t.Context(), tc.fqn, runID)
			require.NoError(t, err, tc.reason)
			statuses, err := client.ListStatuses(t.Context(), tc.fqn, 5)
			require.NoError(t, err, tc.reason)
			assert.Len(t, statuses, 1, tc.reason)
			pipeline, err := client.GetPipeline(t.Context(), tc.fqn)
			require.NoError(t, err, tc.reason)
			assert.Equal(t, tc.fqn, pipeline.FQN(), tc.reason)
			requests, err := server.Requests(admin.RequestFilter{Method: http.MethodPut, Path: "pipelineStatus$"})
			require.NoError(t, err)
			require.Len(t, requests, 1)
			assert.Equal(t, "/api/v1/services/ingestionPipelines/"+tc.path+"/pipelineStatus", requests[0].Path, tc.reason)
		})
	}
}

func TestEmptyNameIsNoRequest(t *testing.T) {
	t.Parallel()
	client := newClient(t, "http://127.0.0.1:1/api", "")
	_, err := client.GetStatus(t.Context(), "", "r")
	require.ErrorContains(t, err, "fully qualified name is empty")
	require.ErrorContains(t, client.PutStatus(t.Context(), "", &omapi.PipelineStatus{}), "fully qualified name is empty")
	_, err = client.ListStatuses(t.Context(), "", 1)
	require.ErrorContains(t, err, "fully qualified name is empty")
	_, err = client.GetPipeline(t.Context(), "")
	require.ErrorContains(t, err, "fully qualified name is empty")
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	for state, want := range map[omapi.PipelineState]bool{
		omapi.StateQueued: false, omapi.StateRunning: false, "": false, "paused": false,
		omapi.StateSuccess: true, omapi.StatePartialSuccess: true, omapi.StateFailed: true, omapi.StateStopped: true,
	} {
		assert.Equal(t, want, state.Terminal(), "state %q", state)
	}
}

func TestCauseIsTheNewest(t *testing.T) {
	t.Parallel()
	failure := func(name string) []omapi.StackTraceError { return []omapi.StackTraceError{{Name: name, Error: "e"}} }
	status := omapi.PipelineStatus{}
	for _, step := range []omapi.StepSummary{
		{Name: "Source", Failures: failure("first")}, {Name: "Pod Diagnostics", Failures: append(failure("x"), failure("last")...)}, {Name: "Sink"},
	} {
		status.Steps = append(status.Steps, omapi.NewStep(step))
	}
	assert.Equal(t, "last: e", status.Cause())
	assert.Empty(t, (&omapi.PipelineStatus{}).Cause())
}

// TestAnswersAreBounded: what is too large for a small process is refused, with what to do.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	const tooLarge = 33 << 20
	for name, length := range map[string]string{"Told": strconv.Itoa(tooLarge), "Untold": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				block := bytes.Repeat([]byte(" "), 1<<20)
				for range tooLarge >> 20 {
					_, _ = w.Write(block)
				}
			}))
			t.Cleanup(server.Close)
			_, err := newClient(t, server.URL, "").GetStatus(t.Context(), "s.p", "r")
			require.ErrorContains(t, err, "cannot read the status of run r of pipeline s.p")
			require.ErrorContains(t, err, "the answer is larger than 32 MiB; delete the run's record")
			assert.False(t, omapi.Retryable(err), "it does not become smaller")
		})
	}
}

// TestDamagedAnswers: what has the code of a success may be half of an answer, or another's.
func TestDamagedAnswers(t *testing.T) {
	t.Parallel()
	const record = `{"runId":"` + existingRun + `","pipelineState":"running","timestamp":1}`
	get := func(ctx context.Context, c *omapi.Client) error {
		_, err := c.GetStatus(ctx, "s.p", strings.ToUpper(existingRun))
		return err
	}
	list := func(ctx context.Context, c *omapi.Client) error {
		_, err := c.ListStatuses(ctx, "s.p", 10)
		return err
	}
	cases := map[string]struct {
		reason string
		call   func(context.Context, *omapi.Client) error
		answer string
		want   string
	}{
		"Record":   {reason: "the server may write a run's id in its own way", call: get, answer: record},
		"Proxy":    {reason: "a proxy answers in its own JSON", call: get, answer: `{"code":200,"data":null}`, want: `it is the record of run ""`},
		"Other":    {reason: "a cache mixes up two runs", call: get, answer: `{"runId":"other"}`, want: `it is the record of run "other"`},
		"List":     {reason: "a whole list is taken", call: list, answer: `{"data":[` + record + `],"paging":{"total":1}}`},
		"Empty":    {reason: "no run yet", call: list, answer: `{"data":[]}`},
		"CutAfter": {reason: "it broke off after an element", call: list, answer: `{"data":[` + record, want: "EOF"},
		"CutComma": {reason: "it broke off before the next", call: list, answer: `{"data":[` + record + `,`, want: "EOF"},
		"CutFirst": {reason: "it broke off before the first", call: list, answer: `{"data":[`, want: "EOF"},
		"Null":     {reason: "the server's word for it", call: list, answer: `{"data":null,"paging":{"total":0}}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tc.answer)) }))
			t.Cleanup(server.Close)
			err := tc.call(t.Context(), newClient(t, server.URL, ""))
			if tc.want == "" {
				require.NoError(t, err, tc.reason)
				return
			}
			require.ErrorContains(t, err, "the answer is not the JSON that OpenMetadata sends", tc.reason)
			require.ErrorContains(t, err, tc.want, tc.reason)
			assert.True(t, omapi.Retryable(err), tc.reason)
		})
	}
}
