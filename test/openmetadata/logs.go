package openmetadata

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// defaultLogLines is how many lines a page of a streamed log has.
const defaultLogLines = 1000

// runLogs holds the streamed logs of all runs.
type runLogs struct {
	mu    sync.Mutex
	texts map[string]map[string]*strings.Builder // by pipeline id and run id
	order map[string][]string                    // run ids, oldest first
}

func newRunLogs() *runLogs {
	l := &runLogs{}
	l.clear()
	return l
}

func (l *runLogs) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = map[string]map[string]*strings.Builder{}
	l.order = map[string][]string{}
}

func (l *runLogs) deletePipeline(pipeline string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.texts, pipeline)
	delete(l.order, pipeline)
}

func (l *runLogs) add(pipeline, run, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.texts[pipeline] == nil {
		l.texts[pipeline] = map[string]*strings.Builder{}
	}
	if l.texts[pipeline][run] == nil {
		l.texts[pipeline][run] = &strings.Builder{}
		l.order[pipeline] = append(l.order[pipeline], run)
	}
	_, _ = l.texts[pipeline][run].WriteString(text) // A builder does not fail.
}

func (l *runLogs) text(pipeline, run string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if log := l.texts[pipeline][run]; log != nil {
		return log.String()
	}
	return ""
}

// runIDs returns the runs with a log, newest first.
func (l *runLogs) runIDs(pipeline string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := append([]string{}, l.order[pipeline]...)
	slices.Reverse(ids)
	return ids
}

func (s *Server) addLogRoutes(k *kind, bind func(func(*call) (*reply, error)) func(*call) (*reply, error)) {
	base := k.path + "/logs/{fqn}"
	s.router.add(
		route{method: http.MethodPost, pattern: base + "/{runId}", consumes: mediaAny, op: opEdit, handle: bind(s.appendLog)},
		route{method: http.MethodPost, pattern: base + "/{runId}/close", consumes: mediaAny, op: opEdit, handle: bind(s.closeLog)},
		route{method: http.MethodGet, pattern: base, op: opView, handle: bind(s.listLogs)},
		route{method: http.MethodGet, pattern: base + "/{runId}", op: opView, handle: bind(s.getLog)},
		route{method: http.MethodGet, pattern: base + "/last", op: opView, handle: bind(s.getLog)},
		route{method: http.MethodPut, pattern: k.path + "/progress/{fqn}/{runId}", consumes: mediaJSON, op: opEdit, handle: bind(s.putProgress)},
	)
}

// pipelineOfLog finds the pipeline by fully qualified name or by id, and checks the run id.
func (s *Server) pipelineOfLog(c *call) (*entity, string, error) {
	name := c.params["fqn"]
	pipeline, err := s.store.byFQN(c.kind, name, includeNonDeleted)
	if _, notUUID := uuid.Parse(name); err != nil && notUUID == nil {
		pipeline, err = s.store.byID(c.kind, name, includeNonDeleted)
	}
	if err != nil {
		return nil, "", err
	}
	text, has := c.params["runId"]
	if !has {
		return pipeline, "", nil
	}
	run, err := uuid.Parse(text)
	if err != nil {
		return nil, "", errNoRoute()
	}
	return pipeline, run.String(), nil
}

func (s *Server) appendLog(c *call) (*reply, error) {
	pipeline, run, err := s.pipelineOfLog(c)
	if err != nil {
		return nil, err
	}
	text, err := logText(c.body)
	if err != nil {
		return nil, err
	}
	s.logs.add(pipeline.id, run, text)
	answer := emptyReply(http.StatusOK)
	session := strings.ReplaceAll(pipeline.fqn, ".", "_") + "_" + run
	// The value is quoted as cookies need it; a name may hold any character.
	answer.header.Set("Set-Cookie", fmt.Sprintf("PIPELINE_SESSION=%q; Path=/; Max-Age=86400", session))
	return answer, nil
}

// logText reads a batch: plain text, a JSON string, or an object with logs, perhaps compressed.
func logText(body []byte) (string, error) {
	value, err := decodeJSON(body)
	if err != nil {
		return string(body), nil //nolint:nilerr // what is no JSON is the text itself
	}
	switch batch := value.(type) {
	case nil:
		return "", nil
	case string:
		return batch, nil
	case map[string]any:
		text, _ := batch["logs"].(string)
		if packed, _ := batch["compressed"].(bool); packed {
			if text, err = unpack(text); err != nil {
				return "", err
			}
		}
		if connector, _ := batch["connectorId"].(string); connector != "" && text != "" {
			text = "[" + connector + "] " + text
		}
		return text, nil
	default:
		return "", badRequest("Invalid log data format")
	}
}

func unpack(text string) (string, error) {
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", badRequest("Invalid log data format: %v", err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", badRequest("Invalid log data format: %v", err)
	}
	plain, err := io.ReadAll(io.LimitReader(reader, maxBody))
	if err != nil {
		return "", badRequest("Invalid log data format: %v", err)
	}
	return string(plain), nil
}

func (s *Server) closeLog(c *call) (*reply, error) {
	if _, _, err := s.pipelineOfLog(c); err != nil {
		return nil, err
	}
	return jsonReply(http.StatusOK, map[string]any{"message": "Log stream closed successfully"})
}

func (s *Server) listLogs(c *call) (*reply, error) {
	pipeline, _, err := s.pipelineOfLog(c)
	if err != nil {
		return nil, err
	}
	limit, has, err := c.queryNumber("limit")
	if err != nil {
		return nil, err
	}
	if !has {
		limit = defaultPage
	}
	ids := s.logs.runIDs(pipeline.id)
	return jsonReply(http.StatusOK, map[string]any{"runs": ids[:max(0, min(int64(len(ids)), limit))]})
}

// getLog answers a page of lines of a run, by default the latest run's.
func (s *Server) getLog(c *call) (*reply, error) {
	pipeline, run, err := s.pipelineOfLog(c)
	if err != nil {
		return nil, err
	}
	if run == "" {
		ids := s.logs.runIDs(pipeline.id)
		if len(ids) == 0 {
			return nil, &apiError{status: http.StatusNotFound, message: "No runId found for the last ingestion pipeline run"}
		}
		run = ids[0]
	}
	limit, has, err := c.queryNumber("limit")
	if err != nil {
		return nil, err
	}
	if !has || limit <= 0 {
		limit = defaultLogLines
	}
	after, _, err := c.queryNumber("after")
	if err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(s.logs.text(pipeline.id, run), "\n")
	start := max(0, min(after, int64(len(lines))))
	end := min(int64(len(lines)), start+limit)
	page := map[string]any{"logs": strings.Join(lines[start:end], ""), "total": strconv.Itoa(len(lines)), "runId": run}
	if end < int64(len(lines)) {
		page["after"] = strconv.FormatInt(end, 10)
	}
	return jsonReply(http.StatusOK, page)
}

// putProgress takes a progress report. Nothing reads it back: the record of the request keeps it.
func (s *Server) putProgress(c *call) (*reply, error) {
	if _, _, err := s.pipelineOfLog(c); err != nil {
		return nil, err
	}
	if _, err := decodeObject(c.body); err != nil {
		return nil, err
	}
	return emptyReply(http.StatusOK), nil
}
