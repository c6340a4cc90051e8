package main

import (
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// logRequests makes a transport that logs each request to an API, as kubectl does: method, address, status and how long
// the answer's headers took. Headers and bodies hold tokens and passwords.
func logRequests(api string) func(http.RoundTripper) http.RoundTripper {
	return func(base http.RoundTripper) http.RoundTripper { return &requestLogger{api: api, base: base} }
}

type requestLogger struct {
	api  string
	base http.RoundTripper
}

// RoundTrip makes the request and logs it.
func (l *requestLogger) RoundTrip(req *http.Request) (*http.Response, error) {
	started := time.Now()
	resp, err := l.base.RoundTrip(req)
	if !slog.Default().Enabled(req.Context(), slog.LevelDebug) {
		return resp, err
	}
	attrs := []slog.Attr{
		slog.String("api", l.api), slog.String("method", req.Method), slog.String("url", shownURL(req.URL)),
		slog.Duration("took", time.Since(started).Round(time.Microsecond)),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	} else {
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
	}
	slog.LogAttrs(req.Context(), slog.LevelDebug, "request", attrs...)
	return resp, err
}

// WrappedRoundTripper is how client-go finds the transport inside.
func (l *requestLogger) WrappedRoundTripper() http.RoundTripper { return l.base }

// CloseIdleConnections is how net/http's client finds the connections to close.
func (l *requestLogger) CloseIdleConnections() {
	if base, ok := l.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// shownParameters are those whose values are shown: what both clients send. A proxy's own may hold a key.
func shownParameters() []string {
	return []string{
		"allowWatchBookmarks", "container", "continue", "dryRun", "endTs", "entityType", "fieldManager", "fieldSelector", "fields",
		"fieldValidation", "follow", "force", "labelSelector", "limit", "pipelineType", "previous", "resourceVersion", "resourceVersionMatch",
		"sendInitialEvents", "service", "serviceType", "sinceTime", "startTs", "tailLines", "timeout", "timeoutSeconds", "timestamps", "watch",
	}
}

// shownURL is an address without a password and without values that may be secret.
func shownURL(address *url.URL) string {
	shown := url.URL{Scheme: address.Scheme, Host: address.Host, Path: address.Path, RawPath: address.RawPath}
	values := address.Query()
	query := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := "…"
		if slices.Contains(shownParameters(), name) {
			value = strings.Join(values[name], ",")
		}
		query = append(query, name+"="+value)
	}
	if len(query) == 0 {
		return shown.String()
	}
	return shown.String() + "?" + strings.Join(query, "&")
}
