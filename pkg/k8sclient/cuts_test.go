package k8sclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// cut is where an operation is cut off: at one of its requests, which is not sent, or which the API server works on late, or
// whose answer is not read; by the end of its context, after which it may clean up, or by the end of its process.
type cut struct {
	request int
	where   string
	death   bool
}

const (
	cutBefore = "before it is sent"
	cutLate   = "while the API server works on it"
	cutAfter  = "before its answer is read"
)

func (c cut) String() string {
	by := "interrupt"
	if c.death {
		by = "death"
	}
	return fmt.Sprintf("%s at request %d, %s", by, c.request, c.where)
}

// cutter cuts an operation off once, on the way to the server.
type cutter struct {
	server *apiServer
	cut    cut
	cancel context.CancelFunc
	next   http.RoundTripper

	mu    sync.Mutex
	count int
	what  string
	late  *http.Request
}

var errDead = errors.New("the process has ended")

func (c *cutter) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/version" {
		return c.next.RoundTrip(req)
	}
	c.mu.Lock()
	c.count++
	reached := c.count == c.cut.request
	dead := c.what != "" && c.cut.death
	if reached {
		c.what = req.Method + " " + req.URL.Path
	}
	c.mu.Unlock()
	switch {
	case dead:
		return nil, errDead
	case !reached:
		return c.next.RoundTrip(req)
	}
	c.cancel()
	var data []byte
	if req.Body != nil {
		data, _ = io.ReadAll(req.Body)
	}
	again := httptest.NewRequestWithContext(context.WithoutCancel(req.Context()), req.Method, req.URL.RequestURI(), bytes.NewReader(data))
	again.Header = req.Header.Clone()
	switch c.cut.where {
	case cutLate:
		c.mu.Lock()
		c.late = again
		c.mu.Unlock()
		if !c.cut.death {
			<-req.Context().Done() // The client gives up in the end.
		}
	case cutAfter:
		c.server.handle(httptest.NewRecorder(), again)
	}
	return nil, errDead
}

// land does what the API server has not done until now.
func (c *cutter) land() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late != nil {
		c.server.handle(httptest.NewRecorder(), c.late)
	}
}

// client is one whose requests go through the cutter.
func (c *cutter) client(t *testing.T, edits ...func(*Config)) *Client {
	t.Helper()
	config := DefaultConfig()
	config.Namespace = namespace
	for _, edit := range edits {
		edit(&config)
	}
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: c.server.url, QPS: -1, WrapTransport: func(next http.RoundTripper) http.RoundTripper {
		c.next = next
		return c
	}})
	require.NoError(t, err)
	client, err := New(kube, nil, config)
	require.NoError(t, err)
	hurry(client)
	client.conflicts = wait.Backoff{Duration: time.Millisecond}
	return client
}

// copied is a server with the same objects.
func (s *apiServer) copied(t *testing.T) *apiServer {
	t.Helper()
	out := startAPIServer(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	out.version = s.version
	for key, o := range s.objects {
		out.objects[key], _ = o.DeepCopyObject().(object)
	}
	return out
}

// operation is what is cut off, of a pipeline that was deployed before; nil for none.
type cutOperation struct {
	before *omapi.IngestionPipeline
	// after is what it would have made of it; nil for nothing.
	after     *omapi.IngestionPipeline
	variables [2]string
	prepare   func(t *testing.T, client *Client)
	do        func(ctx context.Context, client *Client) error
	// requests is the least number that it makes.
	requests int
	// checked are the states that were checked.
	checked sync.Map
}

// random is what differs from one deploy to the next; whether two of them are the same counts.
var random = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|"[0-9a-f]{8}"`)

// stateOf is what is on a server, without what is random.
func stateOf(t *testing.T, server *apiServer) string {
	t.Helper()
	contents := server.contents(t, "configmaps", "secrets", "cronjobs", "jobs")
	known := map[string]string{}
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(contents)) {
		out.WriteString(key + random.ReplaceAllStringFunc(contents[key], func(id string) string {
			if known[id] == "" {
				known[id] = fmt.Sprintf("<%d>", len(known))
			}
			return known[id]
		}))
	}
	return out.String()
}

func withVariable(value string) func(*Config) {
	return func(c *Config) {
		if value != "" {
			c.ExtraEnvVars = []corev1.EnvVar{{Name: "DB_PASSWORD", Value: value}}
		}
	}
}

func cutOperations() map[string]*cutOperation {
	deployOf := func(pipeline *omapi.IngestionPipeline) func(context.Context, *Client) error {
		return func(ctx context.Context, client *Client) error {
			_, err := client.Deploy(ctx, pipeline, DeployOptions{Service: mysql()})
			return err
		}
	}
	old, changed := newPipeline(edited(1), withToken("old")), newPipeline(edited(2), withToken("new"), hourly)
	oldOnDemand, newOnDemand := newPipeline(edited(1), withToken("old"), onDemand), newPipeline(edited(2), withToken("new"), onDemand)
	rolledBack := newPipeline(edited(1), withToken("old"))
	return map[string]*cutOperation{
		"New":         {after: changed, do: deployOf(changed), requests: 8},
		"NewOnDemand": {after: newOnDemand, do: deployOf(newOnDemand), requests: 8},
		"Changed":     {before: old, after: changed, do: deployOf(changed), requests: 9},
		"Variable":    {before: old, after: old, variables: [2]string{"hunter1", "hunter2"}, do: deployOf(old), requests: 8},
		"Unscheduled": {before: old, after: newOnDemand, do: deployOf(newOnDemand), requests: 9},
		"Scheduled":   {before: oldOnDemand, after: changed, do: deployOf(changed), requests: 10},
		"OnDemand":    {before: oldOnDemand, after: newOnDemand, do: deployOf(newOnDemand), requests: 8},
		"Rollback": {
			before: newPipeline(edited(2), withToken("old")), after: rolledBack, requests: 10,
			prepare: func(t *testing.T, client *Client) {
				t.Helper()
				_, err := deploy(t, client, rolledBack)
				require.NoError(t, err)
			},
			do: func(ctx context.Context, client *Client) error {
				_, err := client.Rollback(ctx, testFQN, 0, DeployOptions{})
				return err
			},
		},
		"Delete": {before: old, requests: 8, do: func(ctx context.Context, client *Client) error {
			_, err := client.Delete(ctx, testFQN, DeleteOptions{})
			return err
		}},
		"DeleteOnDemand": {before: oldOnDemand, requests: 8, do: func(ctx context.Context, client *Client) error {
			_, err := client.Delete(ctx, testFQN, DeleteOptions{})
			return err
		}},
		"Toggle": {before: old, after: old, requests: 3, do: func(ctx context.Context, client *Client) error {
			_, err := client.Toggle(ctx, testFQN)
			return err
		}},
		"Bulk": {after: changed, requests: 7, do: func(ctx context.Context, client *Client) error {
			const others = 3
			items := make([]DeployItem, 0, 1+others)
			items = append(items, DeployItem{Service: mysql(), Pipeline: changed})
			for n := range others {
				items = append(items, DeployItem{Service: mysql(), Pipeline: newPipeline(func(p *omapi.IngestionPipeline) {
					p.Name, p.FullyQualifiedName = fmt.Sprintf("p%d", n), fmt.Sprintf("mysql_prod.p%d", n)
				})})
			}
			_, err := client.DeployAll(ctx, items, DeployOptions{}, nil)
			return err
		}},
	}
}

// TestCutOff: wherever an operation is cut off, a run that starts then has a configuration and secret values that belong
// together; what is not whole is seen by list, status and health, and finished or removed by deploy, delete and serve.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for name, op := range cutOperations() {
		for _, where := range []string{cutBefore, cutLate, cutAfter} {
			for _, death := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/Death=%t", name, where, death), func(t *testing.T) {
					t.Parallel()
					reached := true
					for n := 1; reached; n++ {
						reached = op.cutOff(t, cut{request: n, where: where, death: death})
						if !reached {
							assert.Greater(t, n, op.requests, "it was cut off at each of its requests")
						}
					}
				})
			}
		}
	}
}

// cutOff says whether the operation came to the cut.
func (op *cutOperation) cutOff(t *testing.T, where cut) bool {
	t.Helper()
	server := startAPIServer(t)
	client := newTestClient(t, server, withVariable(op.variables[0]))
	if op.prepare != nil {
		op.prepare(t, client)
	}
	if op.before != nil {
		_, err := deploy(t, client, op.before)
		require.NoError(t, err)
	}
	before := server.contents(t, "configmaps", "secrets", "cronjobs")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cutter := &cutter{server: server, cut: where, cancel: cancel}
	err := op.do(ctx, cutter.client(t, withVariable(op.variables[1])))
	if cutter.what == "" {
		require.NoError(t, err)
		return false
	}
	said := fmt.Sprintf("%s (%s)", where, cutter.what)
	cutter.land()
	// What a busy server does even now, to a request that was given up, is another cut.
	server = server.copied(t)

	if !where.death && op.after != nil && where.where != cutLate && op.before != nil && err != nil && op.variables[0] == "" && !strings.Contains(t.Name(), "Toggle") {
		assert.Equal(t, withoutRevisions(before), withoutRevisions(server.contents(t, "configmaps", "secrets", "cronjobs")), "an interrupt undoes it: %s", said)
	}
	if _, checked := op.checked.LoadOrStore(stateOf(t, server), true); checked {
		return true // As after another cut.
	}
	whole := op.wholeAs(t, server, op.before, op.variables[0]) || op.wholeAs(t, server, op.after, op.variables[1])
	op.checkRunsThatStart(t, server, said)
	op.checkSeen(t, server.copied(t), whole, said)
	op.checkDeploy(t, server.copied(t), said)
	op.checkDelete(t, server.copied(t), said)
	op.checkRepair(t, server.copied(t), said)
	return true
}

// given is what a run would be given.
type given struct {
	Config    workflow.Config   `json:"config"`
	Variables map[string]string `json:"variables"`
}

// givenBy resolves a Job's variables as the kubelet and exithandler run do; ok where its pod could start.
func givenBy(t *testing.T, server *apiServer, spec *batchv1.JobSpec) (out given, ok bool) {
	t.Helper()
	env := map[string]string{}
	for _, variable := range spec.Template.Spec.Containers[0].Env {
		switch source := variable.ValueFrom; {
		case source == nil:
			env[variable.Name] = variable.Value
		case source.ConfigMapKeyRef != nil:
			configMap, _ := server.get("configmaps", source.ConfigMapKeyRef.Name).(*corev1.ConfigMap)
			if configMap == nil {
				return out, false
			}
			env[variable.Name] = configMap.Data[source.ConfigMapKeyRef.Key]
		case source.SecretKeyRef != nil:
			secret, _ := server.get("secrets", source.SecretKeyRef.Name).(*corev1.Secret)
			if secret == nil {
				return out, false
			}
			value, there := secret.Data[source.SecretKeyRef.Key]
			if !there && source.SecretKeyRef.Optional == nil {
				return out, false
			}
			env[variable.Name] = string(value)
		}
	}
	public, err := workflow.Parse(env[identity.EnvConfig])
	require.NoError(t, err)
	overlay, err := workflow.OverlayOf(env[identity.EnvConfigFingerprint], env[identity.EnvConfigSecret], env[identity.EnvPreviousSecret])
	require.NoError(t, err, "the pair does not belong together")
	out.Config, err = workflow.Merge(public, overlay)
	require.NoError(t, err)
	out.Variables = map[string]string{"DB_PASSWORD": env["DB_PASSWORD"]}
	return out, true
}

// wanted is what a run of a pipeline's deploy is given.
func wanted(t *testing.T, pipeline *omapi.IngestionPipeline, variable string) given {
	t.Helper()
	full, err := workflow.Build(pipeline, mysql())
	require.NoError(t, err)
	return given{full, map[string]string{"DB_PASSWORD": variable}}
}

func sameGiven(t *testing.T, a, b given) bool {
	t.Helper()
	first, err := json.Marshal(a)
	require.NoError(t, err)
	second, err := json.Marshal(b)
	require.NoError(t, err)
	return assert.ObjectsAreEqual(string(first), string(second))
}

// checkRunsThatStart checks the runs that the schedule would start now, and one on demand.
func (op *cutOperation) checkRunsThatStart(t *testing.T, server *apiServer, said string) {
	t.Helper()
	var specs []*batchv1.JobSpec
	cronJob, _ := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
	if cronJob != nil && !suspended(cronJob) {
		assert.NotNil(t, server.get("configmaps", "om-config-nightly"), "a CronJob fires without its ConfigMap: %s", said)
		specs = append(specs, &cronJob.Spec.JobTemplate.Spec)
	}
	for _, variable := range op.variables {
		client := newTestClient(t, server, withVariable(variable))
		configMap, names, err := client.configMap(t.Context(), testFQN)
		if err != nil {
			continue
		}
		keys, err := client.checkSecret(t.Context(), configMap, testFQN, names)
		if err != nil {
			continue
		}
		pipeline, err := pipelineOf(configMap)
		require.NoError(t, err)
		job := NewJob(&client.config, pipeline, testRunID, testTimestamp)
		keys.use(&job.Spec, names.Secret)
		specs = append(specs, &job.Spec)
	}
	for _, spec := range specs {
		got, ok := givenBy(t, server, spec)
		if !assert.True(t, ok, "its pod could not start: %s", said) {
			continue
		}
		fits := false
		for i, pipeline := range []*omapi.IngestionPipeline{op.before, op.after} {
			fits = fits || pipeline != nil && sameGiven(t, wanted(t, pipeline, op.variables[i]), got)
		}
		if op.variables[0] != op.variables[1] {
			fits = fits || sameGiven(t, wanted(t, op.before, op.variables[0]), got) || sameGiven(t, wanted(t, op.before, op.variables[1]), got)
		}
		assert.True(t, fits, "a run has a configuration of no deploy: %s\n%v", said, got)
	}
}

// wholeAs says whether the objects are those of the pipeline's deploy, and no others.
func (op *cutOperation) wholeAs(t *testing.T, server *apiServer, pipeline *omapi.IngestionPipeline, variable string) bool {
	t.Helper()
	objects := withoutRevisions(server.contents(t, "configmaps", "secrets", "cronjobs"))
	maps.DeleteFunc(objects, func(key, _ string) bool { return !strings.HasSuffix(key, "-nightly") })
	if pipeline == nil {
		return len(objects) == 0
	}
	configMap, _ := server.get("configmaps", "om-config-nightly").(*corev1.ConfigMap)
	cronJob, _ := server.get("cronjobs", "om-cronjob-nightly").(*batchv1.CronJob)
	client := newTestClient(t, server, withVariable(variable))
	want, err := client.Render(t.Context(), pipeline, mysql())
	require.NoError(t, err)
	if configMap == nil || server.get("secrets", "om-secret-nightly") == nil || !maps.Equal(configMap.Data, want.ConfigMap.Data) {
		return false
	}
	if configMap.Annotations[identity.AnnotationDeleteRequested] != "" {
		return false
	}
	if cronJob == nil || want.CronJob == nil {
		return cronJob == nil && want.CronJob == nil
	}
	got, ok := givenBy(t, server, &cronJob.Spec.JobTemplate.Spec)
	return ok && cronJob.Spec.Schedule == want.CronJob.Spec.Schedule && sameGiven(t, got, wanted(t, pipeline, variable)) &&
		(strings.Contains(t.Name(), "Toggle") || !suspended(cronJob))
}

// checkSeen checks that what is not whole is seen.
func (op *cutOperation) checkSeen(t *testing.T, server *apiServer, whole bool, said string) {
	t.Helper()
	if whole {
		return
	}
	client := newTestClient(t, server)
	listed, err := client.List(t.Context(), "")
	require.NoError(t, err)
	seen := ""
	for _, summary := range listed {
		if summary.FQN == testFQN {
			seen = summary.Incomplete
		}
	}
	assert.NotEmpty(t, seen, "list: %s: %v", said, server.names())
	status, err := client.Status(t.Context(), testFQN)
	if assert.NoError(t, err, "status: %s: %v", said, server.names()) {
		assert.Equal(t, seen, status.Incomplete, "status: %s", said)
	}
	check := client.checkComplete(t.Context())
	assert.Equal(t, CheckWarning, check.State, "health: %s", said)
	assert.Contains(t, check.Detail, testFQN, "health: %s", said)
}

// checkDeploy checks that a deploy makes it whole.
func (op *cutOperation) checkDeploy(t *testing.T, server *apiServer, said string) {
	t.Helper()
	pipeline := op.after
	if pipeline == nil {
		pipeline = op.before
	}
	_, err := deploy(t, newTestClient(t, server, withVariable(op.variables[1])), pipeline)
	require.NoError(t, err, "deploy: %s", said)
	assert.True(t, op.wholeAs(t, server, pipeline, op.variables[1]), "deploy: %s: %v", said, server.names())
	assert.Empty(t, op.incomplete(t, server)[testFQN], "deploy: %s", said)
}

// checkDelete checks that nothing is left when it has been deleted by what list shows.
func (op *cutOperation) checkDelete(t *testing.T, server *apiServer, said string) {
	t.Helper()
	client := newTestClient(t, server)
	listed, err := client.List(t.Context(), "")
	require.NoError(t, err)
	for _, summary := range listed {
		_, err := client.Delete(t.Context(), summary.FQN, DeleteOptions{})
		require.NoError(t, err, "delete: %s", said)
	}
	assert.Empty(t, server.names(), "delete --all: %s", said)
}

// checkRepair checks that serve makes it whole: it finishes what was committed, and removes what was not.
func (op *cutOperation) checkRepair(t *testing.T, server *apiServer, said string) {
	t.Helper()
	client := newTestClient(t, server, withVariable(op.variables[1]))
	repairer := client.NewRepairer(slog.New(slog.DiscardHandler), time.Nanosecond)
	for range 3 { // It sees it, acts, and sees that all is well.
		require.NoError(t, repairer.Look(t.Context()))
	}
	assert.Empty(t, op.incomplete(t, server), "serve: %s: %v", said, server.names())
	whole := op.wholeAs(t, server, nil, "") || op.wholeAs(t, server, op.before, op.variables[0]) || op.wholeAs(t, server, op.after, op.variables[1])
	assert.True(t, whole, "serve: %s: %v", said, server.names())
}

func (op *cutOperation) incomplete(t *testing.T, server *apiServer) map[string]string {
	t.Helper()
	all, err := newTestClient(t, server).allParts(t.Context())
	require.NoError(t, err)
	out := map[string]string{}
	for fqn, p := range all {
		if problem := p.problem(); problem != "" {
			out[fqn] = problem
		}
	}
	return out
}
