package openmetadata

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

const apiPrefix = "/api/v1/"

const (
	mediaJSON  = "application/json"
	mediaPatch = "application/json-patch+json"
	mediaAny   = "*/*"
)

// route is one operation of the API.
type route struct {
	method   string
	pattern  string // below apiPrefix; {name} stands for one segment
	consumes string // empty: takes no body
	open     bool   // needs no token
	op       operation
	handle   func(*call) (*reply, error)

	segments []string
	shape    string // the pattern without the names of its parameters
}

type router struct{ routes []*route }

func (r *router) add(routes ...route) {
	for i := range routes {
		routes[i].segments = strings.Split(routes[i].pattern, "/")
		routes[i].shape = shapeOf(routes[i].segments)
		r.routes = append(r.routes, &routes[i])
	}
}

func shapeOf(segments []string) string {
	shape := make([]string, len(segments))
	for i, segment := range segments {
		shape[i] = segment
		if strings.HasPrefix(segment, "{") {
			shape[i] = "{}"
		}
	}
	return strings.Join(shape, "/")
}

// find picks the route as a JAX-RS server does: the pattern with the most literal text decides, then the method,
// then the media type. The segments are split before they are decoded, so an encoded slash stays inside its segment.
func (r *router) find(req *http.Request) (*route, map[string]string, error) {
	rest, found := strings.CutPrefix(req.URL.EscapedPath(), apiPrefix)
	if !found {
		return nil, nil, errNoRoute()
	}
	segments := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return nil, nil, badRequest("cannot decode the path: %v", err)
		}
		segments[i] = decoded
	}
	var (
		best       *route
		bestScore  = -1
		bestParams map[string]string
		shape      string
	)
	for _, candidate := range r.routes {
		params, score := candidate.match(segments)
		if score < 0 || score < bestScore {
			continue
		}
		if score > bestScore {
			best, bestScore, bestParams, shape = nil, score, params, candidate.shape
		}
		if candidate.method == req.Method && candidate.shape == shape {
			best, bestParams = candidate, params
		}
	}
	switch {
	case bestScore < 0:
		return nil, nil, errNoRoute()
	case best == nil:
		return nil, bestParams, &apiError{status: http.StatusMethodNotAllowed, message: "HTTP 405 Method Not Allowed"}
	case !best.takes(req):
		return best, bestParams, &apiError{status: http.StatusUnsupportedMediaType, message: "HTTP 415 Unsupported Media Type"}
	}
	return best, bestParams, nil
}

// match returns the parameters and the number of literal characters, or -1.
func (r *route) match(segments []string) (map[string]string, int) {
	if len(segments) != len(r.segments) {
		return nil, -1
	}
	params, score := map[string]string{}, 0
	for i, want := range r.segments {
		if strings.HasPrefix(want, "{") {
			params[strings.Trim(want, "{}")] = segments[i]
			continue
		}
		if want != segments[i] {
			return nil, -1
		}
		score += len(want)
	}
	return params, score
}

func (r *route) takes(req *http.Request) bool {
	if r.consumes == "" || r.consumes == mediaAny {
		return true
	}
	media, _, err := mime.ParseMediaType(req.Header.Get(headerContentType))
	return err == nil && media == r.consumes
}

// String names the route as the records show it.
func (r *route) String() string { return fmt.Sprintf("%s %s%s", r.method, apiPrefix, r.pattern) }
