package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// patience bounds what should take no time, so that a defect fails the test instead of hanging it.
const patience = 30 * time.Second

const testFQN = "mysql_prod.nightly"

func newTestClient(t *testing.T, server *apiServer, edits ...func(*Config)) *Client {
	t.Helper()
	config := DefaultConfig()
	config.Namespace = namespace
	for _, edit := range edits {
		edit(&config)
	}
	client, err := New(server.client(t), nil, config)
	require.NoError(t, err)
	hurry(client)
	return client
}

// hurry makes a client wait for less long than it would for a real server.
func hurry(client *Client) {
	client.transient.Duration, client.undoTimeout = time.Millisecond, 3*time.Second
	client.grace, client.settle = 50*time.Millisecond, 50*time.Millisecond
}

func deploy(t *testing.T, client *Client, pipeline *omapi.IngestionPipeline) (*DeployResult, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return client.Deploy(ctx, pipeline, DeployOptions{Service: mysql()})
}

// edited is the pipeline with another filter; n tells one from the other.
func edited(n int) func(*omapi.IngestionPipeline) {
	return func(p *omapi.IngestionPipeline) {
		p.SourceConfig = map[string]any{"config": map[string]any{"type": "DatabaseMetadata", "edition": n}}
	}
}

func withToken(token string) func(*omapi.IngestionPipeline) {
	return func(p *omapi.IngestionPipeline) {
		p.OpenMetadataServerConnection = map[string]any{"hostPort": "http://openmetadata:8585/api", "securityConfig": map[string]any{"jwtToken": token}}
	}
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server)
	steps := []struct {
		reason   string
		pipeline *omapi.IngestionPipeline
		action   string
		objects  []string
		revision int64
	}{
		{reason: "nothing is there", pipeline: newPipeline(), action: ActionCreated, objects: []string{ActionCreated, ActionCreated, ActionCreated}, revision: 1},
		{reason: "the same again changes nothing", pipeline: newPipeline(), action: ActionUnchanged, objects: []string{ActionUnchanged, ActionUnchanged, ActionUnchanged}, revision: 1},
		{reason: "the configuration is the ConfigMap's", pipeline: newPipeline(edited(1)), action: ActionConfigured, objects: []string{ActionConfigured, ActionConfigured, ActionConfigured}, revision: 2},
		{reason: "a token is the Secret's", pipeline: newPipeline(edited(1), withToken("other")), action: ActionConfigured, objects: []string{ActionConfigured, ActionConfigured, ActionConfigured}, revision: 3},
		{reason: "without a schedule there is no CronJob", pipeline: newPipeline(edited(1), withToken("other"), onDemand), action: ActionConfigured, objects: []string{ActionConfigured, ActionConfigured, ActionDeleted}, revision: 4},
		{reason: "and it comes back", pipeline: newPipeline(edited(1), withToken("other")), action: ActionConfigured, objects: []string{ActionConfigured, ActionConfigured, ActionCreated}, revision: 5},
	}
	for _, step := range steps {
		result, err := deploy(t, client, step.pipeline)
		require.NoError(t, err, step.reason)
		actions := make([]string, len(result.Objects))
		for i, o := range result.Objects {
			actions[i] = o.Action
		}
		assert.Equal(t, step.objects, actions, step.reason)
		assert.Equal(t, step.action, result.Action(), step.reason)
		assert.Equal(t, step.revision, result.Revision, step.reason)
	}
}

func TestDeployInADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]*omapi.IngestionPipeline{"New": nil, "Known": newPipeline(edited(1), withToken("old"))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startAPIServer(t)
			client := newTestClient(t, server)
			if before != nil {
				_, err := deploy(t, client, before)
				require.NoError(t, err)
			}
			all := []string{"configmaps", "secrets", "cronjobs"}
			contents := server.contents(t, all...)
			for _, pipeline := range []*omapi.IngestionPipeline{newPipeline(), newPipeline(onDemand)} {
				result, err := client.Deploy(t.Context(), pipeline, DeployOptions{Service: mysql(), DryRun: true})
				require.NoError(t, err)
				assert.NotEqual(t, ActionUnchanged, result.Action())
			}
			assert.Equal(t, contents, server.contents(t, all...))
		})
	}
}

// TestDeployThatFailsIsUndone: whichever of its requests fails, the pipeline's objects are as they were.
func TestDeployThatFailsIsUndone(t *testing.T) {
	t.Parallel()
	things := schema.GroupResource{Resource: "things"}
	failures := map[string]struct {
		err   *apierrors.StatusError
		is    func(error) bool
		least int
	}{
		"Forbidden": {apierrors.NewForbidden(things, "x", nil), apierrors.IsForbidden, 4},
		"Broken":    {apierrors.NewInternalError(errors.New("etcd is away")), apierrors.IsInternalError, 4},
		"Lost":      {nil, utilnet.IsProbableEOF, 2}, // Of writes only.
	}
	cases := map[string]struct {
		reason        string
		before, after *omapi.IngestionPipeline
	}{
		"New":         {reason: "what was made is removed", after: newPipeline()},
		"NewOnDemand": {reason: "also of two objects", after: newPipeline(onDemand)},
		"Changed":     {reason: "what was changed is put back", before: newPipeline(edited(1), withToken("old")), after: newPipeline(edited(2), withToken("new"), hourly)},
		"Scheduled":   {reason: "a schedule that is new is taken away, the rest is as it was", before: newPipeline(onDemand), after: newPipeline(edited(2))},
		"Unscheduled": {reason: "a schedule that was taken away is back", before: newPipeline(), after: newPipeline(edited(2), onDemand)},
		"TokenOnly":   {reason: "a Secret is put back too", before: newPipeline(withToken("old")), after: newPipeline(withToken("new"))},
	}
	for name, tc := range cases {
		for kind, failure := range failures {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				failed := true
				for n := 1; failed; n++ {
					server, client := prepared(t, tc.before)
					before := server.contents(t, "configmaps", "cronjobs", "secrets")
					refused := refuseNth(server, n, 0, false, failure.err)
					_, err := deploy(t, client, tc.after)
					what := refused()
					if failed = what != ""; !failed {
						require.NoError(t, err)
						assert.Greater(t, n, failure.least, "several requests were refused in turn")
						continue
					}
					require.Error(t, err, "request %d was refused: %s", n, what)
					assert.True(t, failure.is(err), "the cause is told: %v", err)
					assert.Equal(t, before, withoutRevisions(server.contents(t, "configmaps", "cronjobs", "secrets")), "%s: request %d was refused: %s", tc.reason, n, what)

					server.intercept(nil)
					result, err := deploy(t, client, tc.after)
					require.NoError(t, err, "a deploy that failed can be repeated")
					assert.NotEqual(t, ActionUnchanged, result.Action())
				}
			})
		}
	}
}

// TestDeployThatFailsAfterAConflictIsUndone: whichever write meets a conflict, another's or, where its answer is lost and it is
// repeated, its own; and whichever request after it fails.
func TestDeployThatFailsAfterAConflictIsUndone(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason        string
		before, after *omapi.IngestionPipeline
		writes        int
	}{
		"New":         {reason: "what the first try has made is removed", after: newPipeline(), writes: 3},
		"Changed":     {reason: "what the first try has changed is put back", before: newPipeline(edited(1), withToken("old")), after: newPipeline(edited(2), withToken("new"), hourly), writes: 4},
		"Unscheduled": {reason: "a schedule that the first try took away is back", before: newPipeline(), after: newPipeline(edited(2), onDemand), writes: 4},
	}
	for name, tc := range cases {
		for i := range 2 * tc.writes {
			conflict, lost := 1+i%tc.writes, i >= tc.writes
			t.Run(fmt.Sprintf("%s/Conflict%d/Lost=%t", name, conflict, lost), func(t *testing.T) {
				t.Parallel()
				failed := true
				for n := 2; failed; n++ {
					server, client := prepared(t, tc.before)
					client.conflicts = wait.Backoff{Duration: time.Millisecond}
					before := server.contents(t, "configmaps", "cronjobs", "secrets")
					refused := refuseNth(server, n, conflict, lost, apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "x", nil))
					result, err := deploy(t, client, tc.after)
					what := refused()
					if failed = what != ""; !failed {
						require.NoError(t, err)
						assert.Greater(t, n, 8, "several requests were refused in turn")
						assert.NotEqual(t, ActionUnchanged, result.Action(), "what the first try did is told")
						continue
					}
					require.True(t, apierrors.IsForbidden(err), "request %d was refused: %s: %v", n, what, err)
					assert.Equal(t, before, withoutRevisions(server.contents(t, "configmaps", "cronjobs", "secrets")), "%s: request %d was refused: %s", tc.reason, n, what)
				}
			})
		}
	}
}

// TestUndoLeavesWhatOthersHaveWritten: an object that another has written since is the other's; the status of a CronJob is
// written by its controller.
func TestUndoLeavesWhatOthersHaveWritten(t *testing.T) {
	t.Parallel()
	setData := func(o object) {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			o.Data["config"] = "other"
		case *corev1.Secret:
			o.Data["config"] = []byte("other")
		case *batchv1.CronJob:
			o.Spec.Schedule = "7 7 7 7 7"
		}
	}
	cases := map[string]struct {
		reason string
		before *omapi.IngestionPipeline
		// key is the object that is edited before the deploy fails.
		key    string
		edit   func(object)
		undone bool
	}{
		"NewConfigMap":  {reason: "another deploy has it now", key: "configmaps/om-config-nightly", edit: setData},
		"NewSecret":     {reason: "it goes with the ConfigMap that owns it, and another deploy begins anew", key: "secrets/om-secret-nightly", edit: setData, undone: true},
		"NewCronJob":    {reason: "it goes with the ConfigMap that owns it, and another deploy begins anew", key: "cronjobs/om-cronjob-nightly", edit: setData, undone: true},
		"NewReplaced":   {reason: "one that the ConfigMap does not own is another's", key: "secrets/om-secret-nightly", edit: func(o object) { renew(o); o.SetOwnerReferences(nil) }},
		"NewTicked":     {reason: "a status is nobody's work", key: "cronjobs/om-cronjob-nightly", edit: tick, undone: true},
		"KnownSecret":   {reason: "another deploy has changed it since", before: newPipeline(edited(9), withToken("old"), hourly), key: "secrets/om-secret-nightly", edit: setData},
		"KnownCronJob":  {reason: "another deploy has changed it since", before: newPipeline(edited(9), withToken("old"), hourly), key: "cronjobs/om-cronjob-nightly", edit: setData},
		"KnownTicked":   {reason: "a status is nobody's work", before: newPipeline(edited(9), withToken("old"), hourly), key: "cronjobs/om-cronjob-nightly", edit: tick, undone: true},
		"KnownReplaced": {reason: "another has made one of the name", before: newPipeline(edited(9), withToken("old"), hourly), key: "cronjobs/om-cronjob-nightly", edit: renew},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := prepared(t, tc.before)
			resource, object, _ := strings.Cut(tc.key, "/")
			before := server.contents(t, "configmaps", "secrets", "cronjobs")
			steps := client.deploymentThatFails(t, newPipeline())
			server.change(resource, object, tc.edit)
			edited := server.contents(t, "configmaps", "secrets", "cronjobs")[tc.key]
			require.NoError(t, steps.undo(t.Context()))
			after := withoutRevisions(server.contents(t, "configmaps", "secrets", "cronjobs"))
			if tc.undone {
				assert.Equal(t, before[tc.key] == "", after[tc.key] == "", tc.reason)
				assert.NotEqual(t, edited, after[tc.key], tc.reason)
			} else {
				assert.Equal(t, edited, after[tc.key], tc.reason)
			}
			delete(before, tc.key)
			delete(after, tc.key)
			assert.Equal(t, before, after, "the others are as they were")
		})
	}
}

// deploymentThatFails is a deploy that has written all, and is about to be undone.
func (c *Client) deploymentThatFails(t *testing.T, pipeline *omapi.IngestionPipeline) *deployment {
	t.Helper()
	objects, err := c.Render(t.Context(), pipeline, mysql())
	require.NoError(t, err)
	d := newDeployment(c, pipeline, objects, DeployOptions{})
	require.NoError(t, d.run(t.Context()))
	return d
}

// tick is what the controller writes when the schedule fires.
func tick(o object) {
	if cronJob, ok := o.(*batchv1.CronJob); ok {
		cronJob.Status.LastScheduleTime = new(metav1.Now())
	}
}

// TestRunsOutliveTheirSchedule: a pipeline that loses its schedule keeps the runs that the schedule has started.
func TestRunsOutliveTheirSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job := w.tick(t)
	result, err := deploy(t, w.client, newPipeline(onDemand))
	require.NoError(t, err)
	assert.Equal(t, ActionDeleted, result.Objects[2].Action)
	assert.Nil(t, w.kube.get("cronjobs", "om-cronjob-nightly"))
	assert.NotNil(t, w.kube.get("jobs", job.Name), "the run goes on")
	killed, err := w.client.Kill(t.Context(), testFQN, "")
	require.NoError(t, err)
	require.Len(t, killed, 1, "and is found")
	assert.Equal(t, string(job.UID), killed[0].RunID)
}

// TestDeployBesideACronJobThatGoes: a CronJob that is being deleted would take the new schedule with it.
func TestDeployBesideACronJobThatGoes(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline())
	server.change("cronjobs", "om-cronjob-nightly", func(o object) { o.SetDeletionTimestamp(new(metav1.Now())) })
	var looks atomic.Int32
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "om-cronjob-nightly") && looks.Add(1) == 3 {
			server.remove("cronjobs", "om-cronjob-nightly")
		}
		return nil
	})
	result, err := deploy(t, client, newPipeline(hourly))
	require.NoError(t, err)
	assert.Equal(t, ActionCreated, result.Objects[2].Action)
	cronJob, ok := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
	require.True(t, ok)
	assert.Equal(t, "0 * * * *", cronJob.Spec.Schedule)
}

func TestDeployOnDemandBesideAForeignCronJob(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, nil)
	server.add(t, "somebody", &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "om-cronjob-nightly"}})
	_, err := deploy(t, client, newPipeline(onDemand))
	require.NoError(t, err, "it needs none")
	_, err = client.Delete(t.Context(), testFQN, DeleteOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"cronjobs/om-cronjob-nightly"}, server.names(), "it is somebody else's")
}

// TestDeployOverARoughRoad: what fails once and may pass is asked again.
func TestDeployOverARoughRoad(t *testing.T) {
	t.Parallel()
	cases := map[string]*apierrors.StatusError{
		"Internal": apierrors.NewInternalError(errors.New("etcdserver: leader changed")), "Timeout": apierrors.NewTimeoutError("slow", 0),
		"Unavailable": apierrors.NewServiceUnavailable("starting"), "TooMany": apierrors.NewTooManyRequests("slow down", 0),
	}
	for name, failure := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := prepared(t, newPipeline(edited(1)))
			var (
				mu   sync.Mutex
				seen = map[string]int{}
			)
			server.intercept(func(req *http.Request) *apierrors.StatusError {
				mu.Lock()
				defer mu.Unlock()
				if seen[req.Method+req.URL.Path]++; seen[req.Method+req.URL.Path] < attempts {
					return failure
				}
				return nil
			})
			_, err := deploy(t, client, newPipeline(edited(2), withToken("new")))
			require.NoError(t, err)
			checkWhole(t, server, newPipeline(edited(2), withToken("new")))
		})
	}
}

// TestDeployRepairs: what somebody has edited beyond reading is made anew, and is nothing to go back to.
func TestDeployRepairs(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline(edited(1)))
	server.change("configmaps", "om-config-nightly", func(o object) {
		if configMap, ok := o.(*corev1.ConfigMap); ok {
			configMap.Data = map[string]string{"pipeline": "[]"}
		}
	})
	_, err := deploy(t, client, newPipeline(edited(1)))
	require.NoError(t, err)
	checkWhole(t, server, newPipeline(edited(1)))
	_, err = client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
	require.ErrorIs(t, err, ErrNoRevision)
}

// TestUndoWaitsForWhatIsDeleted: a CronJob that is parted from its runs before it goes would take with it what is put back.
func TestUndoWaitsForWhatIsDeleted(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline())
	before := server.contents(t, "configmaps", "secrets", "cronjobs")
	old := server.get("cronjobs", "om-cronjob-nightly")
	d := client.deploymentThatFails(t, newPipeline(onDemand))
	old.SetDeletionTimestamp(new(metav1.Now()))
	server.mu.Lock()
	server.store("cronjobs/om-cronjob-nightly", old)
	server.mu.Unlock()
	var looks atomic.Int32
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "om-cronjob-nightly") && looks.Add(1) == 3 {
			server.remove("cronjobs", "om-cronjob-nightly")
		}
		return nil
	})
	require.NoError(t, d.undo(t.Context()))
	assert.Equal(t, before, withoutRevisions(server.contents(t, "configmaps", "secrets", "cronjobs")))
	assert.Nil(t, server.get("cronjobs", "om-cronjob-nightly").GetDeletionTimestamp())
}

// TestLostDeleteIsUndone: a CronJob goes, the answer is lost, and the repeated call finds another version than was read.
func TestLostDeleteIsUndone(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline())
	before := server.contents(t, "configmaps", "secrets", "cronjobs")
	var deletes, looks atomic.Int32
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		switch {
		case req.Method == http.MethodDelete && deletes.Add(1) == 1:
			server.change("cronjobs", "om-cronjob-nightly", func(o object) { o.SetDeletionTimestamp(new(metav1.Now())) })
			panic(http.ErrAbortHandler)
		case req.Method == http.MethodDelete:
			return nil
		case deletes.Load() > 0 && strings.HasSuffix(req.URL.Path, "om-config-nightly") && looks.Add(1) == 1:
			return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x", nil)
		case deletes.Load() > 0 && strings.HasSuffix(req.URL.Path, "om-cronjob-nightly") && req.Method == http.MethodGet:
			server.remove("cronjobs", "om-cronjob-nightly")
		}
		return nil
	})
	_, err := deploy(t, client, newPipeline(edited(2), onDemand))
	require.True(t, apierrors.IsForbidden(err), "the try after the conflict fails: %v", err)
	assert.Equal(t, int32(2), deletes.Load())
	assert.Equal(t, before, withoutRevisions(server.contents(t, "configmaps", "secrets", "cronjobs")))
}

func TestLocksAreForgotten(t *testing.T) {
	t.Parallel()
	_, client := prepared(t, newPipeline())
	unlock, err := client.locks.lock(t.Context(), "x")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.locks.lock(ctx, "x")
	require.ErrorIs(t, err, context.Canceled)
	assert.Len(t, client.locks.named, 1, "it is held")
	unlock()
	assert.Empty(t, client.locks.named, "a server deploys many pipelines in its life")
}

func hourly(p *omapi.IngestionPipeline) { p.AirflowConfig.ScheduleInterval = "@hourly" }

// prepared is a server with a pipeline as it was deployed; nil for none.
func prepared(t *testing.T, pipeline *omapi.IngestionPipeline) (*apiServer, *Client) {
	t.Helper()
	server := startAPIServer(t)
	client := newTestClient(t, server)
	if pipeline != nil {
		_, err := deploy(t, client, pipeline)
		require.NoError(t, err)
	}
	return server, client
}

// refuseNth refuses the n-th request from now on, as often as it is repeated; with no failure it does the n-th write, and the
// answers are lost. One write, counted from 1, is answered with a conflict, or done and its answer lost. It tells which request
// was refused; empty where there were not so many.
func refuseNth(server *apiServer, n, conflict int, lost bool, failure *apierrors.StatusError) func() string {
	var (
		mu      sync.Mutex
		count   int
		writes  int
		what    string
		repeats int
	)
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		mu.Lock()
		defer mu.Unlock()
		call := req.Method + " " + req.URL.Path
		refuse := func() *apierrors.StatusError {
			if failure == nil {
				server.lose(req)
			}
			return failure
		}
		if call == what && repeats < attempts-1 && (failure == nil || transient(failure)) {
			repeats++
			return refuse()
		}
		if req.Method != http.MethodGet {
			writes++
			if writes == conflict && lost {
				server.lose(req)
			}
			if writes == conflict {
				return apierrors.NewConflict(schema.GroupResource{Resource: "things"}, "x", errors.New("changed"))
			}
		}
		if failure == nil && req.Method == http.MethodGet {
			return nil
		}
		if count++; count != n {
			return nil
		}
		what = call
		return refuse()
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return what
	}
}

// withoutRevisions leaves out kept configurations: one more does no harm.
func withoutRevisions(contents map[string]string) map[string]string {
	maps.DeleteFunc(contents, func(key, _ string) bool { return strings.HasPrefix(key, "secrets/om-revision-") })
	return contents
}

func TestUndoThatFailsIsTold(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, nil)
	var broken atomic.Bool
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPatch && strings.Contains(req.URL.Path, "cronjobs") {
			broken.Store(true)
		}
		if broken.Load() {
			return apierrors.NewInternalError(errors.New("etcd is away"))
		}
		return nil
	})
	_, err := deploy(t, client, newPipeline())
	require.ErrorContains(t, err, "cannot apply CronJob om-cronjob-nightly in namespace pipelines")
	require.ErrorContains(t, err, "cannot put Secret om-secret-nightly back after the failure")
	require.ErrorContains(t, err, "cannot put ConfigMap om-config-nightly back after the failure")
}

func TestDeployEndsWithTheContext(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		before *omapi.IngestionPipeline
		at     string
		done   bool
	}{
		"Secret":       {reason: "the way back does not need the caller's context", before: newPipeline(edited(1)), at: "om-secret-nightly"},
		"ConfigMap":    {reason: "the write that was under way took place", before: newPipeline(edited(1)), at: "om-config-nightly", done: true},
		"NewConfigMap": {reason: "what it made is removed", at: "om-config-nightly", done: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := prepared(t, tc.before)
			before := server.contents(t, "configmaps", "secrets", "cronjobs")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			server.intercept(func(req *http.Request) *apierrors.StatusError {
				if req.Method == http.MethodPatch && strings.Contains(req.URL.Path, tc.at) && ctx.Err() == nil {
					if tc.done {
						server.handle(httptest.NewRecorder(), req)
					}
					cancel()
					_ = body(req) // A server sees that its client is gone when it has read the request.
					<-req.Context().Done()
				}
				return nil
			})
			_, err := client.Deploy(ctx, newPipeline(edited(2)), DeployOptions{Service: mysql()})
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, before, withoutRevisions(server.contents(t, "configmaps", "secrets", "cronjobs")), tc.reason)
		})
	}
}

func TestDeployTriesAgainAfterAConflict(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline(edited(1)))
	client.conflicts = wait.Backoff{Duration: time.Millisecond, Factor: 1.5, Steps: 1 << 10, Cap: 2 * time.Millisecond}
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "om-config-nightly", errors.New("changed"))
	var conflicts atomic.Int32
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPatch && strings.Contains(req.URL.Path, "om-config-nightly") && conflicts.Add(1) <= 15 {
			return conflict
		}
		return nil
	})
	_, err := deploy(t, client, newPipeline(edited(2)))
	require.NoError(t, err)
	assert.Equal(t, int32(16), conflicts.Load(), "more conflicts than it takes the delay to reach its cap")
}

func TestDeployGivesUpOnConflictsWithTheContext(t *testing.T) {
	t.Parallel()
	server, client := prepared(t, newPipeline(edited(1)))
	before := server.contents(t, "configmaps", "secrets", "cronjobs")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var conflicts atomic.Int32
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPatch && strings.Contains(req.URL.Path, "om-secret-nightly") {
			if conflicts.Add(1) == 2 { // The first has been seen.
				cancel()
			}
			return apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "x", errors.New("changed"))
		}
		return nil
	})
	_, err := client.Deploy(ctx, newPipeline(edited(2)), DeployOptions{Service: mysql()})
	require.ErrorContains(t, err, "cannot deploy pipeline mysql_prod.nightly in namespace pipelines: others change it at the same time")
	assert.True(t, apierrors.IsConflict(err))
	assert.Equal(t, before, withoutRevisions(server.contents(t, "configmaps", "secrets", "cronjobs")), "what its tries have changed is put back")
}

// TestDeploysAtOnce: whichever comes last, all objects are of one deploy.
func TestDeploysAtOnce(t *testing.T) {
	t.Parallel()
	const deploys = 6
	for name, before := range map[string]*omapi.IngestionPipeline{"New": nil, "Known": newPipeline(edited(99), withToken("token-99"))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, _ := prepared(t, before)
			var wg sync.WaitGroup
			errs := make([]error, deploys)
			pipelines := make([]*omapi.IngestionPipeline, deploys)
			for n := range deploys {
				pipelines[n] = newPipeline(edited(n), withToken(fmt.Sprintf("token-%d", n)), func(p *omapi.IngestionPipeline) {
					p.AirflowConfig.ScheduleInterval = fmt.Sprintf("%d * * * *", n)
				})
				client := newTestClient(t, server) // Of another process: those of one take turns.
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					_, errs[n] = client.Deploy(ctx, pipelines[n], DeployOptions{Service: mysql()})
				})
			}
			wg.Wait()
			require.NoError(t, errors.Join(errs...))
			cronJob, ok := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
			require.True(t, ok)
			winner, err := strconv.Atoi(strings.TrimSuffix(cronJob.Spec.Schedule, " * * * *"))
			require.NoError(t, err)
			checkWhole(t, server, pipelines[winner])
		})
	}
}

// TestAnotherDeployInBetween: before whichever write of a deploy another one is done, the first one comes last and whole,
// and can be rolled back to the other.
func TestAnotherDeployInBetween(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason               string
		before, first, other *omapi.IngestionPipeline
	}{
		"New":      {reason: "two deploys make the same objects", first: newPipeline(edited(1), withToken("a")), other: newPipeline(edited(2), withToken("b"), hourly)},
		"Known":    {reason: "both change everything", before: newPipeline(), first: newPipeline(edited(1), withToken("a")), other: newPipeline(edited(2), withToken("b"), hourly)},
		"Schedule": {reason: "they change different objects, so that no write of one meets one of the other", before: newPipeline(), first: newPipeline(hourly), other: newPipeline(edited(2))},
		"Twins":    {reason: "both find the plain names free", first: newPipeline(edited(1), withToken("a")), other: twin(edited(2), withToken("b"), hourly)},
		"NewTwin":  {reason: "the plain names are those of the first", before: newPipeline(), first: newPipeline(edited(1)), other: twin(edited(2), withToken("b"), hourly)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n, reached := int32(1), true; reached; n++ {
				server, client := prepared(t, tc.before)
				var writes atomic.Int32
				otherDone := make(chan error, 1)
				server.intercept(func(req *http.Request) *apierrors.StatusError {
					if req.Method == http.MethodPatch && writes.Add(1) == n {
						server.intercept(nil)
						// Of another process: those of one take turns.
						_, err := deploy(t, newTestClient(t, server), tc.other)
						otherDone <- err
					}
					return nil
				})
				_, err := deploy(t, client, tc.first)
				require.NoError(t, err)
				if reached = writes.Load() >= n; !reached {
					assert.Greater(t, n, int32(3), "the other came before each write in turn")
					continue
				}
				require.NoError(t, <-otherDone)
				checkWhole(t, server, tc.first)
				if tc.other.FQN() != testFQN {
					checkWhole(t, server, tc.other)
					continue // Each has objects of its own.
				}
				if tc.before == nil {
					continue // Two first deploys at once: neither has replaced a whole one.
				}
				_, err = client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
				require.NoError(t, err)
				back := *tc.other
				back.OpenMetadataServerConnection = tc.first.OpenMetadataServerConnection
				checkWhole(t, server, &back)
			}
		})
	}
}

// checkWhole checks that all objects are of one pipeline's deploy.
func checkWhole(t *testing.T, server *apiServer, pipeline *omapi.IngestionPipeline) {
	t.Helper()
	client := newTestClient(t, server)
	want, err := NewObjects(&client.config, pipeline, mysql())
	require.NoError(t, err)
	configMap, names, err := client.configMap(t.Context(), pipeline.FQN())
	require.NoError(t, err)
	secret, ok := server.get("secrets", names.Secret).(*corev1.Secret)
	require.True(t, ok)
	cronJob, ok := server.get("cronjobs", names.CronJob).(*batchv1.CronJob)
	require.True(t, ok)
	for _, o := range []object{configMap, secret, cronJob} {
		assert.Equal(t, pipeline.FQN(), o.GetAnnotations()[identity.AnnotationFQN], o.GetName())
	}
	pod := cronJob.Spec.JobTemplate.Spec.Template.Spec
	assert.Equal(t, names.ConfigMap, variableOf(t, pod, identity.EnvConfig).ValueFrom.ConfigMapKeyRef.Name, "a run has its own pipeline's configuration")
	assert.Equal(t, want.ConfigMap.Data, configMap.Data)
	delete(secret.Data, previousKey) // Of the configuration before.
	assert.Equal(t, want.Secret.Data, secret.Data)
	assert.Equal(t, want.CronJob.Spec.Schedule, cronJob.Spec.Schedule)
	assert.Equal(t, configMap.Annotations[identity.AnnotationRevision], secret.Annotations[identity.AnnotationRevision])
	id := configMap.Annotations[identity.AnnotationDeploy]
	assert.NotEmpty(t, id)
	assert.Equal(t, id, secret.Annotations[identity.AnnotationDeploy])
	assert.Equal(t, id, cronJob.Annotations[identity.AnnotationDeploy])
}

func TestDeployTouchesNothingOfOthers(t *testing.T) {
	t.Parallel()
	meta := func(name, owner string) metav1.ObjectMeta {
		out := metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "other"}}
		if owner != "" {
			out.Annotations = map[string]string{identity.AnnotationFQN: owner}
		}
		return out
	}
	cases := map[string]struct {
		reason string
		there  object
		// between puts it there after the client has looked.
		between bool
		want    string
	}{
		"ConfigMap":    {reason: "an object without an owner is somebody's", there: &corev1.ConfigMap{ObjectMeta: meta("om-config-nightly", ""), Data: map[string]string{"config": "mine"}}, want: "ConfigMap om-config-nightly has no annotation"},
		"CronJob":      {reason: "a CronJob is not deleted either", there: &batchv1.CronJob{ObjectMeta: meta("om-cronjob-nightly", "")}, want: "CronJob om-cronjob-nightly has no annotation"},
		"CameLate":     {reason: "it came up after the client had looked, with the same fields", between: true, there: &corev1.ConfigMap{ObjectMeta: meta("om-config-nightly", ""), Data: map[string]string{"config": "mine"}}, want: "ConfigMap om-config-nightly has no annotation"},
		"CameLateElse": {reason: "it came up after the client had looked, with other fields", between: true, there: &corev1.ConfigMap{ObjectMeta: meta("om-config-nightly", ""), Data: map[string]string{"mine": "x"}}, want: "ConfigMap om-config-nightly has no annotation"},
		"SecretLate":   {reason: "what was made before it is removed", between: true, there: &corev1.Secret{ObjectMeta: meta("om-secret-nightly", ""), Data: map[string][]byte{"mine": []byte("x")}}, want: "om-secret-nightly"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := prepared(t, nil)
			add := sync.OnceFunc(func() { server.add(t, "somebody", tc.there) })
			if !tc.between {
				add()
			}
			server.intercept(func(req *http.Request) *apierrors.StatusError {
				if req.Method == http.MethodPatch {
					add()
				}
				return nil
			})
			_, err := deploy(t, client, newPipeline())
			require.ErrorIs(t, err, ErrNotOurs, tc.reason)
			require.ErrorContains(t, err, tc.want, tc.reason)

			untouched, _ := prepared(t, nil)
			untouched.add(t, "somebody", emptied(t, tc.there))
			want := untouched.contents(t, "configmaps", "secrets", "cronjobs")
			assert.Equal(t, want, server.contents(t, "configmaps", "secrets", "cronjobs"), tc.reason)
		})
	}
}

// emptied is an object as it was before a server had it.
func emptied(t *testing.T, o object) object {
	t.Helper()
	copied, ok := o.DeepCopyObject().(object)
	require.True(t, ok)
	copied.SetManagedFields(nil)
	copied.SetOwnerReferences(nil)
	copied.SetUID("")
	copied.SetResourceVersion("")
	copied.SetCreationTimestamp(metav1.Time{})
	return copied
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	things := schema.GroupResource{Resource: "things"}
	cases := map[string]struct {
		reason string
		err    *apierrors.StatusError
		want   string
	}{
		"Unauthorized": {reason: "a token that has ended is not a missing Role", err: apierrors.NewUnauthorized("no"), want: "log in to the cluster again, or check the kubeconfig"},
		"Forbidden":    {reason: "who may help is told", err: apierrors.NewForbidden(things, "x", errors.New(`User "me" cannot get resource "things"`)), want: "ask for a Role that allows it; deploy/ has one"},
		"TooMany":      {reason: "the server is busy", err: apierrors.NewTooManyRequestsError("slow down"), want: "the API server limits requests, try again later"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := prepared(t, nil)
			server.intercept(func(*http.Request) *apierrors.StatusError { return tc.err })
			_, err := deploy(t, client, newPipeline())
			require.ErrorContains(t, err, tc.want, tc.reason)
			require.ErrorContains(t, err, "in namespace pipelines", tc.reason)
			failure, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			assert.Equal(t, namespace, failure.Namespace)
		})
	}
	t.Run("NoNamespace", func(t *testing.T) {
		t.Parallel()
		server := startAPIServer(t)
		client := newTestClient(t, server, func(c *Config) { c.Namespace = "nowhere" })
		_, err := deploy(t, client, newPipeline())
		require.ErrorContains(t, err, "create it with: kubectl create namespace nowhere")
		_, err = client.Status(t.Context(), testFQN)
		require.ErrorContains(t, err, "create it with: kubectl create namespace nowhere", "a read tells the same")
		require.NotErrorIs(t, err, ErrNotDeployed)
	})
	t.Run("NoServer", func(t *testing.T) {
		t.Parallel()
		server := &apiServer{url: "http://127.0.0.1:1"}
		_, err := deploy(t, newTestClient(t, server), newPipeline())
		require.ErrorContains(t, err, "check that the API server is reachable: kubectl get namespace pipelines")
	})
}
