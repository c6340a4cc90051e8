package k8sclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// breakage is how a command is disturbed at one of its requests.
type breakage struct {
	name string
	// lands is when the request takes effect: before its answer, which is lost, or after the command; never if it is empty.
	lands string
	// cancels the command's context, as Ctrl-C and --timeout do it; kills it, so that it sends nothing any more.
	cancels, kills bool
}

const (
	atOnce = "at once"
	late   = "late"
)

func breaks() []breakage {
	const all = 9
	out := make([]breakage, 0, all)
	for _, lands := range []string{"", atOnce, late} {
		for _, how := range []breakage{{name: "lost"}, {name: "cancelled", cancels: true}, {name: "killed", kills: true}} {
			how.lands = lands
			how.name = strings.TrimSpace(how.name + " " + lands)
			out = append(out, how)
		}
	}
	return out
}

// breaker stands before both servers and disturbs one of the requests that come through it.
type breaker struct {
	mu      sync.Mutex
	methods []string // Of the requests.
	at      int      // The request that is disturbed; negative for none.
	cut     breakage
	cancel  context.CancelFunc
	dead    bool
	late    []func()
}

func (c *breaker) before(backend http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.mu.Lock()
		mine := len(c.methods) == c.at
		c.methods = append(c.methods, req.Method)
		if c.dead {
			c.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		if mine && c.cut.kills {
			c.dead = true
		}
		c.mu.Unlock()
		if !mine {
			backend.ServeHTTP(w, req)
			return
		}
		content, err := io.ReadAll(req.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		again := req.Clone(context.WithoutCancel(req.Context()))
		again.Body = io.NopCloser(bytes.NewReader(content))
		land := func() { backend.ServeHTTP(httptest.NewRecorder(), again) }
		switch c.cut.lands {
		case atOnce:
			land()
		case late:
			c.mu.Lock()
			c.late = append(c.late, land)
			c.mu.Unlock()
		}
		if c.cut.cancels || c.cut.kills { // What is dead does not wait.
			c.cancel()
		}
		panic(http.ErrAbortHandler)
	})
}

// disturbed is a client of the world's servers behind a breaker.
func (w *world) disturbed(t *testing.T, c *breaker) *Client {
	t.Helper()
	kube := httptest.NewServer(c.before(w.kube))
	t.Cleanup(kube.Close)
	om := httptest.NewServer(c.before(w.om.Server))
	t.Cleanup(om.Close)
	kubeClient, err := kubernetes.NewForConfig(&rest.Config{Host: kube.URL, QPS: -1})
	require.NoError(t, err)
	omClient, err := omapi.New(omapi.Config{URL: om.URL + "/api", Token: w.om.Token, UserAgent: "unit-test"})
	require.NoError(t, err)
	t.Cleanup(omClient.Close)
	client, err := New(kubeClient, omClient, w.client.config)
	require.NoError(t, err)
	hurry(client)
	client.undoTimeout, client.grace, client.killReserve = 150*time.Millisecond, 10*time.Millisecond, 300*time.Millisecond
	return client
}

// followUps are what comes after a command that was interrupted.
func followUps() map[string]func(ctx context.Context, client *Client) error {
	return map[string]func(ctx context.Context, client *Client) error{
		"kill": func(ctx context.Context, client *Client) error {
			_, err := client.Kill(ctx, testFQN, "")
			return err
		},
		"run": func(ctx context.Context, client *Client) error {
			_, err := client.Run(ctx, testFQN, RunOptions{})
			return err
		},
		"delete": func(ctx context.Context, client *Client) error {
			_, err := client.Delete(ctx, testFQN, DeleteOptions{})
			return err
		},
		"deploy": func(ctx context.Context, client *Client) error {
			_, err := client.Deploy(ctx, newPipeline(), DeployOptions{Service: mysql()})
			return errors.Join(err, client.FinishInterrupted(ctx)) // As pipelinectl deploy does.
		},
	}
}

// play lets the rest of the cluster do its part: pods of Jobs that have failed end, and the Jobs with them.
func (w *world) play() {
	for _, name := range w.jobs() {
		job, ok := w.kube.get("jobs", strings.TrimPrefix(name, "jobs/")).(*batchv1.Job)
		if !ok || len(job.Status.Conditions) != 1 {
			continue
		}
		for _, name := range w.kube.names() {
			if pod, ok := strings.CutPrefix(name, "pods/"); ok {
				w.kube.change("pods", pod, func(o object) { o.(*corev1.Pod).Status.Phase = corev1.PodFailed }) //nolint:forcetypeassert // A pod.
			}
		}
		w.end(job.Name, batchv1.JobFailed)
	}
}

// grow makes Jobs older than any command that was at them.
func (w *world) grow() {
	for _, name := range w.jobs() {
		w.kube.change("jobs", strings.TrimPrefix(name, "jobs/"), func(o object) {
			o.SetCreationTimestamp(metav1.NewTime(time.Now().Add(-2 * report.StartTimeout)))
		})
	}
}

// mayRun says that a Job has pods, or will have.
func mayRun(job *batchv1.Job) bool {
	return !report.Suspended(job) && *job.Spec.ActiveDeadlineSeconds > 0
}

func (w *world) jobsLeft() map[string]*batchv1.Job {
	out := map[string]*batchv1.Job{}
	for _, name := range w.jobs() {
		if job, ok := w.kube.get("jobs", strings.TrimPrefix(name, "jobs/")).(*batchv1.Job); ok {
			out[report.RunIDOf(job)] = job
		}
	}
	return out
}

func (w *world) states(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	pipelines, err := w.om.Pipelines()
	require.NoError(t, err)
	for _, run := range pipelines[0].Runs {
		out[run.RunID] = run.State
	}
	return out
}

// interrupt does a command that is disturbed, and lets land what lands late.
func (w *world) interrupt(t *testing.T, c *breaker, command func(ctx context.Context, client *Client) error) error {
	t.Helper()
	client := w.disturbed(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.cancel = cancel
	ended := make(chan error, 1)
	go func() { ended <- command(ctx, client) }()
	for {
		select {
		case err := <-ended:
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, land := range c.late {
				land()
			}
			w.play()
			return err
		case <-time.After(5 * time.Millisecond):
			w.play()
		}
	}
}

// requestsOf are the methods of the requests of a command that is not disturbed.
func requestsOf(t *testing.T, prepare func(*testing.T, *world), command func(ctx context.Context, client *Client) error) []string {
	t.Helper()
	w := newWorld(t)
	prepare(t, w)
	c := &breaker{at: -1}
	require.NoError(t, w.interrupt(t, c, command))
	return c.methods
}

// TestRunIsInterrupted cuts a run at each of its requests in every way. What was reported stands, and the next command of
// any kind leaves nothing half done.
func TestRunIsInterrupted(t *testing.T) {
	t.Parallel()
	command := followUps()["run"]
	requests := requestsOf(t, func(*testing.T, *world) {}, command)
	require.Greater(t, len(requests), 4)
	eachCut(t, requests, func(t *testing.T, c *breaker, next string, follow func(context.Context, *Client) error) {
		t.Helper()
		w := newWorld(t)
		err := w.interrupt(t, c, command)
		jobs, states := w.jobsLeft(), w.states(t)
		require.LessOrEqual(t, len(jobs), 1)
		for id, job := range jobs {
			if err == nil {
				assert.True(t, mayRun(job), "a run that was told to have started has started")
			}
			if states[id] == "failed" {
				assert.False(t, mayRun(job), "a run that was told to have failed does not run")
			}
			if mayRun(job) {
				assert.Equal(t, "queued", states[id], "a run that starts has a record, with the Job's timestamp")
				assert.Equal(t, w.om.Run(t, testFQN, id).Timestamp, report.TimestampOf(job))
			}
		}
		for id, state := range states {
			assert.True(t, jobs[id] != nil || state == "failed", "a record that is %s has a Job", state)
		}
		if err == nil {
			require.Len(t, jobs, 1)
		}

		w.grow()
		status, err := w.client.Status(t.Context(), testFQN)
		require.NoError(t, err)
		assert.Len(t, status.Runs, max(len(jobs), len(states)), "what is left is seen")
		followUp(t, w, follow)
		w.assertWhole(t)
		for id, job := range jobs {
			state := w.states(t)[id]
			switch stopped := next == "kill" || next == "delete"; {
			case !mayRun(job):
				assert.Equal(t, "failed", state, "it did not start")
			case stopped:
				assert.Equal(t, "stopped", state)
			default:
				assert.Equal(t, "queued", state, "it goes on")
			}
		}
	})
}

// TestKillIsInterrupted cuts the kill of a scheduled run. Once its Job is marked it fails by itself, and so does not keep
// the schedule from going on; the next command of any kind makes the record final.
func TestKillIsInterrupted(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T, w *world) {
		t.Helper()
		job := w.tick(t)
		w.kube.add(t, "job-controller", &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "attempt", Labels: map[string]string{batchv1.ControllerUidLabel: string(job.UID)}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		})
		record := &omapi.PipelineStatus{RunID: report.RunIDOf(job), State: omapi.StateRunning, Timestamp: testTimestamp}
		require.NoError(t, w.om.Client(t).PutStatus(t.Context(), testFQN, record))
	}
	command := followUps()["kill"]
	requests := requestsOf(t, prepare, command)
	require.Greater(t, len(requests), 6)
	eachCut(t, requests, func(t *testing.T, c *breaker, next string, follow func(context.Context, *Client) error) {
		t.Helper()
		w := newWorld(t)
		prepare(t, w)
		err := w.interrupt(t, c, command)
		marked := false
		for id, job := range w.jobsLeft() {
			if marked = report.StopRequested(job); marked {
				assert.True(t, finished(job), "a Job that is marked ends by itself")
			}
			if err == nil {
				assert.Equal(t, "stopped", w.states(t)[id])
			}
		}
		followUp(t, w, follow)
		w.assertWhole(t)
		if marked || next == "kill" || next == "delete" {
			for _, state := range w.states(t) {
				assert.Contains(t, []string{"stopped", "queued"}, state) // Queued is the run that follows.
			}
		}
	})
}

func eachCut(t *testing.T, requests []string, test func(t *testing.T, c *breaker, next string, follow func(context.Context, *Client) error)) {
	t.Helper()
	slots := make(chan struct{}, 32)
	for _, cut := range breaks() {
		for at, method := range requests {
			if method == http.MethodGet && cut.lands != "" {
				continue // It has no effect.
			}
			for next, follow := range followUps() {
				t.Run(fmt.Sprintf("%s/%d-%s/%s", cut.name, at, method, next), func(t *testing.T) {
					t.Parallel()
					slots <- struct{}{}
					defer func() { <-slots }()
					test(t, &breaker{at: at, cut: cut}, next, follow)
				})
			}
		}
	}
}

func followUp(t *testing.T, w *world, follow func(context.Context, *Client) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- follow(ctx, w.client) }()
	for {
		select {
		case err := <-ended:
			if !errors.Is(err, ErrNothingToKill) {
				require.NoError(t, err)
			}
			return
		case <-time.After(5 * time.Millisecond):
			w.play()
		}
	}
}

// assertWhole: no Job is half started or half ended, and each record that is not final has its Job.
func (w *world) assertWhole(t *testing.T) {
	t.Helper()
	jobs := w.jobsLeft()
	for id, job := range jobs {
		assert.False(t, leftOver(job), "the Job of run %s", id)
		assert.NotContains(t, job.Labels, identity.LabelStart)
	}
	for id, state := range w.states(t) {
		if !omapi.PipelineState(state).Terminal() {
			assert.NotNil(t, jobs[id], "a record that is %s has a Job", state)
		}
	}
}
