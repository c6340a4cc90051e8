package report

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	started  = int64(1_700_000_000_000)
	patience = 20 * time.Second
)

// impatient is the backoff of a test: the same rules, other times.
func impatient() wait.Backoff {
	return wait.Backoff{Duration: time.Millisecond, Factor: 2, Steps: 1 << 20, Cap: 2 * time.Millisecond}
}

// world is a server with one pipeline, and a run of it.
type world struct {
	*omtest.Server

	client     *omapi.Client
	fqn, runID string
}

func newWorld(t *testing.T, options openmetadata.Options) *world {
	t.Helper()
	server := omtest.Start(t, options)
	return &world{Server: server, client: server.Client(t), fqn: server.Pipeline(t, "svc", "nightly"), runID: uuid.NewString()}
}

// write puts a record as the workflow does, with fields that this project has no types for.
func (w *world) write(t *testing.T, record map[string]any) {
	t.Helper()
	body := map[string]any{"runId": w.runID, "timestamp": started, "startDate": started}
	maps.Copy(body, record)
	answer, err := w.PutStatus(t, w.fqn, body)
	require.NoError(t, err)
	require.True(t, answer.IsSuccess(), answer.String())
}

func (w *world) finding(outcome Outcome) Finding {
	return Finding{FQN: w.fqn, RunID: w.runID, Timestamp: started, Outcome: outcome, Ended: time.UnixMilli(started + 7)}
}

// report is Report in a hurry, which does not go on for ever.
func (w *world) report(t *testing.T, finding Finding) (Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return reportWith(ctx, w.client, finding, impatient())
}

// record is the run's record as the server has it.
func (w *world) record(t *testing.T) map[string]any {
	t.Helper()
	run := w.Run(t, w.fqn, w.runID)
	require.NotNil(t, run, "the run has a record")
	require.Len(t, run.Rows, 1, "one run has one record")
	var out map[string]any
	require.NoError(t, json.Unmarshal(run.Rows[0], &out))
	return out
}

// puts is how many status writes the server saw, refused ones too.
func (w *world) puts(t *testing.T) int {
	t.Helper()
	requests, err := w.Requests(admin.RequestFilter{Method: http.MethodPut, Path: "pipelineStatus$"})
	require.NoError(t, err)
	return len(requests)
}

func diagnosis() *omapi.StepSummary {
	return &omapi.StepSummary{Name: "Pod Diagnostics", Errors: 1, Failures: []omapi.StackTraceError{{Name: "OOMKilled", Error: "out of memory", StackTrace: "log"}}}
}

// workflowRecord has what a workflow writes, more than this project has types for.
func workflowRecord(state string) map[string]any {
	return map[string]any{
		"pipelineState": state,
		"endDate":       started + 3, // Also of a running record, where it means nothing.
		"config":        map[string]any{"a": 1.0, "nested": []any{"x", nil}},
		"metadata":      map[string]any{"workflow": "v1"},
		"status": []any{map[string]any{
			"name": "Source", "records": 10.0, "updated_records": 2.0, "warnings": 1.0, "errors": 1.0, "filtered": 3.0,
			"sourceTimeMs": 12.0, "operationMetrics": map[string]any{"read": map[string]any{"p99": 1.5}},
			"failures": []any{map[string]any{"name": "t1", "error": "e", "stackTrace": "s"}},
		}},
	}
}

// TestLostRun: who finds neither a Job nor a pod knows nothing better than what is written.
func TestLostRun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		before string
		want   string
	}{
		"Running": {reason: "it goes on no more", before: "running", want: "failed"},
		"Success": {reason: "it ended after its record was looked at", before: "success", want: "success"},
		"Stopped": {reason: "a kill deletes the Job", before: "stopped", want: "stopped"},
		"Failed":  {reason: "that the run is lost is no cause", before: "failed", want: "failed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.write(t, map[string]any{"pipelineState": tc.before, "endDate": started + 3})
			finding := w.finding(Lost)
			finding.Step = diagnosis()
			result, err := w.report(t, finding)
			require.NoError(t, err)
			assert.Equal(t, Result{State: omapi.PipelineState(tc.want), Written: tc.want != tc.before}, result, tc.reason)
		})
	}
}

func TestReportKeepsTheWorkflowsRecord(t *testing.T) {
	t.Parallel()
	const atEnd = float64(started + 7)
	cases := map[string]struct {
		reason  string
		outcome Outcome
		before  string
		want    string
		ended   any
	}{
		"Failed":    {reason: "the pod was killed before the workflow could say anything", outcome: Failed, before: "running", want: "failed", ended: atEnd},
		"Lied":      {reason: "a success that was reported before the end is none", outcome: Failed, before: "success", want: "failed", ended: atEnd},
		"Completed": {reason: "the workflow's last write was lost", outcome: Complete, before: "running", want: "success", ended: atEnd},
		"Killed":    {reason: "a person ended it", outcome: Stopped, before: "running", want: "stopped", ended: atEnd},
		"Retried":   {reason: "an attempt that failed is not the run's end", outcome: Undecided, before: "failed", want: "running"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.write(t, workflowRecord(tc.before))
			before := w.record(t)
			finding := w.finding(tc.outcome)
			finding.Step = diagnosis()
			finding.Timestamp = started + 99
			if tc.outcome == Undecided {
				finding.Superseded = time.UnixMilli(started + 50)
			}

			result, err := Report(t.Context(), w.client, finding)
			require.NoError(t, err)
			assert.Equal(t, Result{State: omapi.PipelineState(tc.want), Written: true}, result, tc.reason)

			got := w.record(t)
			assert.Equal(t, tc.want, got["pipelineState"], tc.reason)
			assert.InDelta(t, started, got["timestamp"], 0, "a record keeps its timestamp, whatever a reporter believes")
			assert.Equal(t, tc.ended, got["endDate"], tc.reason)
			steps, ok := got["status"].([]any)
			require.True(t, ok)
			require.Len(t, steps, 2, "the diagnosis comes after what the workflow wrote")
			assert.Equal(t, before["status"], steps[:1], "a step is kept whole, with fields of no type of ours")
			for _, field := range []string{"config", "metadata", "startDate", "runId"} {
				assert.Equal(t, before[field], got[field], "%s is kept", field)
			}
		})
	}
}

func TestReportWritesNothingWhereNothingIsMissing(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		outcome Outcome
		state   string
		more    map[string]any
		step    bool
	}{
		"Success":     {reason: "the workflow said it all", outcome: Complete, state: "success", more: map[string]any{"endDate": started + 5}},
		"Partial":     {reason: "so it did", outcome: Complete, state: "partialSuccess", more: map[string]any{"endDate": started + 5}},
		"Explained":   {reason: "the workflow failed and said why", outcome: Failed, state: "failed", step: true, more: workflowRecord("failed")},
		"FailedTwice": {reason: "a second reporter has nothing to add", outcome: Failed, state: "failed", step: true, more: map[string]any{"endDate": started + 5, "status": []any{diagnosis()}}},
		"Stopped":     {reason: "the Job of a killed run fails too, and that is no news", outcome: Failed, state: "stopped", more: map[string]any{"endDate": started + 5}},
		"TooLate":     {reason: "the run had ended before the kill", outcome: Stopped, state: "success", more: map[string]any{"endDate": started + 5}},
		"Running":     {reason: "a run that goes on is running already", outcome: Undecided, state: "running"},
		"RunningWithEndDate": {
			reason:  "an endDate of a running record means nothing and is the workflow's own",
			outcome: Undecided, state: "running", more: map[string]any{"endDate": started + 5},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			record := map[string]any{"pipelineState": tc.state}
			maps.Copy(record, tc.more)
			w.write(t, record)
			before := w.record(t)
			finding := w.finding(tc.outcome)
			if tc.step {
				finding.Step = diagnosis()
				finding.Step.Failures[0].StackTrace = "the log of a moment later"
			}
			for range 2 {
				result, err := Report(t.Context(), w.client, finding)
				require.NoError(t, err)
				assert.Equal(t, Result{State: omapi.PipelineState(tc.state)}, result, tc.reason)
			}
			assert.Equal(t, before, w.record(t), tc.reason)
			assert.Equal(t, 1, w.puts(t), "each write fires alerts: %s", tc.reason)
		})
	}
}

func TestReportOfARunWithoutRecord(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		outcome Outcome
		want    omapi.PipelineState
	}{
		"Undecided": {Undecided, omapi.StateRunning}, "Complete": {Complete, omapi.StateSuccess},
		"Failed": {Failed, omapi.StateFailed}, "Stopped": {Stopped, omapi.StateStopped},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			finding := w.finding(tc.outcome)
			finding.Ended = time.Time{}
			before := time.Now().UnixMilli()
			result, err := Report(t.Context(), w.client, finding)
			require.NoError(t, err)
			assert.Equal(t, Result{State: tc.want, Written: true}, result)
			run := w.Run(t, w.fqn, w.runID)
			require.NotNil(t, run)
			assert.Equal(t, started, run.Timestamp, "all reporters take the same one")
			assert.Equal(t, started, run.StartDate)
			if tc.want.Terminal() {
				assert.GreaterOrEqual(t, run.EndDate, before, "without a better one, now is the end")
			} else {
				assert.Zero(t, run.EndDate)
			}
		})
	}
}

// TestReportersAtOnce: hook, sidecar, reconciler and whoever else report the same end at the same time.
func TestReportersAtOnce(t *testing.T) {
	t.Parallel()
	const reporters = 8
	cases := map[string]struct {
		reason string
		before map[string]any
		gap    time.Duration
	}{
		"NoRecord": {reason: "first writes race for the insert", gap: 20 * time.Millisecond},
		"Running":  {reason: "the record is there", before: workflowRecord("running")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{InsertGap: tc.gap})
			if tc.before != nil {
				w.write(t, tc.before)
			}
			var wg sync.WaitGroup
			errs := make([]error, reporters)
			for i := range reporters {
				wg.Go(func() {
					finding := w.finding(Failed)
					finding.Step = diagnosis()
					_, errs[i] = w.report(t, finding)
				})
			}
			wg.Wait()
			require.NoError(t, errors.Join(errs...))
			got := w.record(t)
			assert.Equal(t, "failed", got["pipelineState"], tc.reason)
			steps, ok := got["status"].([]any)
			require.True(t, ok)
			diagnoses := 0
			for _, step := range steps {
				if step, ok := step.(map[string]any); ok && step["name"] == "Pod Diagnostics" {
					diagnoses++
				}
			}
			assert.Equal(t, 1, diagnoses, "one end has one diagnosis: %s", tc.reason)

			written := w.puts(t)
			result, err := Report(t.Context(), w.client, w.finding(Stopped))
			require.NoError(t, err)
			assert.Equal(t, Result{State: omapi.StateFailed}, result, "a final state is not flipped")
			assert.Equal(t, written, w.puts(t))
		})
	}
}

func TestReportWhereTheTimestampIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openmetadata.Options{})
	for i := range int64(3) {
		other := &omapi.PipelineStatus{RunID: uuid.NewString(), State: omapi.StateSuccess, Timestamp: started + i}
		require.NoError(t, w.client.PutStatus(t.Context(), w.fqn, other))
	}
	result, err := w.report(t, w.finding(Complete))
	require.NoError(t, err)
	assert.True(t, result.Written)
	run := w.Run(t, w.fqn, w.runID)
	require.NotNil(t, run)
	assert.Equal(t, started+3, run.Timestamp, "the next that no other run has")
}

func TestReportGoesOnUntilItIsDelivered(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		fault  admin.Fault
	}{
		"Down":     {reason: "the server restarts", fault: admin.Fault{Kind: admin.FaultStatus, Status: 503, Count: 25}},
		"Limited":  {reason: "the server limits requests", fault: admin.Fault{Kind: admin.FaultStatus, Status: 429, Count: 3, Method: http.MethodPut}},
		"Broken":   {reason: "connections break", fault: admin.Fault{Kind: admin.FaultReset, Count: 5}},
		"Proxy":    {reason: "a proxy answers with its page, and 200", fault: admin.Fault{Kind: admin.FaultGarbage, Count: 4, Method: http.MethodPut}},
		"HalfRead": {reason: "an answer is cut off", fault: admin.Fault{Kind: admin.FaultTruncate, Count: 2, Method: http.MethodGet}},
		"AnswerLost": {
			reason: "the write was done, its answer got lost: it is not done twice",
			fault:  admin.Fault{Kind: admin.FaultStatus, Status: 502, Count: 1, Method: http.MethodPut, AfterHandling: true},
		},
		"RaceLost": {reason: "another reporter came first", fault: admin.Fault{Kind: admin.FaultStatus, Status: 409, Count: 2, Method: http.MethodPut}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.write(t, map[string]any{"pipelineState": "running"})
			tc.fault.Path = "pipelineStatus"
			w.Fault(t, tc.fault)
			result, err := w.report(t, w.finding(Failed))
			require.NoError(t, err, tc.reason)
			assert.Equal(t, omapi.StateFailed, result.State, tc.reason)
			run := w.Run(t, w.fqn, w.runID)
			require.NotNil(t, run)
			assert.Equal(t, "failed", run.State, tc.reason)
			final := 0
			for _, write := range run.Writes {
				if write.State == "failed" && write.Status == http.StatusCreated {
					final++
				}
			}
			assert.Equal(t, 1, final, "the final state is written once: %s", tc.reason)
			deletions, err := w.Requests(admin.RequestFilter{Method: http.MethodDelete})
			require.NoError(t, err)
			assert.Empty(t, deletions, "a record that has one row is not deleted")
		})
	}
}

func TestReportEndsWithTheContext(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		limit  time.Duration
		fault  admin.Fault
		want   string
	}{
		"Down": {reason: "the last answer is told, not that time is over", limit: 3 * time.Second, fault: admin.Fault{Kind: admin.FaultStatus, Status: 503}, want: "answered 503"},
		"Hang": {reason: "a server that does not answer is left", limit: 100 * time.Millisecond, fault: admin.Fault{Kind: admin.FaultHang}, want: "no answer from OpenMetadata"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.Fault(t, tc.fault)
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), tc.limit)
			defer cancel()
			_, err := Report(ctx, w.client, w.finding(Failed))
			require.ErrorContains(t, err, tc.want, tc.reason)
			assert.NotContains(t, err.Error(), w.Token)
			assert.Less(t, time.Since(begun), patience, tc.reason)
		})
	}
}

func TestReportGivesUpWhereTryingAgainIsOfNoUse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		token  admin.TokenKind
		fqn    string
		is     error
	}{
		"Expired":    {reason: "a token does not become valid", token: admin.TokenExpired, is: omapi.ErrUnauthorized},
		"NoRight":    {reason: "a right is not given in a minute", token: admin.TokenNoRight, is: omapi.ErrForbidden},
		"NoPipeline": {reason: "a deleted pipeline has no runs", token: admin.TokenBot, fqn: "svc.gone", is: omapi.ErrNotFound},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			finding := w.finding(Failed)
			if tc.fqn != "" {
				finding.FQN = tc.fqn
			}
			_, err := Report(t.Context(), w.ClientWith(t, w.TokenOf(t, tc.token)), finding)
			require.ErrorIs(t, err, tc.is, tc.reason)
			requests, err := w.Requests(admin.RequestFilter{Path: "pipelineStatus"})
			require.NoError(t, err)
			assert.LessOrEqual(t, len(requests), 2, tc.reason)
			assert.Nil(t, w.Run(t, w.fqn, w.runID))
		})
	}
}

func TestStoppedOnAServerThatRefusesIt(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		message string
		old     bool
	}{
		"Validator": {reason: "a server that does not know the state", message: "query param pipelineState must be one of [queued, success, failed, running, partialSuccess]", old: true},
		"Jackson":   {reason: "as an enum that cannot be read", message: `Cannot deserialize value of type X from String "stopped": not one of the values accepted for Enum class: [failed, running]`, old: true},
		"Field":     {reason: "what it refuses is something else", message: `Unrecognized field "extra" (8 known properties: startDate,status,runId,endDate,pipelineState,config,timestamp,metadata)`},
		"Plain":     {reason: "a proxy's refusal says nothing of states", message: "Bad Request"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.write(t, workflowRecord("running"))
			w.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: http.StatusBadRequest, Body: tc.message, Method: http.MethodPut, Path: "pipelineStatus$", Count: 1})
			result, err := w.report(t, w.finding(Stopped))
			if !tc.old {
				require.ErrorIs(t, err, omapi.ErrBadRequest, tc.reason)
				assert.Equal(t, "running", w.record(t)["pipelineState"])
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, Result{State: omapi.StateFailed, Written: true}, result, tc.reason)
			got := w.Run(t, w.fqn, w.runID)
			assert.Equal(t, "failed", got.State)
			assert.Contains(t, string(got.Rows[0]), "this server does not know the state stopped")
		})
	}
}

// TestStaleDiagnosis: what was said of a run before its end does not stand in the way of its cause.
func TestStaleDiagnosis(t *testing.T) {
	t.Parallel()
	const attempt = "Pod Diagnostics: p"
	step := func(name, category string) map[string]any {
		return map[string]any{"name": name, "failures": []any{map[string]any{"name": category, "error": "e"}}}
	}
	cases := map[string]struct {
		reason  string
		outcome Outcome
		state   string
		before  []any
		name    string
		found   string
		want    []string // Each step's name and newest failure.
	}{
		"Ended": {
			reason: "by hand while the run went on, then its deadline", outcome: Failed, state: "running",
			before: []any{step("Pod Diagnostics", "Unknown")}, name: "Pod Diagnostics", found: "DeadlineExceeded", want: []string{"Pod Diagnostics DeadlineExceeded"},
		},
		"EndedOtherwise": {
			reason: "what it waited for is not how it ended", outcome: Failed, state: "running",
			before: []any{step("Pod Diagnostics", "ImagePull"), step("Source", "t")}, name: "Pod Diagnostics", found: "Evicted", want: []string{"Source t", "Pod Diagnostics Evicted"},
		},
		"FoundLater": {
			reason: "the first reporter could not look", outcome: Failed, state: "failed",
			before: []any{step("Pod Diagnostics", "Unknown")}, name: "Pod Diagnostics", found: "OOMKilled", want: []string{"Pod Diagnostics OOMKilled"},
		},
		"FoundLaterBesideTheWorkflow": {
			reason: "also where the workflow has failures of its own", outcome: Failed, state: "failed",
			before: []any{step("Source", "t"), step("Pod Diagnostics", "Unknown")}, name: "Pod Diagnostics", found: "OOMKilled", want: []string{"Source t", "Pod Diagnostics OOMKilled"},
		},
		"NobodyKnows": {
			reason: "one who does not know either adds nothing", outcome: Failed, state: "failed",
			before: []any{step("Pod Diagnostics", "Unknown")}, name: "Pod Diagnostics", found: "Unknown", want: []string{"Pod Diagnostics Unknown"},
		},
		"FirstIsAsGood": {
			reason: "of what ended the first diagnosis stands", outcome: Failed, state: "failed",
			before: []any{step("Pod Diagnostics", "OOMKilled")}, name: "Pod Diagnostics", found: "ApplicationError", want: []string{"Pod Diagnostics OOMKilled"},
		},
		"Attempt": {
			reason: "an attempt that was asked of while it ran has failed", outcome: Undecided, state: "running",
			before: []any{step(attempt, "Unknown")}, name: attempt, found: "OOMKilled", want: []string{attempt + " OOMKilled"},
		},
		"WorkflowsOwn": {
			reason: "a step of the workflow's is not ours to judge", outcome: Failed, state: "failed",
			before: []any{step("Source", "Unknown")}, name: "Source", found: "OOMKilled", want: []string{"Source Unknown"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.write(t, map[string]any{"pipelineState": tc.state, "endDate": started + 3, "status": tc.before})
			finding := w.finding(tc.outcome)
			finding.Step = diagnosis()
			finding.Step.Name, finding.Step.Failures[0].Name = tc.name, tc.found
			for range 2 {
				_, err := w.report(t, finding)
				require.NoError(t, err)
			}
			record, err := w.client.GetStatus(t.Context(), w.fqn, w.runID)
			require.NoError(t, err)
			got := make([]string, 0, len(record.Steps))
			for _, step := range record.Steps {
				failure, _ := step.Failure()
				got = append(got, step.Name+" "+failure.Name)
			}
			assert.Equal(t, tc.want, got, tc.reason)
			assert.LessOrEqual(t, w.puts(t), 2, "one write at most, however often it is reported")
		})
	}
}

// through is a client that speaks to the server through a proxy.
func (w *world) through(t *testing.T, proxy func(rw http.ResponseWriter, req *http.Request)) *omapi.Client {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(proxy))
	t.Cleanup(front.Close)
	client, err := omapi.New(omapi.Config{URL: front.URL + "/api", Token: w.Token})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// TestReportThatIsOverwritten: only a write that nobody has contradicted is a report.
func TestReportThatIsOverwritten(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		// overwrites is how many of the writes another writer replaces; after them, the method is refused.
		overwrites int32
		refused    string
		want       string
		is         error
	}{
		"ReadBackRefused":   {reason: "it is written, and only not read", refused: http.MethodGet},
		"SecondRefused":     {reason: "it was seen that another write stands", overwrites: 1, refused: http.MethodPut, is: omapi.ErrForbidden, want: "answered 403"},
		"OnceMore":          {reason: "another writer came in between, once", overwrites: 1},
		"AgainAndAgain":     {reason: "somebody writes against us", overwrites: 100, is: errOverwritten, want: "each time another writer changed it"},
		"LastRoundIsEnough": {reason: "the last try is one", overwrites: rounds - 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.write(t, workflowRecord("running"))
			var puts atomic.Int32
			client := w.through(t, func(rw http.ResponseWriter, req *http.Request) {
				if req.Method == tc.refused && puts.Load() > 0 {
					rw.WriteHeader(http.StatusForbidden)
					return
				}
				w.ServeHTTP(rw, req)
				if req.Method == http.MethodPut && puts.Add(1) <= tc.overwrites {
					w.write(t, workflowRecord("running"))
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			result, err := reportWith(ctx, client, w.finding(Failed), impatient())
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is, tc.reason)
				require.ErrorContains(t, err, tc.want, tc.reason)
				require.ErrorContains(t, err, w.runID)
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, Result{State: omapi.StateFailed, Written: true}, result, tc.reason)
			assert.Equal(t, "failed", w.record(t)["pipelineState"])
		})
	}
}

// duplicate makes rows of one run as first writers do that do not know of each other: with different timestamps.
func (w *world) duplicate(t *testing.T) {
	t.Helper()
	const writers = 4
	w.SetInsertGap(time.Second) // All have looked before the first inserts.
	defer w.SetInsertGap(20 * time.Millisecond)
	var wg sync.WaitGroup
	for i := range int64(writers) {
		wg.Go(func() {
			record := workflowRecord("running")
			record["runId"], record["timestamp"] = w.runID, started+i
			answer, err := w.PutStatus(t, w.fqn, record)
			if assert.NoError(t, err) {
				// Whoever looks late finds the others' rows, and is refused.
				assert.True(t, answer.IsSuccess() || answer.StatusCode() == http.StatusConflict, answer.String())
			}
		})
	}
	wg.Wait()
	require.Greater(t, len(w.Run(t, w.fqn, w.runID).Rows), 1)
}

// TestDuplicateRows: the server refuses every write of such a run for ever, until its rows are deleted.
func TestDuplicateRows(t *testing.T) {
	t.Parallel()
	for reason, reporters := range map[string]int{"one reporter repairs it": 1, "several do not lose anything to each other": 5} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.duplicate(t)
			var before map[string]any
			require.NoError(t, json.Unmarshal(w.Run(t, w.fqn, w.runID).Rows[0], &before))
			var wg sync.WaitGroup
			for range reporters {
				wg.Go(func() {
					finding := w.finding(Failed)
					finding.Step = diagnosis()
					result, err := w.report(t, finding)
					if assert.NoError(t, err, reason) {
						assert.Equal(t, omapi.StateFailed, result.State, reason)
					}
				})
			}
			wg.Wait()
			run := w.Run(t, w.fqn, w.runID)
			require.NotNil(t, run, reason)
			assert.Len(t, run.Rows, 1, reason)
			got := w.record(t)
			assert.Equal(t, "failed", got["pipelineState"])
			for _, field := range []string{"config", "metadata", "startDate"} {
				assert.Equal(t, before[field], got[field], "%s is kept: %s", field, reason)
			}
			steps, ok := got["status"].([]any)
			require.True(t, ok)
			require.Len(t, steps, 2, reason)
			source, ok := before["status"].([]any)
			require.True(t, ok)
			assert.Equal(t, source[0], steps[0], reason)
		})
	}
}

// TestRepairIsDoneOnceItIsBegun: between deletion and writing the record is in this process only.
func TestRepairIsDoneOnceItIsBegun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		// lost: the answer to the deletion does not arrive; refused: so many writes after it are.
		lost    bool
		refused int32
	}{
		"Deadline":   {reason: "the time ends in between"},
		"AnswerLost": {reason: "and nobody says that it is deleted", lost: true},
		"Restart":    {reason: "and the server goes away for a moment", refused: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			w.duplicate(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var deleted atomic.Bool
			var refused atomic.Int32
			client := w.through(t, func(rw http.ResponseWriter, req *http.Request) {
				switch {
				case req.Method == http.MethodDelete:
					w.ServeHTTP(httptest.NewRecorder(), req)
					deleted.Store(true)
					cancel()
					if tc.lost {
						panic(http.ErrAbortHandler)
					}
					rw.WriteHeader(http.StatusNoContent)
				case req.Method == http.MethodPut && deleted.Load() && refused.Add(1) <= tc.refused:
					rw.WriteHeader(http.StatusServiceUnavailable)
				default:
					w.ServeHTTP(rw, req)
				}
			})
			result, err := reportWith(ctx, client, w.finding(Failed), impatient())
			require.NoError(t, err, tc.reason)
			assert.Equal(t, Result{State: omapi.StateFailed, Written: true}, result, tc.reason)
			run := w.Run(t, w.fqn, w.runID)
			require.NotNil(t, run, tc.reason)
			assert.Len(t, run.Rows, 1, tc.reason)
			assert.Equal(t, "failed", run.State, tc.reason)
			assert.Contains(t, string(run.Rows[0]), "operationMetrics", "the workflow's steps are kept: %s", tc.reason)
		})
	}
}

// TestRepairKeepsWhatIsNewer: a workflow that read nothing between deletion and writing writes a record without the steps
// that were there, which is newer all the same.
func TestRepairKeepsWhatIsNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openmetadata.Options{})
	w.duplicate(t)
	sink := map[string]any{"name": "Sink", "records": 9.0}
	newer := map[string]any{
		"pipelineState": "partialSuccess", "endDate": started + 5, "config": map[string]any{"a": 2.0},
		"status": []any{sink},
	}
	var deleted, written atomic.Bool
	client := w.through(t, func(rw http.ResponseWriter, req *http.Request) {
		w.ServeHTTP(rw, req)
		switch {
		case req.Method == http.MethodDelete:
			deleted.Store(true)
		case req.Method == http.MethodPut && deleted.Load() && written.CompareAndSwap(false, true):
			newer["timestamp"] = w.record(t)["timestamp"]
			w.write(t, newer)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := reportWith(ctx, client, w.finding(Complete), impatient())
	require.NoError(t, err)
	assert.Equal(t, omapi.StatePartialSuccess, result.State)
	got := w.record(t)
	assert.Equal(t, "partialSuccess", got["pipelineState"])
	assert.InDelta(t, started+5, got["endDate"], 0)
	assert.Equal(t, newer["config"], got["config"])
	older, ok := workflowRecord("running")["status"].([]any)
	require.True(t, ok)
	assert.Equal(t, append(older, sink), got["status"], "nothing of either is lost")
}

// TestGapOfARepair: another reporter's repair is not taken for a run without record, or for a timestamp that is taken.
func TestGapOfARepair(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openmetadata.Options{})
	w.write(t, workflowRecord("running"))
	before := w.record(t)
	var puts atomic.Int32
	client := w.through(t, func(rw http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPut || puts.Add(1) > 1 {
			w.ServeHTTP(rw, req)
			return
		}
		// Refused for its rows, which are deleted at this moment.
		pipeline, err := w.client.GetPipeline(req.Context(), w.fqn)
		assert.NoError(t, err)
		assert.NoError(t, w.client.DeleteStatus(req.Context(), pipeline.ID, w.runID))
		rw.WriteHeader(http.StatusConflict)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := reportWith(ctx, client, w.finding(Failed), impatient())
	require.NoError(t, err)
	got := w.record(t)
	assert.Equal(t, "failed", got["pipelineState"])
	assert.InDelta(t, started, got["timestamp"], 0, "it is the run's own")
	for _, field := range []string{"config", "metadata", "status"} {
		assert.Equal(t, before[field], got[field], field)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		taken  int64
		want   int64
		err    error
	}{
		"Free":  {reason: "the wanted timestamp is free", want: started},
		"Taken": {reason: "two runs were started in one millisecond", taken: 3, want: started + 3},
		"Full":  {reason: "there is an end to trying", taken: 20, err: omapi.ErrConflict},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, openmetadata.Options{})
			for i := range tc.taken {
				other := &omapi.PipelineStatus{RunID: uuid.NewString(), State: omapi.StateRunning, Timestamp: started + i}
				require.NoError(t, w.client.PutStatus(t.Context(), w.fqn, other))
			}
			timestamp, err := Queue(t.Context(), w.client, w.fqn, w.runID, started)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err, tc.reason)
				assert.Nil(t, w.Run(t, w.fqn, w.runID))
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, tc.want, timestamp, tc.reason)
			run := w.Run(t, w.fqn, w.runID)
			require.NotNil(t, run)
			assert.Equal(t, "queued", run.State)
			assert.Equal(t, tc.want, run.Timestamp)
			assert.Equal(t, tc.want, run.StartDate)
		})
	}
}

func TestMergeChangesNothingOfItsInput(t *testing.T) {
	t.Parallel()
	record := &omapi.PipelineStatus{State: omapi.StateRunning, Timestamp: started, Steps: make([]omapi.Step, 1, 5)}
	merged, changed := Merge(record, Finding{Outcome: Failed, Step: diagnosis()})
	assert.True(t, changed)
	assert.Len(t, merged.Steps, 2)
	assert.Equal(t, omapi.StateRunning, record.State)
	assert.Len(t, record.Steps, 1)
	assert.Empty(t, record.Steps[:2][1].Name, "the step is not written into the record's own memory")
}
