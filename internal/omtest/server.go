// Package omtest gives unit tests an OpenMetadata server: the stand-in of the end-to-end tests, in the test's own process.
package omtest

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/go-resty/resty/v2"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/entities"
)

// signingKey is one for all tests of a package: making it takes longer than most tests.
var signingKey = sync.OnceValues(openmetadata.NewKey)

// Server is a stand-in that ends with its test.
type Server struct {
	*openmetadata.Server

	// URL is its address, with /api.
	URL string
	// Token is the ingestion bot's.
	Token string
}

// Start starts a stand-in without any entity.
func Start(tb testing.TB, options openmetadata.Options) *Server {
	tb.Helper()
	key, err := signingKey()
	require.NoError(tb, err)
	options.Key = key
	standIn, err := openmetadata.New(options)
	require.NoError(tb, err)
	listening := httptest.NewServer(standIn)
	tb.Cleanup(func() {
		standIn.ClearFaults() // What hangs goes on, so that the server can close.
		listening.Close()
	})
	s := &Server{Server: standIn, URL: listening.URL + "/api"}
	s.Token = s.TokenOf(tb, admin.TokenBot)
	return s
}

// TokenOf mints a token.
func (s *Server) TokenOf(tb testing.TB, kind admin.TokenKind) string {
	tb.Helper()
	token, err := s.Server.Token(kind)
	require.NoError(tb, err)
	return token
}

// Client speaks to the server with the bot's token.
func (s *Server) Client(tb testing.TB) *omapi.Client {
	tb.Helper()
	return s.ClientWith(tb, s.Token)
}

// ClientWith speaks to the server with any token.
func (s *Server) ClientWith(tb testing.TB, token string) *omapi.Client {
	tb.Helper()
	client, err := omapi.New(omapi.Config{URL: s.URL, Token: token, UserAgent: "unit-test"})
	require.NoError(tb, err)
	tb.Cleanup(client.Close)
	return client
}

// Pipeline makes a metadata pipeline of a service of its own, and gives its fully qualified name.
func (s *Server) Pipeline(tb testing.TB, service, name string) string {
	tb.Helper()
	client := entities.Client{URL: s.URL, Token: s.Token}
	created, err := client.Create(tb.Context(), entities.Service(service, nil), entities.Pipeline(name))
	require.NoError(tb, err)
	return created.FQN
}

// PutStatus sends a run's record as no client of the project does: whatever it is, and for as long as it takes.
func (s *Server) PutStatus(tb testing.TB, fqn string, record any) (*resty.Response, error) {
	tb.Helper()
	return resty.New().R().SetContext(tb.Context()).SetAuthToken(s.Token).SetBody(record).
		Put(s.URL + "/v1/services/ingestionPipelines/" + fqn + "/pipelineStatus")
}

// TestSuite makes a test suite.
func (s *Server) TestSuite(tb testing.TB, name string) {
	tb.Helper()
	client := entities.Client{URL: s.URL, Token: s.Token}
	_, err := client.CreateTestSuite(tb.Context(), map[string]any{"name": name, "description": ""})
	require.NoError(tb, err)
}

// Fault disturbs requests until the test ends, or as the fault says.
func (s *Server) Fault(tb testing.TB, fault admin.Fault) {
	tb.Helper()
	_, err := s.AddFault(tb.Context(), fault)
	require.NoError(tb, err)
}

// Run gives the record of a run with its writes; nil where there is none.
func (s *Server) Run(tb testing.TB, fqn, runID string) *admin.Run {
	tb.Helper()
	pipelines, err := s.Pipelines()
	require.NoError(tb, err)
	for _, pipeline := range pipelines {
		for i := range pipeline.Runs {
			if pipeline.FQN == fqn && pipeline.Runs[i].RunID == runID {
				return &pipeline.Runs[i]
			}
		}
	}
	return nil
}

// Delete deletes a pipeline for good.
func (s *Server) Delete(tb testing.TB, fqn string) {
	tb.Helper()
	client := entities.Client{URL: s.URL, Token: s.TokenOf(tb, admin.TokenAdmin)}
	require.NoError(tb, client.DeletePipeline(tb.Context(), fqn))
}

// Gateway is a proxy in front of the server that refuses every request without a header, and gives its address, with /api.
func (s *Server) Gateway(tb testing.TB, header, value string) string {
	tb.Helper()
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get(header) != value {
			http.Error(w, "the gateway wants "+header, http.StatusForbidden)
			return
		}
		s.ServeHTTP(w, req)
	}))
	tb.Cleanup(func() {
		s.ClearFaults() // What hangs goes on, so that the gateway can close.
		gateway.Close()
	})
	return gateway.URL + "/api"
}
