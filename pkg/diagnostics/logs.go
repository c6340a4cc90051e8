package diagnostics

import (
	"context"
	"fmt"
	"io"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

const (
	// TailLines is how many of a log's last lines are kept, as OpenMetadata's exit_handler.py does.
	TailLines = 500
	// MaxLogBytes bounds those lines; one line can be of any length.
	MaxLogBytes = 256 << 10
	// olderLogBytes does for attempts before the newest: a reporter has the memory of the pod's smallest container.
	olderLogBytes = 32 << 10
	// maxTransfer bounds what the server sends for them. It cuts at the end, of which most is wanted: where it cut,
	// fewer lines are asked for.
	maxTransfer = 32 << 20
	// fewLines are so many that they hold MaxLogBytes where TailLines of them are more than maxTransfer.
	fewLines = TailLines * MaxLogBytes / maxTransfer
)

// logs reads the log of a container that tells something: the main ones, and others that failed. keep is how many bytes
// of each.
func (c *collector) logs(ctx context.Context, wg *sync.WaitGroup, pod *Pod, container *Container, keep int) {
	if c.withoutLogs {
		return
	}
	if container.Last != nil && (container.Kind == KindMain || container.Last.failed()) {
		wg.Go(func() { container.Last.Log = c.log(ctx, pod.Name, container.Name, true, keep) })
	}
	if container.Kind == KindInjected && container.wasEnded() {
		return // It was told to end: it says nothing of the run.
	}
	if container.State == stateWaiting || container.State == "" || container.notStarted() || container.Kind != KindMain && !container.failed() {
		return
	}
	wg.Go(func() { container.Log = c.log(ctx, pod.Name, container.Name, false, keep) })
}

func (c *collector) log(ctx context.Context, pod, container string, previous bool, keep int) string {
	var text string
	for _, lines := range []int64{TailLines, fewLines, 1} {
		options := &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &lines, LimitBytes: new(int64(maxTransfer))}
		read, all, err := c.tail(ctx, pod, options, keep)
		text = read
		if err != nil {
			c.problem(fmt.Sprintf("the log of container %s of pod %s", container, pod), err)
			break
		}
		if all {
			break
		}
	}
	return c.redact.Replace(clean(text))
}

// tail says whether the server sent all that was asked for.
func (c *collector) tail(ctx context.Context, pod string, options *corev1.PodLogOptions, keep int) (string, bool, error) {
	stream, err := c.reader.Log(ctx, pod, options)
	if err != nil {
		return "", true, err
	}
	defer func() { _ = stream.Close() }()
	tail := newTail(keep)
	size, err := io.Copy(tail, stream)
	if err != nil {
		err = fmt.Errorf("it broke off after %d bytes: %w", size, err)
	}
	return tail.String(), size < *options.LimitBytes, err
}
