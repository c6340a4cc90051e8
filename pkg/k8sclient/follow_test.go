package k8sclient

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

func runningPod() corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: identity.ContainerName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}}}
}

func endedPod() corev1.PodStatus { return corev1.PodStatus{Phase: corev1.PodFailed} }

func (w *world) setPod(name string, status corev1.PodStatus) {
	w.kube.change("pods", name, func(o object) {
		if pod, ok := o.(*corev1.Pod); ok {
			pod.Status = status
		}
	})
}

// follow follows the log of the newest run, with a deadline.
func (w *world) follow(t *testing.T, options LogOptions) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	options.Follow = true
	var out bytes.Buffer
	err := w.client.Logs(ctx, testFQN, options, &out)
	return out.String(), err
}

const (
	line1 = "2026-01-02T03:04:05.1Z one\n"
	line2 = "2026-01-02T03:04:05.2Z two " + botToken + "\n"
	line3 = "2026-01-02T04:04:05.3+01:00 three\n"
	line4 = "2026-01-02T03:04:06.4Z four\n"
)

// TestFollowGoesOn: a stream that ends is no end of the log.
func TestFollowGoesOn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		cut    bool
	}{
		"Rotated":  {reason: "the kubelet ends the stream where it rotates the log"},
		"BrokeOff": {reason: "an API server that restarts breaks it off, within a line too", cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run, job := w.start(t)
			w.addPod(t, "p", job, 1, runningPod())
			var since []string
			w.kube.logReader = func(_ string, query url.Values) (string, bool) {
				since = append(since, query.Get("sinceTime")+" "+query.Get("tailLines"))
				switch len(since) {
				case 1:
					return line1 + line2 + line3[:30], tc.cut
				case 2: // From the second on, as the API has it.
					w.setPod("p", endedPod())
					w.end(run.JobName, batchv1.JobFailed)
					return line1 + line2 + line3, tc.cut
				default:
					return line1 + line2 + line3 + line4[:len(line4)-1], false
				}
			}
			out, err := w.follow(t, LogOptions{TailLines: new(int64(9))})
			require.NoError(t, err, tc.reason)
			assert.Equal(t, "one\ntwo <redacted>\nthree\nfour", out, "%s: each line once, and the last one without its end", tc.reason)
			assert.Equal(t, []string{" 9", "2026-01-02T03:04:05Z ", "2026-01-02T03:04:05Z "}, since, "it goes on where it was")
		})
	}
}

// TestFollowOutlastsBreaks: streams that break off are no API server that is away, however long after each other.
func TestFollowOutlastsBreaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.followPatience = time.Nanosecond // Any two breaks are further apart.
	run, job := w.start(t)
	w.end(run.JobName, batchv1.JobComplete)
	w.addPod(t, "p", job, 1, endedPod())
	streams := 0
	w.kube.logReader = func(string, url.Values) (string, bool) {
		streams++
		return line1 + line2, streams < 3
	}
	out, err := w.follow(t, LogOptions{})
	require.NoError(t, err)
	assert.Equal(t, "one\ntwo <redacted>\n", out)
	assert.Equal(t, 3, streams)
}

// TestFollowGivesUp where nothing is answered for longer than it has patience.
func TestFollowGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.followPatience = time.Nanosecond
	_, job := w.start(t)
	w.addPod(t, "p", job, 1, runningPod())
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if strings.HasSuffix(req.URL.Path, "/log") {
			return apierrors.NewInternalError(errors.New("etcd is away"))
		}
		return nil
	})
	_, err := w.follow(t, LogOptions{})
	require.ErrorContains(t, err, "etcd is away")
}

func TestFollowWithTimestamps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, job := w.start(t)
	w.end(run.JobName, batchv1.JobComplete)
	w.addPod(t, "p", job, 1, endedPod())
	w.kube.setLog("p", line1+"no time\n"+strings.Repeat("x", 3*longestLine)+"\n")
	out, err := w.follow(t, LogOptions{Timestamps: true})
	require.NoError(t, err)
	assert.Equal(t, line1+"no time\n"+strings.Repeat("x", 3*longestLine)+"\n", out)
}

// TestFollowOutlastsAnError: whichever kind of request fails once, nothing is lost.
func TestFollowOutlastsAnError(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/jobs/", "/pods", "/log"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run, job := w.start(t)
			w.end(run.JobName, batchv1.JobComplete)
			w.addPod(t, "p", job, 1, endedPod())
			w.kube.setLog("p", line1)
			var failed atomic.Bool
			w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
				if strings.Contains(req.URL.Path, path) && !failed.Swap(true) {
					return apierrors.NewInternalError(errors.New("etcd is away"))
				}
				return nil
			})
			out, err := w.follow(t, LogOptions{})
			require.NoError(t, err)
			assert.Equal(t, "one\n", out)
			assert.True(t, failed.Load())
		})
	}
}

func TestFollowEndsWhereItIsNotAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, job := w.start(t)
	w.addPod(t, "p", job, 1, runningPod())
	w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
		if strings.HasSuffix(req.URL.Path, "/log") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "pods/log"}, "p", nil)
		}
		return nil
	})
	_, err := w.follow(t, LogOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
}

func TestFollowAttempts(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		attempt int
		want    string
		err     string
	}{
		"Newest": {reason: "and those that come after it", want: "second\n==> attempt 3, pod c <==\nthird\n"},
		"One":    {reason: "the others are not asked for", attempt: 2, want: "second\n"},
		"Comes":  {reason: "it is waited for", attempt: 3, want: "third\n"},
		"All": {
			reason: "oldest first, each with a head", attempt: -1,
			want: "==> attempt 1, pod a <==\nfirst\n==> attempt 2, pod b <==\nsecond\n==> attempt 3, pod c <==\nthird\n",
		},
		"Never": {reason: "the run has ended before it", attempt: 4, err: "the run has 3 attempts, not 4"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run, job := w.start(t)
			w.addPod(t, "a", job, 1, endedPod())
			w.addPod(t, "b", job, 2, endedPod())
			for pod, text := range map[string]string{"a": "first\n", "b": "second\n", "c": "third\n"} {
				w.kube.setLog(pod, text)
			}
			var looks atomic.Int32
			w.kube.intercept(func(req *http.Request) *apierrors.StatusError {
				if strings.HasSuffix(req.URL.Path, "/jobs/"+run.JobName) && looks.Add(1) == 3 {
					w.addPod(t, "c", job, 3, endedPod())
					w.end(run.JobName, batchv1.JobFailed)
				}
				return nil
			})
			out, err := w.follow(t, LogOptions{Attempt: tc.attempt})
			if tc.err != "" {
				require.ErrorIs(t, err, ErrNoLogs)
				require.ErrorContains(t, err, tc.err, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, tc.want, out, tc.reason)
		})
	}
}

func TestFollowOfARunWithoutLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, job := w.start(t)
	w.addPod(t, "p", job, 1, endedPod()) // It never started.
	w.end(run.JobName, batchv1.JobFailed)
	_, err := w.follow(t, LogOptions{})
	require.ErrorIs(t, err, ErrNoLogs)
	require.ErrorContains(t, err, "has ended without any")
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBrokenPipe }

var errBrokenPipe = errors.New("broken pipe")

func TestFollowEndsWhereNobodyReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, job := w.start(t)
	w.addPod(t, "p", job, 1, runningPod())
	w.kube.setLog("p", line1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := w.client.Logs(ctx, testFQN, LogOptions{Follow: true}, brokenPipe{})
	require.ErrorIs(t, err, errBrokenPipe)
}
