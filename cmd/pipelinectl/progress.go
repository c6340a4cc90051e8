package main

import (
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progressMinimum is from how many steps on a bar is worth its place.
const progressMinimum = 10

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	container *mpb.Progress
	bar       *mpb.Bar
}

func newProgress(out io.Writer, name string, steps int) *progress {
	file, ok := out.(*os.File)
	if steps < progressMinimum || !ok || !term.IsTerminal(int(file.Fd())) {
		return &progress{}
	}
	container := mpb.New(mpb.WithOutput(out), mpb.WithWidth(60)) //nolint:mnd // Columns.
	bar := container.AddBar(int64(steps),
		mpb.PrependDecorators(decor.Name(name+" "), decor.CountersNoUnit("%d/%d")),
		mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO)), mpb.BarRemoveOnComplete())
	return &progress{container: container, bar: bar}
}

func (p *progress) step() {
	if p.bar != nil {
		p.bar.Increment()
	}
}

// end waits until the bar is gone from the terminal.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.container.Wait()
	}
}
