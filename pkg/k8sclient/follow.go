package k8sclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

const (
	followInterval = 500 * time.Millisecond
	// followPatience is how long a follower asks again where the API server does not answer.
	followPatience = time.Minute
)

// follow copies the log of the attempt that is asked for; where none is, of the newest and of those that come after it.
func (c *Client) follow(ctx context.Context, pipeline *omapi.IngestionPipeline, names identity.ObjectNames, options LogOptions, out io.Writer) error {
	job, err := c.runJob(ctx, pipeline.FQN(), names, options.RunID)
	if err != nil {
		return err
	}
	values, err := c.hiddenValues(ctx, pipeline, names, options)
	if err != nil {
		return err
	}
	f := &follower{client: c, job: job, options: options, values: values, out: out, done: map[string]bool{}}
	err = wait.PollUntilContextCancel(ctx, followInterval, true, f.poll)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("the log of pipeline %s is not followed any longer, its run goes on: %w", pipeline.FQN(), context.Cause(ctx))
	}
	return errors.Join(err, f.finish())
}

type follower struct {
	client  *Client
	job     *batchv1.Job
	options LogOptions
	values  []string
	out     io.Writer
	// done are the pods whose logs are not to be read any more.
	done map[string]bool
	// begun: it is settled with which pod it begins.
	begun bool
	// current is the pod whose log is being read; count is how many were.
	current *followed
	count   int
	// failing is since when the API server does not answer.
	failing time.Time
}

// followed is the log of one pod, however many streams it takes.
type followed struct {
	pod    string
	out    *redactor
	cursor cursor
}

func (f *follower) poll(ctx context.Context) (bool, error) {
	ended, err := f.look(ctx)
	switch {
	case err == nil:
		f.failing = time.Time{}
		return ended, nil
	case diagnostics.Denied(err), errors.Is(err, ErrNoLogs), errors.Is(err, errOutput), ctx.Err() != nil:
		return false, err
	case f.failing.IsZero():
		f.failing = time.Now()
	case time.Since(f.failing) > f.client.followPatience:
		return false, err
	}
	return false, nil
}

// look reads on, and says whether there is nothing more to come.
func (f *follower) look(ctx context.Context) (bool, error) {
	over, err := f.over(ctx)
	if err != nil {
		return false, err
	}
	pods, err := f.client.podsOf(ctx, f.job)
	if err != nil {
		return false, err
	}
	number := f.next(pods)
	if number > 0 {
		return false, f.read(ctx, &pods[number-1], number)
	}
	switch {
	case f.options.Attempt > 0 && f.count > 0:
		return true, nil
	case over && f.options.Attempt > len(pods):
		return false, fmt.Errorf("%w: the run has %d attempts, not %d", ErrNoLogs, len(pods), f.options.Attempt)
	case over && f.count == 0:
		return false, fmt.Errorf("%w: Job %s has ended without any; see pipelinectl diagnose %s", ErrNoLogs, f.job.Name, f.job.Name)
	}
	return over, nil
}

// next is the number of the attempt to read, counted from 1; 0 for none yet.
func (f *follower) next(pods []corev1.Pod) int {
	if at := f.options.Attempt; at > 0 {
		if at > len(pods) || f.done[pods[at-1].Name] {
			return 0
		}
		return at
	}
	if !f.begun && len(pods) > 0 {
		f.begun = true
		for i := range pods[:len(pods)-1] {
			f.done[pods[i].Name] = f.options.Attempt == 0
		}
	}
	return 1 + slices.IndexFunc(pods, func(pod corev1.Pod) bool { return !f.done[pod.Name] })
}

// read copies what a pod has written since the last look. A stream ends for many reasons, such as a log that is rotated or
// an API server that restarts (kubernetes#115701): the log is whole only where the container had ended before the stream
// began.
func (f *follower) read(ctx context.Context, pod *corev1.Pod, number int) error {
	ended := hasEnded(pod)
	stream, err := f.open(ctx, pod)
	if errors.Is(err, ErrNoLogs) {
		f.done[pod.Name] = ended // It has not started yet, or never will.
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	f.failing = time.Time{} // Whatever becomes of the stream, the API server answers.
	if err := f.use(pod.Name, number); err != nil {
		return err
	}
	if err := f.current.cursor.copy(f.current.out, stream, f.options.Timestamps, ended); err != nil {
		return f.client.failed("read the log of pod "+pod.Name+" to its end", err)
	}
	if !ended {
		return nil
	}
	return f.finish()
}

func (f *follower) open(ctx context.Context, pod *corev1.Pod) (io.ReadCloser, error) {
	request := &corev1.PodLogOptions{Container: identity.ContainerName, Follow: true, Timestamps: true, TailLines: f.options.TailLines}
	if f.current != nil && f.current.pod == pod.Name && f.current.cursor.lines > 0 {
		request.TailLines, request.SinceTime = nil, new(metav1.Unix(f.current.cursor.second, 0))
	}
	return f.client.openLog(ctx, pod, request)
}

// use begins with a pod, where it is another one.
func (f *follower) use(pod string, number int) error {
	if f.current != nil && f.current.pod == pod {
		return nil
	}
	if err := f.finish(); err != nil {
		return err
	}
	if f.count > 0 || f.options.Attempt < 0 {
		fmt.Fprintf(f.out, "==> attempt %d, pod %s <==\n", number, pod)
	}
	f.count++
	f.current = &followed{pod: pod, out: newRedactor(f.out, f.values)}
	return nil
}

// finish leaves the current pod.
func (f *follower) finish() error {
	if f.current == nil {
		return nil
	}
	f.done[f.current.pod] = true
	out := f.current.out
	f.current = nil
	if err := out.Close(); err != nil {
		return fmt.Errorf("%w: %w", errOutput, err)
	}
	return nil
}

// over says that no other attempt will come.
func (f *follower) over(ctx context.Context) (bool, error) {
	current, err := f.client.kube.BatchV1().Jobs(f.client.config.Namespace).Get(ctx, f.job.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, f.client.failed("read Job "+f.job.Name, err)
	}
	if current.UID != f.job.UID || finished(current) {
		return true, nil
	}
	pods, err := f.client.podsOf(ctx, current)
	if err != nil {
		return false, err
	}
	return endedApart(current, pods), nil
}

// hasEnded says that the ingestion container writes nothing any more.
func hasEnded(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return true
	}
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(status corev1.ContainerStatus) bool {
		return status.Name == identity.ContainerName && status.State.Terminated != nil
	})
}

// cursor is where the log of a pod was left. The API goes on from a whole second only, so the lines of that second which
// were seen are counted.
type cursor struct {
	// second is that of the last line, since 1970.
	second int64
	lines  int
}

// errOutput is a write that failed, as against a read: it is not tried again.
var errOutput = errors.New("write the log")

// copy copies the lines of a stream that were not seen, which begin with their times. What follows the last line's end is
// left for the next stream, except where there will be none.
func (c *cursor) copy(out io.Writer, in io.Reader, timestamps, last bool) error {
	from, skip := c.second, c.lines
	reader := bufio.NewReaderSize(in, longestLine)
	var (
		second  int64
		skipped bool
	)
	for begin := true; ; {
		part, err := reader.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !long && (!errors.Is(err, io.EOF) || !last || len(part) == 0) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if begin {
			at, text := cutTime(part)
			second, skipped = at, at != 0 && at == from && skip > 0
			if skipped {
				skip--
			}
			if !timestamps {
				part = text
			}
		}
		if !skipped {
			if _, err := out.Write(part); err != nil {
				return fmt.Errorf("%w: %w", errOutput, err)
			}
			c.count(second, long)
		}
		begin = !long
	}
}

// count counts a line when it is whole.
func (c *cursor) count(second int64, long bool) {
	if long || second == 0 {
		return
	}
	if second != c.second {
		c.second, c.lines = second, 0
	}
	c.lines++
}

// cutTime takes the time from the beginning of a line; 0 where there is none.
func cutTime(line []byte) (int64, []byte) {
	before, text, found := bytes.Cut(line, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(before))
	if !found || err != nil {
		return 0, line
	}
	return at.Unix(), text
}
