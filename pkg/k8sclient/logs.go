package k8sclient

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
)

// PageBytes is the size of a page of a log, as OpenMetadata's IngestionLogHandler has it: a mebibyte less a reserve.
const PageBytes = 1<<20 - 64<<10

// What callers act on; test with errors.Is.
var (
	// ErrNoLogs: no pod of the run has written anything that is still there.
	ErrNoLogs = errors.New("no logs")
	// ErrNoPage: the page that is asked for is no number, or behind the last.
	ErrNoPage = errors.New("no such page")
	// ErrFollowPrevious: LogOptions name both.
	ErrFollowPrevious = errors.New("the log of a container that has ended cannot be followed")
)

// TaskKey is the name of a pipeline's logs in a page, which OpenMetadata's server looks for.
func TaskKey(t omapi.PipelineType) string {
	// PipelineServiceClientInterface.TYPE_TO_TASK.
	keys := map[omapi.PipelineType]string{
		omapi.PipelineProfiler: "profiler_task", omapi.PipelineAutoClassification: "auto_classification_task",
		omapi.PipelineLineage: "lineage_task", omapi.PipelineDBT: "dbt_task", omapi.PipelineUsage: "usage_task",
		omapi.PipelineTestSuite: "test_suite_task", omapi.PipelineApplication: "application_task",
		omapi.PipelineDataInsight: "data_insight_task", omapi.PipelineElasticSearchReindex: "elasticsearch_reindex_task",
	}
	return cmp.Or(keys[t], "ingestion_task")
}

// LogOptions say which logs.
type LogOptions struct {
	// RunID is the run's; empty for the newest.
	RunID string
	// Attempt counts the run's attempts from 1; 0 for the newest, -1 for all, oldest first.
	Attempt int
	// Follow waits for the attempt, and goes on with the next ones until the run has ended, unless Attempt names one.
	Follow bool
	// Previous is the log of the container before its last restart, which cannot be followed: it has ended.
	Previous bool
	// TailLines is how many lines of each attempt, counted from its end; nil for all.
	TailLines *int64
	// Timestamps puts the time before each line.
	Timestamps bool
	// Warn is told what is wrong though the log can be shown; nil where nobody listens.
	Warn func(string)
}

// LogPage gives one page of a run's newest attempt, as OpenMetadata's getIngestionLogs has it: the page under the
// pipeline's task key, "total" the number of pages, "after" the next page where there is one. An empty after is page 0.
func (c *Client) LogPage(ctx context.Context, fqn, runID, after string) (map[string]string, error) {
	page := 0
	if after != "" {
		var err error
		if page, err = strconv.Atoi(after); err != nil || page < 0 {
			return nil, fmt.Errorf("%w: %q; give the number that the page before had as \"after\"", ErrNoPage, after)
		}
	}
	pipeline, names, err := c.deployed(ctx, fqn)
	if err != nil {
		return nil, err
	}
	pager := &pager{page: page}
	if err := c.copyLogs(ctx, pipeline, names, LogOptions{RunID: runID}, pager); err != nil {
		return nil, err
	}
	text, total, err := pager.done()
	if err != nil {
		return nil, fmt.Errorf("the log of pipeline %s: %w", fqn, err)
	}
	out := map[string]string{TaskKey(pipeline.PipelineType): text, "total": strconv.Itoa(total)}
	if page+1 < total {
		out["after"] = strconv.Itoa(page + 1)
	}
	return out, nil
}

// Logs copies the logs of a run as they are, but for the values of the pipeline's Secret. ErrNoLogs where there are none.
func (c *Client) Logs(ctx context.Context, fqn string, options LogOptions, out io.Writer) error {
	if options.Follow && options.Previous {
		return ErrFollowPrevious
	}
	pipeline, names, err := c.deployed(ctx, fqn)
	if err != nil {
		return err
	}
	return c.copyLogs(ctx, pipeline, names, options, out)
}

func (c *Client) copyLogs(ctx context.Context, pipeline *omapi.IngestionPipeline, names identity.ObjectNames, options LogOptions, out io.Writer) error {
	if options.Follow {
		return c.follow(ctx, pipeline, names, options, out)
	}
	pods, err := c.attempts(ctx, pipeline.FQN(), names, options.RunID)
	if err != nil {
		return err
	}
	switch {
	case options.Attempt > len(pods):
		return fmt.Errorf("%w: the run has %d attempts, not %d", ErrNoLogs, len(pods), options.Attempt)
	case options.Attempt > 0:
		pods = pods[options.Attempt-1 : options.Attempt]
	case options.Attempt == 0:
		pods = pods[len(pods)-1:]
	}
	values, err := c.hiddenValues(ctx, pipeline, names, options)
	if err != nil {
		return err
	}
	for i := range pods {
		if len(pods) > 1 {
			fmt.Fprintf(out, "==> attempt %d, pod %s <==\n", i+1, pods[i].Name)
		}
		err := c.copyRedacted(ctx, &pods[i], options, values, out)
		if errors.Is(err, ErrNoLogs) && len(pods) > 1 {
			fmt.Fprintln(out, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) copyRedacted(ctx context.Context, pod *corev1.Pod, options LogOptions, values []string, out io.Writer) error {
	redacted := newRedactor(out, values)
	return errors.Join(c.copyLog(ctx, pod, options, redacted), redacted.Close())
}

// attempts are the pods of a run, oldest first.
func (c *Client) attempts(ctx context.Context, fqn string, names identity.ObjectNames, runID string) ([]corev1.Pod, error) {
	job, err := c.runJob(ctx, fqn, names, runID)
	if err != nil {
		return nil, err
	}
	pods, err := c.podsOf(ctx, job)
	if err == nil && len(pods) == 0 {
		return nil, fmt.Errorf("%w: Job %s has no pod; see pipelinectl diagnose %s", ErrNoLogs, job.Name, job.Name)
	}
	return pods, err
}

// runJob is the Job of a run, or of the newest one.
func (c *Client) runJob(ctx context.Context, fqn string, names identity.ObjectNames, runID string) (*batchv1.Job, error) {
	jobs, err := c.jobs(ctx, fqn, names)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(jobs, func(a, b batchv1.Job) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	i := slices.IndexFunc(jobs, func(job batchv1.Job) bool { return runID == "" || report.RunIDOf(&job) == runID })
	if i < 0 {
		which := "any run"
		if runID != "" {
			which = "run " + runID
		}
		return nil, fmt.Errorf("%w: pipeline %s has no Job of %s in namespace %s any more", ErrNoLogs, fqn, which, c.config.Namespace)
	}
	return &jobs[i], nil
}

// podsOf are a Job's pods, oldest first.
func (c *Client) podsOf(ctx context.Context, job *batchv1.Job) ([]corev1.Pod, error) {
	selector := batchv1.ControllerUidLabel + "=" + string(job.UID)
	list, err := c.kube.CoreV1().Pods(c.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.failed("list the pods of Job "+job.Name, err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

func (c *Client) copyLog(ctx context.Context, pod *corev1.Pod, options LogOptions, out io.Writer) error {
	stream, err := c.openLog(ctx, pod, &corev1.PodLogOptions{
		Container: identity.ContainerName, Previous: options.Previous, Timestamps: options.Timestamps, TailLines: options.TailLines,
	})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	if _, err := io.Copy(out, stream); err != nil {
		return c.failed("read the log of pod "+pod.Name+" to its end", err)
	}
	return nil
}

func (c *Client) openLog(ctx context.Context, pod *corev1.Pod, request *corev1.PodLogOptions) (io.ReadCloser, error) {
	stream, err := c.kube.CoreV1().Pods(c.config.Namespace).GetLogs(pod.Name, request).Stream(ctx)
	if apierrors.IsBadRequest(err) {
		// The kubelet's way to say that the container has not started.
		return nil, fmt.Errorf("%w: pod %s, phase %s: %w", ErrNoLogs, pod.Name, pod.Status.Phase, err)
	}
	if err != nil {
		return nil, c.failed("read the log of pod "+pod.Name, err)
	}
	return stream, nil
}

// pager keeps one page of what is written to it and counts the others: a log may be larger than the memory. Pages are cut
// before a rune that would not fit, so that each is valid UTF-8; what is none in the log is replaced.
type pager struct {
	page  int
	kept  bytes.Buffer
	count int // pages before the current one
	size  int // bytes of the current one
	rest  []byte
}

func (p *pager) Write(data []byte) (int, error) {
	input := append(p.rest, data...) //nolint:gocritic // The rest of the last write is at most three bytes.
	for len(input) > 0 && utf8.FullRune(input) {
		input = input[p.take(input):]
	}
	p.rest = slices.Clone(input)
	return len(data), nil
}

// take moves one rune into its page and gives its length in the input.
func (p *pager) take(data []byte) int {
	r, length := utf8.DecodeRune(data)
	encoded := utf8.RuneLen(r)
	if p.size+encoded > PageBytes {
		p.count++
		p.size = 0
	}
	p.size += encoded
	if p.count == p.page {
		p.kept.WriteRune(r)
	}
	return length
}

func (p *pager) done() (text string, total int, err error) {
	for len(p.rest) > 0 {
		p.rest = p.rest[p.take(p.rest):]
	}
	total = p.count + 1
	if p.page >= total {
		return "", 0, fmt.Errorf("%w: %d; it has %d", ErrNoPage, p.page, total)
	}
	return p.kept.String(), total, nil
}
