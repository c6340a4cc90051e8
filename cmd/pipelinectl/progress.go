package main

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progressMinimum is from how many steps on a bar is worth its place.
const progressMinimum = 10

// console is standard error: what many goroutines write comes line by line, above the bar if there is one, and without what a
// terminal would take for commands.
type console struct {
	mu  sync.Mutex
	out io.Writer
	bar *mpb.Progress
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	if c.bar != nil {
		out = c.bar
	}
	if _, err := io.WriteString(out, plain(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *console) use(bar *mpb.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bar = bar
}

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	console   *console
	container *mpb.Progress
	bar       *mpb.Bar
}

func newProgress(out io.Writer, name string, steps int) *progress {
	c, ok := out.(*console)
	if !ok || steps < progressMinimum || !isTerminal(c.out) {
		return &progress{}
	}
	container := mpb.New(mpb.WithOutput(c.out), mpb.WithWidth(60)) //nolint:mnd // Columns.
	bar := container.AddBar(int64(steps),
		mpb.PrependDecorators(decor.Name(name+" "), decor.CountersNoUnit("%d/%d")),
		mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO)), mpb.BarRemoveOnComplete())
	c.use(container)
	return &progress{console: c, container: container, bar: bar}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func (p *progress) step() {
	if p.bar != nil {
		p.bar.Increment()
	}
}

// end waits until the bar is gone from the terminal.
func (p *progress) end() {
	if p.bar != nil {
		p.console.use(nil)
		p.bar.Abort(true)
		p.container.Wait()
	}
}
