// Package openmetadata is a stand-in for an OpenMetadata server: it answers as measured on a real one, records every
// request, and can be told to fail.
package openmetadata

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// defaultVersion is of the ingestion package that the tests run: it refuses a server of another minor version. The
// answers were measured on a server 1.12.6.
const defaultVersion = "2.0.6"

// Options configure a stand-in; the zero value works.
type Options struct {
	// Key signs tokens; nil makes one.
	Key *rsa.PrivateKey
	// Version is what GET system/version answers; empty is 2.0.6.
	Version string
	// Logger gets a line per request; nil discards.
	Logger *slog.Logger
	// InsertGap is a pause between "is there a row for this run" and the insert. All first writes that come within it race;
	// on a real server fewer of them do, README.md has the numbers.
	InsertGap time.Duration
	// Now is the clock; nil is the real one.
	Now func() time.Time
	// MaxRecords bounds the recorded requests; 0 is 10,000. The oldest go first.
	MaxRecords int
}

// Server is the stand-in. It is an http.Handler; Listen serves it on an address of its own.
type Server struct {
	version string
	logger  *slog.Logger
	now     func() time.Time
	tokens  *tokens
	router  router
	kinds   []*kind
	store   *store
	runs    *runs
	logs    *runLogs
	lineage *lineage
	records *records
	faults  *faults

	mu        sync.Mutex
	gap       time.Duration
	listeners []*Listener
}

// New makes a stand-in without any entity.
func New(options Options) (*Server, error) {
	if options.Key == nil {
		key, err := NewKey()
		if err != nil {
			return nil, err
		}
		options.Key = key
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Version == "" {
		options.Version = defaultVersion
	}
	s := &Server{
		version: options.Version,
		logger:  options.Logger,
		now:     options.Now,
		tokens:  &tokens{key: options.Key, now: options.Now},
		store:   newStore(options.Now),
		runs:    newRuns(),
		logs:    newRunLogs(),
		lineage: newLineage(),
		records: newRecords(options.MaxRecords),
		faults:  newFaults(options.Now),
		gap:     options.InsertGap,
		kinds:   kinds(),
	}
	for _, k := range s.kinds {
		s.addEntityRoutes(k)
	}
	s.addLineageRoutes()
	s.addSystemRoutes()
	s.addPermissionRoutes()
	return s, nil
}

// call is one request on its way through a handler.
type call struct {
	ctx    context.Context //nolint:containedctx // a call lives as long as its request
	header http.Header
	host   string
	scheme string
	query  url.Values
	params map[string]string
	body   []byte
	user   string
	kind   *kind
	record *admin.Request
}

func (c *call) baseURL() string { return c.scheme + "://" + c.host }

func (c *call) fields() []string { return strings.Split(c.query.Get("fields"), ",") }

func (c *call) include() filter {
	if value := filter(c.query.Get("include")); value != "" {
		return value
	}
	return includeNonDeleted
}

// ServeHTTP answers the API below /api and the page on /.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !strings.HasPrefix(req.URL.EscapedPath(), "/api") {
		s.servePage(w, req)
		return
	}
	record := s.newRecord(req)
	defer s.finish(req.Context(), &record)
	body, err := readBody(req)
	s.recordBody(&record, body)
	if err != nil {
		// The real server breaks the connection while the client still sends.
		panic(http.ErrAbortHandler)
	}
	fault := s.faults.take(req)
	if fault != nil {
		record.Fault = fault.ID
	}
	send := s.disturb(req, fault, &record, func() *reply { return s.answer(req, body, &record.Request) })
	s.finish(req.Context(), &record)
	send(w)
}

// answer handles a request as if no fault were set.
func (s *Server) answer(req *http.Request, body []byte, record *admin.Request) *reply {
	answer, err := s.handle(req, body, record)
	if err != nil {
		return errorReply(err)
	}
	return answer
}

func (s *Server) handle(req *http.Request, body []byte, record *admin.Request) (*reply, error) {
	found, params, err := s.router.find(req)
	record.FQN, record.RunID = params["fqn"], params["runId"]
	if found != nil {
		record.Route = found.String()
	}
	if err != nil {
		return nil, err
	}
	c := &call{
		ctx: req.Context(), header: req.Header, host: req.Host, scheme: "http",
		query: req.URL.Query(), params: params, record: record,
	}
	if req.TLS != nil {
		c.scheme = "https"
	}
	if !found.open {
		c.user, err = s.tokens.authenticate(req.Header.Get("Authorization"))
		record.Subject = c.user
		if err != nil {
			return nil, err
		}
	}
	if found.op != "" {
		if err := authorize(c.user, found.op); err != nil {
			return nil, err
		}
	}
	if c.body, err = decompress(req.Header.Get("Content-Encoding"), body); err != nil {
		if errors.Is(err, errBodyTooLarge) {
			panic(http.ErrAbortHandler)
		}
		return nil, err
	}
	return found.handle(c)
}

// pause waits unless the request ends first.
func (s *Server) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *Server) insertGap() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap
}

// SetInsertGap changes Options.InsertGap.
func (s *Server) SetInsertGap(gap time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gap = gap
}

// Token mints a token.
func (s *Server) Token(kind admin.TokenKind) (string, error) { return s.tokens.mint(kind) }

// Requests returns the recorded requests that match, oldest first; an error when the path is no regular expression.
func (s *Server) Requests(filter admin.RequestFilter) ([]admin.Request, error) {
	return s.records.list(filter)
}

// Pipelines returns all pipelines with their runs, newest first, also the soft-deleted ones.
func (s *Server) Pipelines() ([]admin.Pipeline, error) {
	out := []admin.Pipeline{}
	for _, e := range s.pipelines(includeAll) {
		views, err := s.runs.view(e.id)
		if err != nil {
			return nil, fmt.Errorf("cannot show the runs of pipeline %s: %w", e.fqn, err)
		}
		p := admin.Pipeline{ID: e.id, Name: e.name(), FQN: e.fqn, Deleted: e.deleted(), Runs: views}
		p.Type, _ = e.doc["pipelineType"].(string)
		if service, ok := e.doc[fieldService].(map[string]any); ok {
			p.Service, _ = service["fullyQualifiedName"].(string)
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *Server) pipelines(include filter) []*entity {
	var out []*entity
	for _, k := range s.kinds {
		if k.entity == typePipeline {
			out = append(out, s.store.list(k, "", include)...)
		}
	}
	return out
}

// SetQueued sets the runs that the server's runner reports as queued; the list of runs shows them first.
func (s *Server) SetQueued(fqn string, statuses []map[string]any) error {
	for _, e := range s.pipelines(includeNonDeleted) {
		if e.fqn == fqn {
			s.runs.setQueued(e.id, slices.Clone(statuses))
			return nil
		}
	}
	return fmt.Errorf("there is no pipeline %s; create it first", fqn)
}

// AddFault sets a fault and returns it with its id.
func (s *Server) AddFault(ctx context.Context, fault admin.Fault) (admin.Fault, error) {
	if fault.Kind == admin.FaultDown {
		return fault, s.goDown(ctx, time.Duration(fault.Duration))
	}
	return s.faults.add(fault)
}

// Faults lists the faults in force.
func (s *Server) Faults() []admin.Fault { return s.faults.list() }

// RemoveFault ends a fault; requests that hang by it go on.
func (s *Server) RemoveFault(id string) error { return s.faults.remove(id) }

// ClearFaults ends all faults.
func (s *Server) ClearFaults() { s.faults.clear() }

// Clear forgets entities, runs, logs, records and faults; tokens stay valid.
func (s *Server) Clear() {
	s.faults.clear()
	s.store.clear()
	s.runs.clear()
	s.logs.clear()
	s.lineage.clear()
	s.records.clear()
}
