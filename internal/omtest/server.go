// Package omtest gives unit tests an OpenMetadata server: the stand-in of the end-to-end tests, in the test's own process.
package omtest

import (
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/go-resty/resty/v2"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
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
func Start(t *testing.T, options openmetadata.Options) *Server {
	t.Helper()
	key, err := signingKey()
	require.NoError(t, err)
	options.Key = key
	standIn, err := openmetadata.New(options)
	require.NoError(t, err)
	listening := httptest.NewServer(standIn)
	t.Cleanup(func() {
		standIn.ClearFaults() // What hangs goes on, so that the server can close.
		listening.Close()
	})
	s := &Server{Server: standIn, URL: listening.URL + "/api"}
	s.Token = s.TokenOf(t, admin.TokenBot)
	return s
}

// TokenOf mints a token.
func (s *Server) TokenOf(t *testing.T, kind admin.TokenKind) string {
	t.Helper()
	token, err := s.Server.Token(kind)
	require.NoError(t, err)
	return token
}

// Client speaks to the server with the bot's token.
func (s *Server) Client(t *testing.T) *omapi.Client {
	t.Helper()
	return s.ClientWith(t, s.Token)
}

// ClientWith speaks to the server with any token.
func (s *Server) ClientWith(t *testing.T, token string) *omapi.Client {
	t.Helper()
	client, err := omapi.New(omapi.Config{URL: s.URL, Token: token, UserAgent: "unit-test"})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// Pipeline makes a metadata pipeline of a service of its own, and gives its fully qualified name.
func (s *Server) Pipeline(t *testing.T, service, name string) string {
	t.Helper()
	created := s.put(t, "/v1/services/databaseServices", map[string]any{
		"name": service, "serviceType": "CustomDatabase",
		"connection": map[string]any{"config": map[string]any{"type": "CustomDatabase", "sourcePythonClass": "a.B"}},
	})
	created = s.put(t, "/v1/services/ingestionPipelines", map[string]any{
		"name": name, "pipelineType": "metadata", "airflowConfig": map[string]any{},
		"sourceConfig": map[string]any{"config": map[string]any{"type": "DatabaseMetadata"}},
		"service":      map[string]any{"id": created.ID, "type": "databaseService"},
	})
	return created.FQN
}

// Fault disturbs requests until the test ends, or as the fault says.
func (s *Server) Fault(t *testing.T, fault admin.Fault) {
	t.Helper()
	_, err := s.AddFault(t.Context(), fault)
	require.NoError(t, err)
}

// Run gives the record of a run with its writes; nil where there is none.
func (s *Server) Run(t *testing.T, fqn, runID string) *admin.Run {
	t.Helper()
	pipelines, err := s.Pipelines()
	require.NoError(t, err)
	for _, pipeline := range pipelines {
		for i := range pipeline.Runs {
			if pipeline.FQN == fqn && pipeline.Runs[i].RunID == runID {
				return &pipeline.Runs[i]
			}
		}
	}
	return nil
}

type entity struct {
	ID  string `json:"id"`
	FQN string `json:"fullyQualifiedName"`
}

func (s *Server) put(t *testing.T, path string, body map[string]any) entity {
	t.Helper()
	var out entity
	answer, err := resty.New().R().SetContext(t.Context()).SetAuthToken(s.Token).SetBody(body).SetResult(&out).Put(s.URL + path)
	require.NoError(t, err)
	require.True(t, answer.IsSuccess(), "PUT %s: %s: %s", path, answer.Status(), answer.Body())
	return out
}
