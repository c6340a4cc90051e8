package diagnostics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/internal/golden"
)

const patience = 30 * time.Second

func collect(t *testing.T, reader Reader, secrets ...string) *Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return Collect(ctx, reader, Target{Namespace: namespace, JobName: jobName, Redact: secrets})
}

// twoAttempts is a run whose first attempt was out of memory, and whose second failed by itself.
func twoAttempts() *apiServer {
	job := newJob()
	job.Status = batchv1.JobStatus{Failed: 2, Conditions: []batchv1.JobCondition{{
		Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonBackoffLimitExceeded, Message: "Job has reached the specified backoff limit",
	}}}
	first := newPodObject(jobName+"-aaaaa", 1, terminated("ingestion", 137, "OOMKilled", ""))
	second := newPodObject(jobName+"-bbbbb", 20, terminated("ingestion", 1, "Error", "last words"))
	second.Status.InitContainerStatuses = []corev1.ContainerStatus{terminated("install-exithandler", 0, "Completed", "")}
	late := newEventObject("Pod", second.Name, "BackOff", "again", 0)
	late.LastTimestamp, late.EventTime = metav1.Time{}, metav1.NewMicroTime(at(30).Time)
	return &apiServer{
		job:  job,
		pods: []corev1.Pod{first, second},
		logs: map[string]string{
			first.Name + "/ingestion":            "reading\n",
			second.Name + "/ingestion":           "connect with hunter2\nTraceback: no\n",
			second.Name + "/install-exithandler": "",
		},
		events: []corev1.Event{
			late,
			newEventObject("Pod", first.Name, "OOMKilling", "killed, password was hunter2", 9),
			newEventObject("Job", jobName, "SuccessfulCreate", "Created pod", 1),
			newEventObject("Pod", "of-another-job", "Started", "not ours", 2),
		},
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	run := collect(t, twoAttempts().start(t), "hunter2")
	assert.Empty(t, run.Problems)
	require.NotNil(t, run.Job)
	require.Len(t, run.Pods, 2)
	newest := run.Pods[0]
	assert.Equal(t, jobName+"-bbbbb", newest.Name, "the newest attempt is first")
	assert.Equal(t, []string{"install-exithandler", "ingestion"}, []string{newest.Containers[0].Name, newest.Containers[1].Name}, "init containers are first")
	assert.Equal(t, int32(1), newest.Containers[1].ExitCode)
	assert.Equal(t, "last words", newest.Containers[1].Message)
	assert.Equal(t, "connect with <redacted>\nTraceback: no\n", newest.Containers[1].Log)
	assert.Equal(t, int32(137), run.Pods[1].Containers[0].ExitCode)
	assert.Equal(t, "OOMKilled", run.Pods[1].Containers[0].Reason)
	reasons := make([]string, len(run.Events))
	for i := range run.Events {
		reasons[i] = run.Events[i].Reason
	}
	assert.Equal(t, []string{"SuccessfulCreate", "OOMKilling", "BackOff"}, reasons, "by time, of the Job and its pods only")
	data, err := json.Marshal(run)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "hunter2")

	verdict := run.Judge()
	assert.Equal(t, CategoryApplicationError, verdict.Category, "the newest attempt decides")
	step := run.Step(verdict, "preStop hook of pod x")
	assert.Equal(t, StepName, step.Name)
	assert.Equal(t, 1, step.Errors)
	require.Len(t, step.Failures, 1)
	assert.Equal(t, "ApplicationError", step.Failures[0].Name)
	golden.Assert(t, "two-attempts.txt", step.Failures[0].Error+"\n\n"+step.Failures[0].StackTrace)
}

func TestCollectFromJSON(t *testing.T) {
	t.Parallel()
	api := twoAttempts()
	inProtobuf := collect(t, api.start(t))
	api.jsonOnly = true
	inJSON := collect(t, api.start(t))
	want, err := json.Marshal(inProtobuf)
	require.NoError(t, err)
	got, err := json.Marshal(inJSON)
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(got), "a server or a proxy may have no protobuf")
}

func TestCollectWhatIsMissing(t *testing.T) {
	t.Parallel()
	legacy := newPodObject("legacy", 1, running())
	legacy.Labels = map[string]string{"job-name": jobName}
	other := newPodObject("other", 1, running())
	other.Labels = map[string]string{batchv1.JobNameLabel: "om-job-other"}
	pending := newPodObject("pending", 1)
	pending.Status.Phase, pending.Spec.NodeName = corev1.PodPending, ""
	empty := newPodObject("empty", 1, corev1.ContainerStatus{Name: "ingestion"})
	cases := map[string]struct {
		reason string
		server apiServer
		check  func(t *testing.T, run *Run)
	}{
		"NoPods": {
			reason: "a Job without pods is no problem of reading", server: apiServer{job: newJob()},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				assert.Empty(t, run.Pods)
				assert.Empty(t, run.Problems)
				assert.Equal(t, CategoryUnknown, run.Judge().Category)
				assert.Contains(t, run.Judge().Summary, "has no pod that could be read")
			},
		},
		"NoJob": {
			reason: "a deleted Job may have left its pod", server: apiServer{pods: []corev1.Pod{newPodObject("left", 1, terminated("ingestion", 2, "Error", ""))}, logs: map[string]string{"left/ingestion": "x\n"}},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				assert.Nil(t, run.Job)
				require.Len(t, run.Problems, 1)
				assert.Contains(t, run.Problems[0], "cannot read Job "+jobName)
				assert.Equal(t, CategoryApplicationError, run.Judge().Category)
			},
		},
		"LegacyLabel": {
			reason: "older clusters label pods job-name", server: apiServer{job: newJob(), pods: []corev1.Pod{other, legacy}, logs: map[string]string{"legacy/ingestion": "still here\n"}},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				require.Len(t, run.Pods, 1)
				assert.Equal(t, "legacy", run.Pods[0].Name)
				assert.Equal(t, "still here\n", run.Pods[0].Containers[0].Log, "a running container has a log too")
			},
		},
		"NoStatuses": {
			reason: "a pod that no node has taken has no containers yet", server: apiServer{job: newJob(), pods: []corev1.Pod{pending}},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				require.Len(t, run.Pods, 1)
				assert.Empty(t, run.Pods[0].Containers)
				assert.Empty(t, run.Problems)
				assert.Equal(t, "pod pending is in phase Pending", run.Judge().Summary)
				assert.Contains(t, run.Text(), "Phase: Pending")
			},
		},
		"EmptyState": {
			reason: "the kubelet has not said anything yet", server: apiServer{job: newJob(), pods: []corev1.Pod{empty}},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				require.Len(t, run.Pods[0].Containers, 1)
				assert.Empty(t, run.Pods[0].Containers[0].State)
				assert.Empty(t, run.Problems, "a container that has not started has no log to ask for")
			},
		},
		"Waiting": {
			reason: "what cannot start says why", server: apiServer{job: newJob(), pods: []corev1.Pod{newPodObject("waits", 1, waiting("ImagePullBackOff", "no such image"))}},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				assert.Empty(t, run.Problems)
				assert.Equal(t, CategoryImagePull, run.Judge().Category)
				assert.Contains(t, run.Judge().Summary, "ImagePullBackOff: no such image")
			},
		},
		"LogGone": {
			reason: "a node may have thrown the log away", server: apiServer{job: newJob(), pods: []corev1.Pod{newPodObject("old", 1, terminated("ingestion", 1, "Error", ""))}},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				require.Len(t, run.Problems, 1)
				assert.Contains(t, run.Problems[0], "cannot read the log of container ingestion of pod old: ")
				assert.Equal(t, CategoryApplicationError, run.Judge().Category)
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.check(t, collect(t, tc.server.start(t)))
		})
	}
}

func TestCollectWithoutPermission(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason    string
		forbidden string
		problems  []string
		check     func(t *testing.T, run *Run)
	}{
		"Job": {
			reason: "pods tell enough", forbidden: "/jobs/", problems: []string{"cannot read Job " + jobName},
			check: func(t *testing.T, run *Run) { t.Helper(); assert.Len(t, run.Pods, 2) },
		},
		"Pods": {
			reason: "the Job tells that it failed", forbidden: "/pods$", problems: []string{"cannot read the pods of Job " + jobName},
			check: func(t *testing.T, run *Run) { t.Helper(); assert.NotNil(t, run.Job); assert.Empty(t, run.Pods) },
		},
		"Logs": {
			reason: "exit codes tell enough", forbidden: "/log$",
			problems: []string{
				"cannot read the log of container ingestion of pod " + jobName + "-aaaaa", "cannot read the log of container ingestion of pod " + jobName + "-bbbbb",
			},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				assert.Equal(t, int32(1), run.Pods[0].Containers[1].ExitCode)
			},
		},
		"Events": {
			reason: "events are the least", forbidden: "/events$",
			problems: []string{
				"cannot read the events of Job " + jobName, "cannot read the events of Pod " + jobName + "-aaaaa", "cannot read the events of Pod " + jobName + "-bbbbb",
			},
			check: func(t *testing.T, run *Run) { t.Helper(); assert.Empty(t, run.Events); assert.Len(t, run.Pods, 2) },
		},
		"Everything": {
			reason: "what could not be read is the diagnosis", forbidden: ".",
			problems: []string{"cannot read Job " + jobName, "cannot read the events of Job " + jobName, "cannot read the pods of Job " + jobName},
			check: func(t *testing.T, run *Run) {
				t.Helper()
				assert.Equal(t, CategoryUnknown, run.Judge().Category)
				assert.Contains(t, run.Text(), "What could not be read:\n  cannot read Job")
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := twoAttempts()
			server.forbidden = regexp.MustCompile(tc.forbidden)
			run := collect(t, server.start(t))
			require.Len(t, run.Problems, len(tc.problems), tc.reason)
			for i, want := range tc.problems {
				assert.Contains(t, run.Problems[i], want, tc.reason)
				assert.Contains(t, run.Problems[i], "is forbidden", "the server says who may not do what")
				assert.Contains(t, run.Problems[i], "the pod's service account needs the Role in deploy/")
			}
			tc.check(t, run)
		})
	}
}

// counting counts the answers that have been read, but for logs.
type counting struct {
	Reader

	answers atomic.Int32
}

func (c *counting) Job(ctx context.Context, name string) (*batchv1.Job, error) {
	defer c.answers.Add(1)
	return c.Reader.Job(ctx, name)
}

func (c *counting) Pods(ctx context.Context, labelSelector string) ([]corev1.Pod, error) {
	defer c.answers.Add(1)
	return c.Reader.Pods(ctx, labelSelector)
}

func (c *counting) Events(ctx context.Context, kind, name string) ([]corev1.Event, error) {
	defer c.answers.Add(1)
	return c.Reader.Events(ctx, kind, name)
}

func TestCollectEndsWithTheContext(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		hanging string
		// hangs and answers are how many requests hang and are answered: the context ends when they are that many.
		hangs, answers int32
		check          func(t *testing.T, run *Run)
	}{
		"Everything": {
			reason: "a control plane that does not answer does not hold the report", hanging: ".", hangs: 3,
			check: func(t *testing.T, run *Run) { t.Helper(); assert.Empty(t, run.Pods); assert.Len(t, run.Problems, 3) },
		},
		"Log": {
			reason: "a node that is gone does not give its log, the rest is there", hanging: "/log$", hangs: 2, answers: 5,
			check: func(t *testing.T, run *Run) {
				t.Helper()
				assert.Len(t, run.Pods, 2)
				assert.Len(t, run.Events, 3)
				assert.Len(t, run.Problems, 2, "an init container that ended well tells nothing")
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := twoAttempts()
			server.hanging, server.hung = regexp.MustCompile(tc.hanging), &atomic.Int32{}
			reader := &counting{Reader: server.start(t)}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan *Run, 1)
			go func() { ended <- Collect(ctx, reader, Target{Namespace: namespace, JobName: jobName}) }()
			require.Eventually(t, func() bool {
				return server.hung.Load() == tc.hangs && reader.answers.Load() == tc.answers
			}, patience, time.Millisecond, tc.reason)
			cancel()
			select {
			case run := <-ended:
				tc.check(t, run)
			case <-time.After(patience):
				require.Fail(t, "it does not end", tc.reason)
			}
		})
	}
}

func TestCollectWithoutServer(t *testing.T) {
	t.Parallel()
	run := collect(t, newReader(t, refusing))
	assert.Len(t, run.Problems, 3, "the Job, its events, its pods")
	assert.NotEmpty(t, run.Text())
}

func TestLogs(t *testing.T) {
	t.Parallel()
	many := &strings.Builder{}
	for i := range 700 {
		fmt.Fprintf(many, "line %d\n", i)
	}
	cases := map[string]struct {
		reason string
		log    string
		broken bool
		check  func(t *testing.T, got string)
	}{
		"Tail": {
			reason: "the last 500 lines", log: many.String(),
			check: func(t *testing.T, got string) {
				t.Helper()
				assert.Equal(t, TailLines, strings.Count(got, "\n"))
				assert.True(t, strings.HasPrefix(got, "line 200\n"))
				assert.True(t, strings.HasSuffix(got, "line 699\n"))
			},
		},
		"LongLine": {
			reason: "a line can be of any length", log: strings.Repeat("x", 3*MaxLogBytes) + "end\n",
			check: func(t *testing.T, got string) {
				t.Helper()
				assert.Len(t, got, MaxLogBytes)
				assert.True(t, strings.HasSuffix(got, "xend\n"))
			},
		},
		"LongLines": {
			reason: "the first line of what is kept is a whole one", log: strings.Repeat(strings.Repeat("y", 1000)+"\n", 400),
			check: func(t *testing.T, got string) {
				t.Helper()
				assert.LessOrEqual(t, len(got), MaxLogBytes)
				assert.Greater(t, len(got), MaxLogBytes-2000)
				for line := range strings.Lines(got) {
					assert.Len(t, line, 1001)
				}
			},
		},
		"Bytes": {
			reason: "a log is bytes; OpenMetadata's database takes valid UTF-8 without NUL", log: "a\x00b\xff\xfec \u8ba2\n",
			check: func(t *testing.T, got string) {
				t.Helper()
				assert.True(t, utf8.ValidString(got))
				assert.Equal(t, "a\uFFFDb\uFFFDc \u8ba2\n", got)
			},
		},
		"CutCharacter": {
			reason: "a cut may go through a character", log: strings.Repeat("\u8ba2", MaxLogBytes),
			check: func(t *testing.T, got string) { t.Helper(); assert.True(t, utf8.ValidString(got)) },
		},
		"Broken": {
			reason: "what came before the connection broke is kept", log: "first\nsecond\n", broken: true,
			check: func(t *testing.T, got string) { t.Helper(); assert.Equal(t, "first\nsecond\n", got) },
		},
		"Empty": {reason: "a container may say nothing", check: func(t *testing.T, got string) { t.Helper(); assert.Empty(t, got) }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &apiServer{
				job: newJob(), pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 1, "Error", ""))}, logs: map[string]string{"p/ingestion": tc.log},
			}
			problems := 0
			if tc.broken {
				server.broken, problems = regexp.MustCompile("/log$"), 1
			}
			run := collect(t, server.start(t))
			assert.Len(t, run.Problems, problems, tc.reason)
			tc.check(t, run.Pods[0].Containers[0].Log)
		})
	}
}

func TestRedactor(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		secrets []string
		text    string
		want    string
	}{
		"Simple":   {reason: "a secret is not shown", secrets: []string{"hunter2"}, text: "a hunter2 b hunter2", want: "a <redacted> b <redacted>"},
		"Short":    {reason: "a secret of three characters would blank half the text", secrets: []string{"", "a", "an", "ans"}, text: "an answer", want: "an answer"},
		"Nested":   {reason: "what holds another is redacted whole, in whatever order they come", secrets: []string{"abcd", "abcdef"}, text: "abcdef abcd", want: "<redacted> <redacted>"},
		"Newline":  {reason: "a secret of a file ends with a newline, its print does not", secrets: []string{"hunter2\n"}, text: "p=hunter2;", want: "p=<redacted>;"},
		"Nothing":  {reason: "nothing is secret", text: "abc", want: "abc"},
		"Lines":    {reason: "of a key each line, as a log may be cut between them", secrets: []string{"-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nab\n"}, text: "MIIEvQIBADANBgkqhkiG9w0 ab", want: "<redacted> ab"},
		"URL":      {reason: "a connection string shows it escaped", secrets: []string{"p@ss w/rd"}, text: "u:p%40ss+w%2Frd@h v:p@ss%20w%2Frd@h w:p@ss w/rd", want: "u:<redacted>@h v:<redacted>@h w:<redacted>"},
		"JSON":     {reason: "so does a configuration that is logged, as Go and as others write it", secrets: []string{`a"b\c<d`}, text: `{"p":"a\"b\\c\u003cd"} {"p":"a\"b\\c<d"}`, want: `{"p":"<redacted>"} {"p":"<redacted>"}`},
		"Quoted":   {reason: "a secret may begin and end with a quote", secrets: []string{`"abc"`}, text: `x "abc" \"abc\"`, want: "x <redacted> <redacted>"},
		"Repeated": {reason: "a value may be there twice", secrets: []string{"abcd", "abcd"}, text: "abcd", want: "<redacted>"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, NewRedactor(tc.secrets).Replace(tc.text), tc.reason)
		})
	}
}

func TestCollectWhatTheCallerHasSeen(t *testing.T) {
	t.Parallel()
	known := newJob()
	known.UID = "new"
	pod := newPodObject("seen", 1, running())
	pod.UID, pod.Labels[batchv1.ControllerUidLabel] = "seen", "new"
	old := newPodObject("old", 9, terminated("ingestion", 3, "Error", ""))
	old.UID, old.Labels[batchv1.ControllerUidLabel] = "old", "old"
	other := newJob()
	other.UID = "old"
	cases := map[string]struct {
		reason string
		server apiServer
		gone   bool
	}{
		"Gone":     {reason: "the Job and its pod are deleted", server: apiServer{}, gone: true},
		"Replaced": {reason: "another Job has the name now, and a pod", server: apiServer{job: other, pods: []corev1.Pod{old}, logs: map[string]string{"old/ingestion": "x"}}, gone: true},
		"There":    {reason: "an older Job of the name left a pod", server: apiServer{job: known, pods: []corev1.Pod{old, pod}, logs: map[string]string{"old/ingestion": "x", "seen/ingestion": "y"}}},
		"Unknown":  {reason: "who may not read knows nothing of a deletion", server: apiServer{forbidden: regexp.MustCompile("/jobs/")}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := Collect(t.Context(), tc.server.start(t), Target{Namespace: namespace, JobName: jobName, Job: known, Pods: []corev1.Pod{pod}})
			require.NotNil(t, run.Job)
			assert.Equal(t, known.UID, run.Job.UID, tc.reason)
			assert.Equal(t, tc.gone, run.JobGone, tc.reason)
			require.Len(t, run.Pods, 1, tc.reason)
			assert.Equal(t, "seen", run.Pods[0].Name, tc.reason)
			if tc.gone {
				assert.Equal(t, CategoryDeleted, run.Judge().Category, tc.reason)
			}
		})
	}
}

// TestLogOfManyBytes: the server cuts at the end of what it sends, where the last words are.
func TestLogOfManyBytes(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 200_000) + "\n"
	cases := map[string]struct {
		reason string
		log    string
		want   string
	}{
		"LongLines": {reason: "500 lines of 200 kB", log: strings.Repeat(line, TailLines) + "the end\n", want: "the end\n"},
		"OneLine":   {reason: "a line that is longer than all that may be sent", log: strings.Repeat("y", maxTransfer+10) + "\n", want: "yyyy"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &apiServer{
				job: newJob(), pods: []corev1.Pod{newPodObject("p", 1, terminated("ingestion", 1, "Error", ""))}, logs: map[string]string{"p/ingestion": tc.log},
				sent: &atomic.Int64{},
			}
			run := collect(t, server.start(t))
			assert.Empty(t, run.Problems)
			got := run.Pods[0].Containers[0].Log
			assert.LessOrEqual(t, len(got), MaxLogBytes)
			assert.True(t, strings.HasSuffix(got, tc.want), tc.reason)
			assert.LessOrEqual(t, server.sent.Load(), int64(3*maxTransfer), tc.reason)
		})
	}
}

// TestLogsOfAttempts: the newest one's tells most, and a reporter has little memory.
func TestLogsOfAttempts(t *testing.T) {
	t.Parallel()
	const attempts = 6
	long := strings.Repeat("z", MaxLogBytes) + " the end"
	server := &apiServer{job: newJob(), logs: map[string]string{}}
	for i := range attempts {
		pod := newPodObject(fmt.Sprint("p", i), i, terminated("ingestion", 1, "Error", ""))
		server.pods, server.logs[pod.Name+"/ingestion"] = append(server.pods, pod), long
	}
	run := collect(t, server.start(t))
	require.Len(t, run.Pods, attempts)
	for i, want := range []int{MaxLogBytes, olderLogBytes, olderLogBytes, olderLogBytes, olderLogBytes, 0} {
		log := run.Pods[i].Containers[0].Log
		assert.Len(t, log, want, "attempt %d, newest first", i)
		assert.True(t, want == 0 || strings.HasSuffix(log, " the end"), "the last words are kept")
	}
}

func TestLogBeforeARestart(t *testing.T) {
	t.Parallel()
	status := running()
	status.RestartCount = 1
	status.LastTerminationState = terminated("ingestion", 4, "Error", "").State
	server := &apiServer{
		job: newJob(), pods: []corev1.Pod{newPodObject("p", 1, status)},
		logs: map[string]string{"p/ingestion": "second\n", "p/ingestion/previous": "first\n"},
	}
	container := collect(t, server.start(t)).Pods[0].Containers[0]
	assert.Equal(t, "second\n", container.Log)
	require.NotNil(t, container.Last)
	assert.Equal(t, int32(4), container.Last.ExitCode)
	assert.Equal(t, "first\n", container.Last.Log)
}

// TestSecretsAreReadBesideTheRest: only the logs wait for them, and nothing is shown before they are known.
func TestSecretsAreReadBesideTheRest(t *testing.T) {
	t.Parallel()
	server := twoAttempts()
	server.events = append(server.events, newEventObject("Job", jobName, "Noted", "hunter2 is the password", 1))
	var asked, early atomic.Int64
	const others = 5 // Job, its pods and events, and those of two attempts.
	everything := make(chan struct{})
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/log") {
			select {
			case <-everything:
			default:
				early.Add(1)
			}
		} else if asked.Add(1) == others {
			defer close(everything)
		}
		server.ServeHTTP(w, req)
	}))
	t.Cleanup(counting.Close)
	run := Collect(t.Context(), newReader(t, counting.URL), Target{
		Namespace: namespace, JobName: jobName,
		Secrets: func(context.Context) ([]string, error) {
			select {
			case <-everything:
				return []string{"hunter2"}, nil
			case <-time.After(patience):
				return nil, errors.New("the others wait for the secrets")
			}
		},
	})
	assert.Empty(t, run.Problems)
	assert.Zero(t, early.Load(), "a log is not read before it is known what it may not show")
	assert.NotContains(t, run.Text(), "hunter2")
	assert.Contains(t, run.Text(), "<redacted> is the password")
}
