package openmetadata

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	defaultMaxRecords = 10_000
	maxRecordedBody   = 64 << 10 // bytes
)

// record is a request's record while it is made.
type record struct {
	admin.Request

	start    time.Time
	finished bool
}

// withoutTokens blanks JWTs, so that no record keeps one.
func (r *records) withoutTokens(text string) string { return r.token.ReplaceAllString(text, "[token]") }

func (s *Server) newRecord(req *http.Request) record {
	return record{start: time.Now(), Request: admin.Request{
		Time: s.now(), Method: req.Method, Path: req.URL.EscapedPath(),
		Query: s.records.withoutTokens(req.URL.RawQuery), UserAgent: req.UserAgent(),
	}}
}

func (s *Server) recordBody(r *record, body []byte) {
	r.BodySize = int64(len(body))
	if len(body) > maxRecordedBody {
		body, r.BodyTruncated = body[:maxRecordedBody], true
	}
	r.Body = strings.ToValidUTF8(s.records.withoutTokens(string(body)), "�")
}

// finish stores the record, once. It comes before the answer is sent, so that who has the answer finds the record;
// deferred it also stores the record of a request that ends by a panic.
func (s *Server) finish(ctx context.Context, r *record) {
	if r.finished {
		return
	}
	r.finished = true
	r.Duration = admin.Duration(time.Since(r.start))
	s.records.add(r.Request)
	level := slog.LevelInfo
	if r.Route == "" {
		level = slog.LevelWarn
	}
	s.logger.Log(ctx, level, "request", "method", r.Method, "path", r.Path, "status", r.Status,
		"subject", r.Subject, "userAgent", r.UserAgent, "duration", time.Duration(r.Duration), "fault", r.Fault)
}

// records keeps the latest requests.
type records struct {
	token *regexp.Regexp

	mu   sync.Mutex
	max  int
	last int64
	kept []admin.Request
}

func newRecords(limit int) *records {
	if limit <= 0 {
		limit = defaultMaxRecords
	}
	return &records{max: limit, token: regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]*`)}
}

func (r *records) add(request admin.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	request.Seq = r.last
	if len(r.kept) >= r.max {
		r.kept = append(r.kept[:0:0], r.kept[r.max/2:]...)
	}
	r.kept = append(r.kept, request)
}

func (r *records) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = nil
}

func (r *records) list(filter admin.RequestFilter) ([]admin.Request, error) {
	path, err := regexp.Compile(filter.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot filter by path: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []admin.Request{}
	for _, request := range r.kept {
		if matches(request, filter, path) {
			out = append(out, request)
		}
	}
	return out, nil
}

func matches(request admin.Request, filter admin.RequestFilter, path *regexp.Regexp) bool {
	decoded, err := url.PathUnescape(request.Path)
	if err != nil {
		decoded = request.Path
	}
	return request.Seq > filter.AfterSeq &&
		(filter.Method == "" || filter.Method == request.Method) &&
		(filter.FQN == "" || filter.FQN == request.FQN) &&
		(filter.RunID == "" || filter.RunID == request.RunID) &&
		(filter.Status == 0 || filter.Status == request.Status) &&
		strings.Contains(request.UserAgent, filter.UserAgent) && path.MatchString(decoded)
}
