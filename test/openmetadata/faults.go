package openmetadata

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// fault is a fault in force.
type fault struct {
	admin.Fault

	method, path, userAgent *regexp.Regexp
	until                   time.Time // zero: until removed
	released                chan struct{}
}

// faults holds the faults in force, in the order they were set; the first that matches a request disturbs it.
type faults struct {
	mu      sync.Mutex
	now     func() time.Time
	inForce []*fault
}

func newFaults(now func() time.Time) *faults { return &faults{now: now} }

func (f *faults) add(wanted admin.Fault) (admin.Fault, error) {
	switch wanted.Kind {
	case admin.FaultStatus:
		if wanted.Status < http.StatusOK || wanted.Status > 599 {
			return wanted, fmt.Errorf("a fault of kind status needs a status from 200 to 599, not %d", wanted.Status)
		}
	case admin.FaultDelay:
		if wanted.Delay <= 0 {
			return wanted, errors.New("a fault of kind delay needs a delay")
		}
	case admin.FaultReset, admin.FaultHang, admin.FaultTruncate, admin.FaultGarbage:
	case admin.FaultDown:
		return wanted, errors.New("a fault of kind down belongs to the listener, not to requests")
	default:
		return wanted, fmt.Errorf("unknown kind of fault %q", wanted.Kind)
	}
	wanted.ID, wanted.Hits = uuid.NewString(), 0
	fresh := &fault{Fault: wanted, released: make(chan struct{})}
	for _, part := range []struct {
		text   string
		target **regexp.Regexp
	}{{wanted.Method, &fresh.method}, {wanted.Path, &fresh.path}, {wanted.UserAgent, &fresh.userAgent}} {
		compiled, err := regexp.Compile(part.text)
		if err != nil {
			return wanted, fmt.Errorf("cannot set the fault: %w", err)
		}
		*part.target = compiled
	}
	if wanted.Duration > 0 {
		fresh.until = f.now().Add(time.Duration(wanted.Duration))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inForce = append(f.inForce, fresh)
	return wanted, nil
}

// take returns the fault that disturbs this request, and counts it.
func (f *faults) take(req *http.Request) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	for _, candidate := range f.inForce {
		if !candidate.matches(req) || (candidate.Count > 0 && candidate.Hits >= candidate.Count) {
			continue
		}
		if candidate.Skip > 0 {
			candidate.Skip--
			continue
		}
		candidate.Hits++
		return candidate
	}
	return nil
}

func (f *fault) matches(req *http.Request) bool {
	return f.method.MatchString(req.Method) && f.path.MatchString(req.URL.Path) && f.userAgent.MatchString(req.UserAgent())
}

// expire needs the lock.
func (f *faults) expire() {
	now := f.now()
	f.inForce = slices.DeleteFunc(f.inForce, func(old *fault) bool {
		over := !old.until.IsZero() && !now.Before(old.until)
		if over {
			close(old.released)
		}
		return over
	})
}

func (f *faults) list() []admin.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	out := make([]admin.Fault, 0, len(f.inForce))
	for _, one := range f.inForce {
		out = append(out, one.Fault)
	}
	return out
}

func (f *faults) remove(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, one := range f.inForce {
		if one.ID == id {
			close(one.released)
			f.inForce = slices.Delete(f.inForce, i, i+1)
			return nil
		}
	}
	return fmt.Errorf("there is no fault %s in force", id)
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.inForce {
		close(one.released)
	}
	f.inForce = nil
}

// disturb handles a request under a fault, or without one, and returns what sends the answer. handle lets the request
// take effect.
func (s *Server) disturb(req *http.Request, f *fault, r *record, handle func() *reply) func(http.ResponseWriter) {
	send := func(answer *reply) func(http.ResponseWriter) {
		r.Status, r.AnswerSize = answer.status, int64(len(answer.body))
		return answer.writeTo
	}
	if f == nil {
		return send(handle())
	}
	var done *reply
	if f.AfterHandling || f.Kind == admin.FaultTruncate {
		done = handle()
	}
	switch f.Kind {
	case admin.FaultStatus:
		return send(f.answer())
	case admin.FaultGarbage:
		return send(&reply{
			status: http.StatusOK, header: http.Header{headerContentType: {"text/html"}},
			body: []byte("<!doctype html><title>Proxy</title><p>Please sign in.</p>"),
		})
	case admin.FaultReset:
		return reset
	case admin.FaultTruncate:
		r.Status = done.status
		return done.truncateTo
	case admin.FaultDelay:
		s.pause(req.Context(), time.Duration(f.Delay))
	case admin.FaultHang:
		s.hang(req, f)
	case admin.FaultDown:
	}
	if req.Context().Err() != nil {
		return func(http.ResponseWriter) {} // The client is gone.
	}
	if done == nil {
		done = handle()
	}
	return send(done)
}

// answer is the reply of a fault of kind status.
func (f *fault) answer() *reply {
	header := http.Header{headerContentType: {"application/json"}}
	for name, value := range f.Headers {
		header.Set(name, value)
	}
	body := f.Body
	if body == "" && f.Status >= http.StatusBadRequest {
		body = fmt.Sprintf(`{"code":%d,"message":"%s (a fault of the stand-in)"}`, f.Status, http.StatusText(f.Status))
	}
	return &reply{status: f.Status, header: header, body: []byte(body)}
}

// hang waits until the fault ends or the client is gone.
func (s *Server) hang(req *http.Request, f *fault) {
	var over <-chan time.Time
	if !f.until.IsZero() {
		timer := time.NewTimer(f.until.Sub(s.now()))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-f.released:
	case <-over:
	case <-req.Context().Done():
	}
}

// reset breaks the connection with a TCP RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes the close below a reset; without it the client still sees the connection end
	}
	_ = conn.Close()
}

// truncateTo promises the whole body and sends half of it.
func (a *reply) truncateTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
