package main

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/vbauerster/mpb/v8"
)

// narrow is a writer that only one may use at a time.
type narrow struct {
	busy, met atomic.Bool
	text      strings.Builder
}

func (n *narrow) Write(p []byte) (int, error) {
	if n.busy.Swap(true) {
		n.met.Store(true)
		return len(p), nil
	}
	defer n.busy.Store(false)
	runtime.Gosched() // Here others would meet it.
	return n.text.Write(p)
}

func TestConsoleIsWrittenToByOneAtATime(t *testing.T) {
	t.Parallel()
	const lines = 1000
	var out narrow
	s := streams{err: &console{out: &out}}
	var group sync.WaitGroup
	for range parallel {
		group.Go(func() {
			for range lines {
				s.warn("x")
			}
		})
	}
	group.Wait()
	assert.False(t, out.met.Load())
	assert.Equal(t, strings.Repeat("warning: x\n", parallel*lines), out.text.String())
}

// TestConsoleWritesAboveTheBar: a line is not written into a bar that is being drawn, nor lost where the bar ends.
func TestConsoleWritesAboveTheBar(t *testing.T) {
	t.Parallel()
	var raw, drawn narrow
	c := &console{out: &raw}
	container := mpb.New(mpb.WithOutput(&drawn), mpb.WithAutoRefresh())
	bar := &progress{console: c, container: container, bar: container.AddBar(2)}
	c.use(container)
	s := streams{err: c}
	bar.step()
	s.warn("while it runs")
	bar.end()
	s.warn("after it")
	assert.Contains(t, drawn.text.String(), "warning: while it runs\n")
	assert.Equal(t, "warning: after it\n", raw.text.String())
}
