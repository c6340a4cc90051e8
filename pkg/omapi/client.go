// Package omapi is a client of OpenMetadata's REST API: ingestion pipelines, their statuses, and services.
package omapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-resty/resty/v2"
)

const (
	defaultVersion = "v1"
	pipelinesPath  = "/" + defaultVersion + "/services/ingestionPipelines"

	// A server answers within seconds or is as good as gone; callers bound the whole by their context.
	dialTimeout           = 5 * time.Second
	responseHeaderTimeout = 30 * time.Second

	maxErrorBody = 16 << 10
	// maxBody is the most that is read of one entity: three times the largest record that was seen.
	maxBody = 32 << 20
)

// VerifySSL says how the server's certificate is checked, as OpenMetadata's connection schema names it.
type VerifySSL string

// The values of the schema. NoSSL checks an https server against the system's certificate authorities, as
// OpenMetadata's own Python client does.
const (
	VerifyNoSSL    VerifySSL = "no-ssl"
	VerifyIgnore   VerifySSL = "ignore"
	VerifyValidate VerifySSL = "validate"
)

// Config is where the server is and how to speak to it.
type Config struct {
	// URL is the server's address with /api, without /v1: http://openmetadata:8585/api.
	URL string
	// Token is sent as a bearer token; none where it is empty.
	Token string
	// VerifySSL is VerifyNoSSL where it is empty.
	VerifySSL VerifySSL
	// CACertificate is the path of a PEM file, for VerifyValidate.
	CACertificate string
	// Headers are sent with every request and win over our own, as a proxy in front of the server may need. %(NAME)s in a value
	// stands for the value of another header, as in OpenMetadata's extraHeaders.
	Headers map[string]string
	// APIVersion is v1 when it is empty.
	APIVersion string
	// UserAgent names the caller in the server's access log.
	UserAgent string
	// Wrap, where it is set, is put around the transport, such as to log requests.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Client speaks to one server. It is safe for concurrent use and never retries: callers know how long they may.
type Client struct {
	http *resty.Client
	// url is for people: without a password.
	url   string
	token string
	// secrets are what errors must not show.
	secrets []string
	// version is that of the API, the first element of each path.
	version string
}

// New checks the configuration and makes a client; it does not connect.
func New(cfg Config) (*Client, error) {
	address, err := CleanURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	token, err := CleanToken(cfg.Token)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                 proxyFor,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: responseHeaderTimeout,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
	}
	requests := withHeaders(transport, cfg.Headers)
	if cfg.Wrap != nil {
		requests = cfg.Wrap(requests)
	}
	// Not resty.New, whose cookie jar brings 100 KiB into the exithandler binary: the server sets no cookies.
	client := resty.NewWithClient(&http.Client{}).
		SetTransport(requests).
		SetBaseURL(address).
		SetHeader("Accept", "application/json").
		SetHeader("User-Agent", cfg.UserAgent).
		SetRedirectPolicy(resty.NoRedirectPolicy()).
		SetLogger(restyLog{}).
		SetDisableWarn(true). // A cluster's own network speaks HTTP; a line for each request would be noise.
		SetDoNotParseResponse(true)
	if token != "" {
		client.SetAuthToken(token)
	}
	return &Client{http: client, url: withoutPassword(address), token: token, secrets: secretsOf(token, cfg.Headers), version: cmp.Or(cfg.APIVersion, defaultVersion)}, nil
}

// withoutPassword is an address as it may be shown, also where it is not one.
func withoutPassword(address string) string {
	if parsed, err := url.Parse(address); err == nil && parsed.Host != "" {
		return parsed.Redacted()
	}
	return address[strings.LastIndexByte(address, '@')+1:]
}

// URL is the server's address, with /api and without a password.
func (c *Client) URL() string { return c.url }

// HasToken says whether a token is sent.
func (c *Client) HasToken() bool { return c.token != "" }

// Close ends idle connections.
func (c *Client) Close() { c.http.GetClient().CloseIdleConnections() }

// Version asks for the server's version; it needs no token.
func (c *Client) Version(ctx context.Context) (string, error) {
	var answer struct {
		Version string `json:"version"`
	}
	if err := c.do(ctx, request{op: "ask for the server's version", method: http.MethodGet, path: "/v1/system/version", into: &answer}); err != nil {
		return "", err
	}
	return answer.Version, nil
}

// CheckToken asks for something that only a valid token may see: ErrUnauthorized or ErrForbidden where it is none.
func (c *Client) CheckToken(ctx context.Context) error {
	return c.do(ctx, request{op: "check the token", method: http.MethodGet, path: pipelinesPath, query: url.Values{"limit": {"1"}}, into: &struct{}{}})
}

// request is one call. What is not named is left out of it.
type request struct {
	op     string // what the caller wanted, for errors: "read the status of run X"
	method string
	path   string // below the server's address, already escaped
	query  url.Values
	body   any
	// contentType is that of the body; JSON when it is empty.
	contentType string
	// into is what the answer is decoded to; *json.RawMessage takes it as it is, a func(*json.Decoder) error each element of
	// a list. nil: the answer is read and dropped, not buffered.
	into any
}

func (c *Client) do(ctx context.Context, in request) error {
	req := c.http.R().SetContext(ctx)
	if in.query != nil {
		req.SetQueryParamsFromValues(in.query)
	}
	if in.body != nil {
		data, err := encode(in.body)
		if err != nil {
			return fmt.Errorf("cannot %s: encode the request: %w", in.op, err)
		}
		req.SetHeader("Content-Type", cmp.Or(in.contentType, "application/json")).SetBody(bytes.NewReader(data)) // resty copies bytes twice.
	}
	resp, err := req.Execute(in.method, "/"+c.version+strings.TrimPrefix(in.path, "/"+defaultVersion))
	if resp != nil && resp.RawBody() != nil {
		defer func() { _ = resp.RawBody().Close() }()
	}
	if err != nil && (resp == nil || resp.RawResponse == nil) {
		return &ConnectionError{Op: in.op, URL: c.url, Err: err}
	}
	if code := resp.StatusCode(); code < http.StatusOK || code >= http.StatusMultipleChoices {
		return c.statusError(in, resp)
	}
	return c.read(in, resp)
}

// encode leaves out what encoding/json does with the text of a Marshaler, which is to read all of it again: a record
// holds long logs.
func encode(body any) ([]byte, error) {
	if own, ok := body.(json.Marshaler); ok {
		return own.MarshalJSON()
	}
	return json.Marshal(body)
}

// read takes the answer of a call that succeeded.
func (c *Client) read(in request, resp *resty.Response) error {
	if in.into == nil {
		if contentType := resp.Header().Get("Content-Type"); strings.HasPrefix(contentType, "text/html") {
			// A proxy's page: the server has not seen the request.
			return &ConnectionError{Op: in.op, URL: c.url, Err: fmt.Errorf("the answer is not the JSON that OpenMetadata sends, but %s", contentType)}
		}
		// The server echoes three times what was sent: read it, so that the connection can be used again.
		if _, err := io.Copy(io.Discard, resp.RawBody()); err != nil {
			return &ConnectionError{Op: in.op, URL: c.url, Err: fmt.Errorf("the answer broke off: %w", err)}
		}
		return nil
	}
	if resp.StatusCode() == http.StatusNoContent {
		return &Error{Op: in.op, URL: c.url, StatusCode: http.StatusNoContent, Message: "it has no such record"}
	}
	var err error
	switch into := in.into.(type) {
	case *json.RawMessage:
		*into, err = readBody(resp.RawResponse)
	case func(*json.Decoder) error:
		err = eachOf(json.NewDecoder(resp.RawBody()), into)
	default:
		err = json.NewDecoder(resp.RawBody()).Decode(into)
	}
	if err != nil {
		return c.notJSON(in, err)
	}
	return nil
}

func (c *Client) notJSON(in request, err error) error {
	if errors.Is(err, errTooLarge) {
		return fmt.Errorf("cannot %s: OpenMetadata at %s: %w", in.op, c.url, err)
	}
	return &ConnectionError{Op: in.op, URL: c.url, Err: fmt.Errorf("the answer is not the JSON that OpenMetadata sends: %w", err)}
}

var errTooLarge = fmt.Errorf("the answer is larger than %d MiB; delete the run's record, or keep its failures shorter", maxBody>>20)

func readBody(resp *http.Response) ([]byte, error) {
	if size := resp.ContentLength; size >= 0 && size <= maxBody {
		body := make([]byte, size)
		_, err := io.ReadFull(resp.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = errTooLarge
	}
	return body, err
}

// eachOf goes through the data of a list with one element in memory at a time.
func eachOf(list *json.Decoder, each func(*json.Decoder) error) error {
	for {
		token, err := list.Token()
		if err != nil {
			return err
		}
		if token != "data" {
			continue // The list's opening, or what comes before its data.
		}
		if token, err = list.Token(); err != nil || token != json.Delim('[') {
			return err // The server says null for none.
		}
		for list.More() {
			if err := each(list); err != nil {
				return err
			}
		}
		_, err = list.Token() // The closing bracket: what broke off after an element is not whole.
		return err
	}
}

func (c *Client) statusError(in request, resp *resty.Response) error {
	out := &Error{Op: in.op, URL: c.url, StatusCode: resp.StatusCode()}
	body, err := io.ReadAll(io.LimitReader(resp.RawBody(), maxErrorBody))
	if err != nil && len(body) == 0 {
		body = []byte(http.StatusText(resp.StatusCode()))
	}
	for _, secret := range c.secrets {
		// A proxy may show the request that it could not forward.
		body = bytes.ReplaceAll(body, []byte(secret), []byte("<redacted>"))
	}
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		out.Message = answer.Message
	} else {
		out.Message = oneLine(string(body))
	}
	switch code := resp.StatusCode(); {
	case code >= http.StatusMultipleChoices && code < http.StatusBadRequest:
		out.Message = redirect(resp, in.path)
	case code == http.StatusNotFound && !strings.HasSuffix(c.url, apiPath):
		out.Message += " (the address does not end in " + apiPath + ", as that of the API does)"
	}
	if seconds, err := strconv.Atoi(resp.Header().Get("Retry-After")); err == nil && seconds > 0 {
		out.RetryAfter = time.Duration(seconds) * time.Second
	}
	return out
}

// redirect says where an answer leads, which is not followed: the token is not for another server.
func redirect(resp *resty.Response, path string) string {
	location, err := resp.RawResponse.Location()
	if err != nil {
		return "a redirect that does not say where to"
	}
	shown := url.URL{Scheme: location.Scheme, Host: location.Host, Path: location.Path} // A query may hold a secret.
	text := "it redirects to " + shown.String() + ", which is not followed"
	if base, ok := strings.CutSuffix(shown.String(), path); ok {
		text += "; give the address " + base
	}
	return text
}

// restyLog keeps resty from writing to standard error itself: what happened is in the error too.
type restyLog struct{}

func (restyLog) Errorf(format string, args ...any) { slog.Debug(fmt.Sprintf(format, args...)) }
func (restyLog) Warnf(format string, args ...any)  { slog.Debug(fmt.Sprintf(format, args...)) }
func (restyLog) Debugf(string, ...any)             {} // Whole requests, with the token.

var errNoFQN = errors.New("the pipeline's fully qualified name is empty")
