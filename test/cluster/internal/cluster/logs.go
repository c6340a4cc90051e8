package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// tailLines is how much of a log an error shows.
	tailLines = 20
	// tailWidth is how many bytes of a line an error shows.
	tailWidth = 400
	// tailBytes bounds how much of a log is read for its last lines.
	tailBytes = 1 << 20
)

// Logs prints the last lines of a component's log, or of all components'. With
// follow it goes on until ctx ends.
func (c *Cluster) Logs(ctx context.Context, component string, lines int, follow bool) error {
	names, err := c.logNames(component)
	if err != nil {
		return err
	}
	offsets := make(map[string]int64, len(names))
	for _, name := range names {
		text, end, err := tailFile(c.Dir.Log(name), lines)
		if err != nil {
			return err
		}
		offsets[name] = end
		c.printLog(name, text, len(names) > 1)
	}
	if !follow {
		return nil
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, name := range names {
			text, err := readFrom(c.Dir.Log(name), offsets[name])
			if err != nil {
				return err
			}
			offsets[name] += int64(len(text))
			c.printLog(name, text, len(names) > 1)
		}
	}
}

func (c *Cluster) logNames(component string) ([]string, error) {
	paths, err := filepath.Glob(c.Dir.Log("*"))
	if err != nil {
		return nil, fmt.Errorf("listing the logs: %w", err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".log"))
	}
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("no logs in %s: `cluster up` starts a cluster", c.Dir.Logs())
	case component == "":
		return names, nil
	case !slices.Contains(names, component):
		return nil, fmt.Errorf("no component %q: choose one of %s", component, strings.Join(names, ", "))
	}
	return []string{component}, nil
}

func (c *Cluster) printLog(name string, text []byte, named bool) {
	if len(text) == 0 {
		return
	}
	if !named {
		_, _ = c.Out.Write(text)
		return
	}
	for line := range bytes.Lines(text) {
		_, _ = fmt.Fprintf(c.Out, "%s: %s\n", name, bytes.TrimRight(line, "\n"))
	}
}

// tail returns the last lines of a component's log for an error message.
func (c *Cluster) tail(component string) string {
	text, _, err := tailFile(c.Dir.Log(component), tailLines)
	if err != nil {
		return fmt.Sprintf("(its log cannot be read: %v)", err)
	}
	var end strings.Builder
	_, _ = fmt.Fprintf(&end, "--- the end of %s\n", c.Dir.Log(component))
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if len(line) > tailWidth {
			line = strings.ToValidUTF8(line[:tailWidth], "") + "…"
		}
		end.WriteString(line + "\n")
	}
	return end.String() + "---"
}

// tailFile returns the last lines of a file (all with a negative number) and the
// offset of their end.
func tailFile(path string, lines int) (text []byte, end int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	var from int64
	if lines >= 0 {
		from = max(0, info.Size()-tailBytes)
	}
	if text, err = readFrom(path, from); err != nil {
		return nil, 0, err
	}
	return lastLines(text, lines), from + int64(len(text)), nil
}

func lastLines(text []byte, lines int) []byte {
	if lines < 0 {
		return text
	}
	start := len(bytes.TrimSuffix(text, []byte("\n")))
	for range lines {
		start = bytes.LastIndexByte(text[:max(start, 0)], '\n')
		if start < 0 {
			return text
		}
	}
	if lines == 0 {
		return nil
	}
	return text[start+1:]
}

func readFrom(path string, offset int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}
