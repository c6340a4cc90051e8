// Package liblog sends what libraries log to one place: klog, which client-go and apimachinery use, the package log, which
// net/http uses.
package liblog

import (
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

var (
	destination atomic.Pointer[slog.Logger]
	install     sync.Once
)

// SendTo sends the libraries' lines to a handler from now on. It may be called again and at any time: klog's own setters
// must not be called while something logs.
func SendTo(handler slog.Handler) {
	destination.Store(slog.New(handler))
	install.Do(func() {
		klog.SetLoggerWithOptions(logr.New(sink{}), klog.ContextualLogger(true))
		log.SetFlags(0)
		log.SetOutput(lines{})
	})
}

// sink takes klog's lines. logr has one for slog that does more than a small binary has room for.
type sink struct{ values []any }

func (sink) Init(logr.RuntimeInfo) {}

// Enabled leaves out V(1) and above: V(8) and above are headers and bodies, secrets among them.
func (sink) Enabled(level int) bool { return level <= 0 }

func (s sink) Info(_ int, message string, values ...any) {
	destination.Load().Info(message, slices.Concat(s.values, values)...)
}

func (s sink) Error(err error, message string, values ...any) {
	all := slices.Concat(s.values, values)
	if err != nil {
		all = append(all, "error", err)
	}
	destination.Load().Error(message, all...)
}

// WithValues keeps what is to be added to each line.
func (s sink) WithValues(values ...any) logr.LogSink {
	return sink{slices.Concat(s.values, values)}
}

// WithName is for names of parts of a library, which the messages tell well enough.
func (s sink) WithName(string) logr.LogSink { return s }

// lines takes the lines of the package log.
type lines struct{}

func (lines) Write(line []byte) (int, error) {
	destination.Load().Warn(strings.TrimSpace(string(line)))
	return len(line), nil
}
