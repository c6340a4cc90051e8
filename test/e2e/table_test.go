package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	// settled is how long after the end nothing may be written any more: longer than any reporter looks again.
	settled = 15 * time.Second
	// parallelRows bounds the runs that go on at the same time; parallelScheduled those that a schedule makes, which wait
	// for the next minute most of the time.
	parallelRows      = 4
	parallelScheduled = 6
)

// row is one way in which a run can end.
type row struct {
	number int
	// variant tells a row from another of the number.
	variant string
	// how the end is made here.
	how     string
	options map[string]string
	// set are parameters of the client, NAME=VALUE.
	set []string
	// prepare changes the world between deploy and run, act while the run goes on.
	// then checks what follows the final state.
	prepare, act, then func(t *testing.T, e *ending)
	want               omapi.PipelineState
	// category is the cause's; empty: the workflow's own.
	category diagnostics.Category
	// cause is a part of the cause's text.
	cause string
	// attempt is the category of the attempt that failed before the last one.
	attempt diagnostics.Category
	// real says that the row runs with the real ingestion package too.
	real bool
	// alone says that the row disturbs others.
	alone bool
}

// hookOnly says that only the preStop hook reports, to show what it is worth by itself: nothing is asserted then.
func hookOnly() bool { return os.Getenv("PIPELINECTL_TABLE_REPORTERS") == "hook" }

// hookPatience is how long after its start a run is given to end where nobody may notice.
const hookPatience = 45 * time.Second

// ending is one row as it is run.
type ending struct {
	*world
	row

	name, fqn, image string
	// scheduled says that a CronJob makes the run, not the command.
	scheduled bool
	runID     string
	// at is when the run ended, where the test knows it better than the kubelet, which tells whole seconds.
	at  time.Time
	run *admin.Run
	// disturbed are requests that the row is about: without one of each it has shown nothing.
	disturbed []func(admin.Request) bool
	// down is the fault that keeps the reporter from the server.
	down string
	// shown says in another way that the row has shown what it is about; nil: the requests do.
	shown func(ctx context.Context) bool
	// attemptRecord is the record while it had the failed attempt.
	attemptRecord string
	// took is from the end to the final state in OpenMetadata.
	took time.Duration
}

// TestTable makes a run end in every way that the design's table has, and shows what OpenMetadata was told.
func TestTable(t *testing.T) {
	w := newWorld(t)
	if !hookOnly() {
		w.serve(t)
	}
	w.prepareTable(t)
	endings := w.endings(w.nodeCPU(t))
	t.Run("rows", func(t *testing.T) {
		onDemand, scheduled := make(chan struct{}, parallelRows), make(chan struct{}, parallelScheduled)
		for _, e := range endings {
			if e.alone {
				continue
			}
			slots := onDemand
			if e.scheduled {
				slots = scheduled
			}
			t.Run(e.name, func(t *testing.T) {
				t.Parallel() // make test-integration lets as many go on as there are slots.
				slots <- struct{}{}
				defer func() { <-slots }()
				e.end(t)
			})
		}
	})
	for _, e := range endings {
		if e.alone {
			t.Run(e.name, e.end)
		}
	}
	// The last one has just ended.
	assert.Eventually(t, func() bool {
		return !slices.ContainsFunc(endings, func(e *ending) bool { return e.run != nil && time.Since(e.finalWrite()) < settled })
	}, hang, time.Second)
	for _, e := range endings {
		t.Run("settled/"+e.name, e.assertSettled)
	}
	printTable(t, endings)
}

// TestEndingsAreToldApart: who reads the table finds each row, and its line in the log.
func TestEndingsAreToldApart(t *testing.T) {
	t.Parallel()
	names, hows := map[string]bool{}, map[string]bool{}
	endings := (&world{}).endings(1000)
	for _, e := range endings {
		names[e.name], hows[e.how] = true, true
	}
	assert.Len(t, names, len(endings))
	assert.Len(t, hows, len(endings))
}

func TestTableOf(t *testing.T) {
	t.Parallel()
	w := &world{}
	var labels []string
	endings := []*ending{
		w.onSchedule(row{number: 22}), w.ending(row{number: 27}, lightImage), w.ending(row{number: 4}, realImage),
		w.ending(row{number: 22, variant: "forbidden"}, lightImage), w.onSchedule(row{number: 3}), w.ending(row{number: 16}, lightImage),
	}
	for _, e := range endings[:5] { // The last one did not run.
		e.runID = "r"
	}
	for line := range strings.Lines(tableOf(endings)) {
		label, _, _ := strings.Cut(line, "|")
		labels = append(labels, strings.TrimSpace(label))
	}
	assert.Equal(t, []string{"row", "4-real", "22-forbidden", "26-3", "26-22", "27"}, labels)
}

// endings are all rows in all the ways that they are run.
func (w *world) endings(nodeCPU int64) []*ending {
	var out []*ending
	for _, row := range rows(nodeCPU) {
		out = append(out, w.ending(row, lightImage))
		if row.real {
			out = append(out, w.ending(row, realImage))
		}
		if row.number < rowScheduled && row.variant == "" {
			out = append(out, w.onSchedule(row))
		}
	}
	for i, row := range injectedRows() {
		out = append(out, w.ending(row, lightImage))
		if i == 0 {
			out = append(out, w.onSchedule(row))
		}
	}
	for _, row := range scheduledRows() {
		out = append(out, w.onSchedule(row))
	}
	return out
}

func (w *world) ending(r row, image string) *ending {
	name := fmt.Sprintf("row-%d", r.number)
	if r.variant != "" {
		name += "-" + r.variant
	}
	if image == realImage {
		name += "-real"
		r.how += ", real ingestion"
	}
	return &ending{world: w, row: r, name: name, image: image}
}

// onSchedule is row 26: a run that a CronJob makes ends in the way of another row.
func (w *world) onSchedule(r row) *ending {
	r.how = "scheduled: " + r.how
	e := w.ending(r, lightImage)
	e.scheduled = true
	if r.number != rowScheduled {
		e.name = fmt.Sprintf("row-%d-%d", rowScheduled, r.number)
	}
	return e
}

// serve starts pipelinectl serve beside the test.
func (w *world) serve(t *testing.T) {
	t.Helper()
	path := filepath.Join(os.TempDir(), "pipelinectl-"+w.namespace+"-serve.log")
	log, err := os.Create(path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	serve, err := w.command.Start(ctx, log, "serve", "--sweep-interval", "5s", "--sweep-age", "30s")
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		_ = serve.Wait() // Interrupted.
		if t.Failed() {
			if data, err := os.ReadFile(path); err == nil {
				t.Logf("pipelinectl serve:\n%s", data)
			}
		}
		assert.NoError(t, log.Close())
		assert.NoError(t, os.Remove(path))
	})
}

// end runs the row until its final state.
func (e *ending) end(t *testing.T) {
	t.Helper()
	e.deploy(t)
	if e.prepare != nil {
		e.prepare(t, e)
	}
	e.start(t)
	if e.act != nil {
		e.act(t, e)
	}
	e.awaitEnd(t)
	if e.then != nil && !hookOnly() {
		e.then(t, e)
	}
	e.assertDisturbed(t)
}

// disturb sets a fault that the row is about, and gives its id.
func (e *ending) disturb(t *testing.T, fault admin.Fault) string {
	t.Helper()
	set, err := e.standIn.Admin.AddFault(t.Context(), fault)
	require.NoError(t, err)
	e.disturbed = append(e.disturbed, func(request admin.Request) bool { return request.Fault == set.ID })
	return set.ID
}

// assertDisturbed looks at the requests, of which one that hangs is known when it has ended, and not at the faults, of
// which one that is over is gone.
func (e *ending) assertDisturbed(t *testing.T) {
	t.Helper()
	if len(e.disturbed) == 0 || hookOnly() {
		return
	}
	assert.Eventually(t, func() bool {
		if e.shown != nil && e.shown(t.Context()) {
			t.Logf("%s: shown without a request of its kind", e.how)
			return true
		}
		requests, err := e.standIn.Admin.Requests(t.Context(), admin.RequestFilter{Path: e.fqn})
		return err == nil && !slices.ContainsFunc(e.disturbed, func(is func(admin.Request) bool) bool { return !slices.ContainsFunc(requests, is) })
	}, hang, time.Second, "%s: nothing was disturbed", e.how)
}

func (e *ending) deploy(t *testing.T) {
	t.Helper()
	schedule := ""
	if e.scheduled {
		schedule = everyMinute
	}
	var file string
	file, e.fqn = e.pipeline(t, e.name, e.options, schedule)
	_, err := e.command.Run(t.Context(), append([]string{"deploy", "-f", file}, e.parameters()...)...)
	require.NoError(t, err)
}

func (e *ending) start(t *testing.T) {
	t.Helper()
	if e.scheduled {
		e.awaitTick(t)
		return
	}
	var started k8sclient.RunResult
	require.NoError(t, e.command.RunJSON(t.Context(), &started, append([]string{"run", e.fqn}, e.parameters()...)...))
	e.runID = started.RunID
}

func (e *ending) parameters() []string {
	out := []string{"--set", "ingestionImage=" + e.image}
	if hookOnly() {
		out = append(out, "--set", "sidecar=never")
	}
	for _, parameter := range e.set {
		out = append(out, "--set", parameter)
	}
	return out
}

// awaitTick gives the run of the schedule's first tick, and lets no other come. A schedule is deployed out of force, so
// that no tick comes before the row is prepared.
func (e *ending) awaitTick(t *testing.T) {
	t.Helper()
	e.runID = e.nextTick(t, e.fqn, e.selector(), "")
}

// awaitEnd waits for the final state and remembers how long after the end it came.
func (e *ending) awaitEnd(t *testing.T) {
	t.Helper()
	ended := e.at
	patience := hang
	if hookOnly() {
		patience = hookPatience
	}
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, patience, true, func(ctx context.Context) (bool, error) {
		run, err := e.standIn.Admin.Run(ctx, e.fqn, e.runID)
		if err != nil || run == nil {
			return false, nil //nolint:nilerr // The stand-in may be made unreachable by the row.
		}
		e.run = run
		if text := e.recordText(); strings.Contains(text, diagnostics.StepName+": om-") {
			e.attemptRecord = text
		}
		if e.at.IsZero() {
			if at, ok := e.seenEnd(ctx); ok {
				ended = at
			}
		}
		if e.attempt != "" && e.attemptRecord == "" {
			return false, nil // What it says is of an attempt.
		}
		return omapi.PipelineState(run.State) == e.want && (e.category == "" || strings.Contains(e.recordText(), string(e.category))), nil
	})
	if hookOnly() {
		return
	}
	require.NoError(t, err, "%s does not become %s with cause %s: %+v", e.fqn, e.want, e.category, e.run)
	e.at = ended
}

// seenEnd is when the run's newest main container ended; where none has started, when the Job was decided.
func (e *ending) seenEnd(ctx context.Context) (time.Time, bool) {
	pods, err := e.Kube.CoreV1().Pods(e.namespace).List(ctx, e.selector())
	if err != nil {
		return time.Time{}, false
	}
	var last time.Time
	for i := range pods.Items {
		if main, ok := diagnostics.MainEnded(&pods.Items[i]); ok && main.FinishedAt.After(last) && !main.StartedAt.IsZero() {
			last = main.FinishedAt.Time
		}
	}
	if !last.IsZero() {
		return last, true
	}
	jobs, err := e.Kube.BatchV1().Jobs(e.namespace).List(ctx, e.selector())
	if err != nil || len(jobs.Items) == 0 {
		return time.Time{}, false
	}
	for _, condition := range jobs.Items[0].Status.Conditions {
		if condition.Status == corev1.ConditionTrue && (last.IsZero() || condition.LastTransitionTime.Time.Before(last)) {
			last = condition.LastTransitionTime.Time
		}
	}
	return last, !last.IsZero()
}

// finalWrite is when the state was first written that the run ended in.
func (e *ending) finalWrite() time.Time {
	var at time.Time
	for _, write := range slices.Backward(e.stored()) {
		if write.State != string(e.want) {
			break
		}
		at = write.Time
	}
	return at
}

// stored are the writes that the server took.
func (e *ending) stored() []admin.Write {
	var out []admin.Write
	for _, write := range e.run.Writes {
		if write.Status < 300 {
			out = append(out, write)
		}
	}
	return out
}

func (e *ending) recordText() string {
	if len(e.run.Rows) == 0 {
		return ""
	}
	return string(e.run.Rows[0])
}

// assertSettled is the promise: the final state of the table, with its cause, once, in one record.
func (e *ending) assertSettled(t *testing.T) {
	t.Helper()
	if e.run == nil && !e.Local {
		t.Skip("the row needs the local cluster")
	}
	if e.run == nil && hookOnly() {
		return // Nobody has written anything.
	}
	require.NotNil(t, e.run, "the row did not run")
	run, err := e.standIn.Admin.Run(t.Context(), e.fqn, e.runID)
	require.NoError(t, err)
	e.run = run
	// A workflow tells its success before its container has ended.
	if at, ok := e.seenEnd(t.Context()); ok && at.After(e.at) {
		e.at = at
	}
	e.took = max(0, e.finalWrite().Sub(e.at))
	if hookOnly() {
		return
	}
	assert.Equal(t, string(e.want), run.State, e.how)
	assert.Len(t, run.Rows, 1, "one record per run")
	assert.Equal(t, 1, e.records(t), "one run, however many attempts")
	e.assertWrittenOnce(t)
	if e.category != "" {
		assert.Equal(t, 1, strings.Count(e.recordText(), `"name":"`+diagnostics.StepName+`"`), "one diagnosis")
	}
	record, err := e.client(t).Status(t.Context(), e.fqn)
	require.NoError(t, err)
	for _, seen := range record.Runs {
		if seen.RunID == e.runID && e.category != "" {
			assert.Contains(t, seen.Cause, string(e.category), e.how)
			assert.Contains(t, seen.Cause, e.cause, e.how)
		}
	}
	e.assertDiagnosed(t)
	if e.attempt != "" {
		assert.Contains(t, e.attemptRecord, diagnostics.StepName+": om-", "a failed attempt is a step of its own, until the workflow writes the whole record anew")
		assert.Contains(t, e.attemptRecord, `"name":"`+string(e.attempt)+`"`, e.how)
	}
}

// records is how many runs OpenMetadata knows of the pipeline.
func (e *ending) records(t *testing.T) int {
	t.Helper()
	pipelines, err := e.standIn.Admin.Pipelines(t.Context())
	require.NoError(t, err)
	for i := range pipelines {
		if pipelines[i].FQN == e.fqn {
			return len(pipelines[i].Runs)
		}
	}
	return 0
}

// assertDiagnosed: who asks afterwards, from outside, is told the same as OpenMetadata was.
func (e *ending) assertDiagnosed(t *testing.T) {
	t.Helper()
	var diagnosis k8sclient.Diagnosis
	err := e.command.RunJSON(t.Context(), &diagnosis, "diagnose", e.runID)
	if err != nil && strings.Contains(err.Error(), k8sclient.ErrNoJob.Error()) {
		return // It was deleted: its record is what is left.
	}
	require.NoError(t, err)
	assert.Equal(t, e.want, diagnosis.Record.State)
	if e.category != "" {
		assert.Equal(t, e.category, diagnosis.Verdict.Category, "%s: %s", e.how, diagnosis.Verdict.Summary)
	}
}

// assertWrittenOnce: the final state is written once, and stands. What a workflow wrote of an attempt before the last one
// was no final state.
func (e *ending) assertWrittenOnce(t *testing.T) {
	t.Helper()
	final := 0
	reported := ""
	for _, write := range e.stored() {
		switch {
		case write.State == string(e.want):
			final++
		case e.attempt != "" && !omapi.PipelineState(write.State).Terminal():
			final = 0
		}
		ours := strings.Contains(write.UserAgent, "exithandler") || strings.Contains(write.UserAgent, "pipelinectl")
		if reported != "" {
			assert.Equal(t, reported, write.State, "a final state that a reporter wrote is not flipped: %+v", write)
		}
		if ours && omapi.PipelineState(write.State).Terminal() {
			reported = write.State
		}
	}
	if e.number != rowAllAtOnce { // The server has no compare and swap.
		assert.Equal(t, 1, final, "one terminal write: %+v", e.stored())
	}
}

// selector selects what belongs to the row's pipeline.
func (e *ending) selector() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: identity.LabelPipeline + "=" + e.name + "-metadata"}
}

// pod waits for the run's pod to be as wanted, and gives it.
func (e *ending) pod(t *testing.T, ready func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		pods, err := e.Kube.CoreV1().Pods(e.namespace).List(ctx, e.selector())
		if err != nil {
			return false, err
		}
		for i := range pods.Items {
			if ready(&pods.Items[i]) {
				found = &pods.Items[i]
				return true, nil
			}
		}
		return false, nil
	})
	require.NoError(t, err, "the pod of %s", e.fqn)
	return found
}

// runs says that the pod's main container runs.
func runs(pod *corev1.Pod) bool {
	_, ended := diagnostics.MainEnded(pod)
	return !ended && !diagnostics.MainStarted(pod).IsZero()
}

// running gives the pod of a run at work.
func (e *ending) running(t *testing.T) *corev1.Pod {
	t.Helper()
	e.awaitWork(t, e.fqn, e.runID)
	return e.pod(t, runs)
}

// printTable shows what was seen, not what was wanted: in both ways to run the table it is what OpenMetadata shows.
func printTable(t *testing.T, endings []*ending) {
	t.Helper()
	table := tableOf(endings)
	t.Logf("seconds from the end, which the kubelet tells to the second, to the final state in OpenMetadata:\n%s", table)
	if path := os.Getenv("PIPELINECTL_TABLE"); path != "" {
		require.NoError(t, os.WriteFile(path, []byte(table), 0o600))
	}
}

func tableOf(endings []*ending) string {
	var b strings.Builder
	out := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "row\t| how the run ends\t| state seen\t| cause seen\t| seconds\t| told by")
	for _, e := range slices.SortedStableFunc(slices.Values(endings), byNumber) {
		if e.runID == "" {
			continue // It did not run here.
		}
		state, cause, told := "no record", "–", "–"
		if e.run != nil {
			state = e.run.State
			if e.run.Cause != nil {
				cause = e.run.Cause.Name
			}
			for _, write := range e.stored() {
				if write.State == state {
					told = write.UserAgent
				}
			}
		}
		fmt.Fprintf(out, "%s\t| %s\t| %s\t| %s\t| %.1f\t| %s\n", strings.TrimPrefix(e.name, "row-"), e.how, state, cause, e.took.Seconds(), told)
	}
	_ = out.Flush() // To memory.
	return b.String()
}

// byNumber puts what a schedule made into row 26, in the order of the rows that it is of.
func byNumber(a, b *ending) int {
	number := func(e *ending) int {
		if e.scheduled {
			return rowScheduled
		}
		return e.number
	}
	return cmp.Or(cmp.Compare(number(a), number(b)), cmp.Compare(a.number, b.number))
}

// both runs things at the same time.
func both(things ...func()) {
	var wg sync.WaitGroup
	for _, thing := range things {
		wg.Go(thing)
	}
	wg.Wait()
}
