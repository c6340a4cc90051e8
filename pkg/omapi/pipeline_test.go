package omapi_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

func TestFQN(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		pipeline omapi.IngestionPipeline
		want     string
	}{
		"Own":           {reason: "the server's own name wins", pipeline: omapi.IngestionPipeline{Name: "x", FullyQualifiedName: "s.p", Service: omapi.EntityReference{Name: "t"}}, want: "s.p"},
		"Joined":        {reason: "a file may have the names only", pipeline: omapi.IngestionPipeline{Name: "p.q", Service: omapi.EntityReference{Name: "a.b"}}, want: `"a.b"."p.q"`},
		"ServiceFQN":    {reason: "a fully qualified service is quoted already", pipeline: omapi.IngestionPipeline{Name: "p", Service: omapi.EntityReference{FullyQualifiedName: `"a.b"`}}, want: `"a.b".p`},
		"NoService":     {reason: "half a name is none", pipeline: omapi.IngestionPipeline{Name: "p"}, want: ""},
		"NamelessInOne": {reason: "half a name is none", pipeline: omapi.IngestionPipeline{Service: omapi.EntityReference{Name: "s"}}, want: ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, tc.pipeline.FQN(), tc.reason)
		})
	}
}

func FuzzJoinAndSplitFQN(f *testing.F) {
	for _, seed := range [][2]string{{"svc", "p"}, {"a.b", "c"}, {"", ""}, {"a", ".."}, {"\u8ba2", "a b"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, service, name string) {
		for _, part := range []string{service, name} {
			for _, r := range part {
				if r == '"' || r == '\uFFFD' {
					t.Skip("no name has a quote, and names are valid UTF-8")
				}
			}
		}
		assert.Equal(t, []string{service, name}, omapi.SplitFQN(omapi.JoinFQN(service, name)))
	})
}

func TestGetService(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "a.b", "nightly")
	server.TestSuite(t, "orders tests")
	client := server.Client(t)
	cases := map[string]struct {
		reason string
		ref    omapi.EntityReference
		want   *omapi.Service
		is     error
		err    string
	}{
		"ByName": {reason: "a file may have the name only", ref: omapi.EntityReference{Type: "databaseService", Name: "a.b"}},
		"ByFQN":  {reason: "the server's own name is taken as it is", ref: omapi.EntityReference{Type: "databaseService", FullyQualifiedName: `"a.b"`}},
		"TestSuite": {
			reason: "a pipeline of tests refers to a test suite, which is elsewhere", ref: omapi.EntityReference{Type: "testSuite", Name: "orders tests"},
			want: &omapi.Service{Name: "orders tests", ServiceType: "TestSuite"},
		},
		"Missing": {reason: "what is missing is named", ref: omapi.EntityReference{Type: "databaseService", Name: "nowhere"}, is: omapi.ErrNotFound, err: "read databaseService nowhere"},
		"Type":    {reason: "the server's answer decides which types there are", ref: omapi.EntityReference{Type: "teapotService", Name: "a"}, err: `answered 404: HTTP 404 Not Found; check the name of the pipeline's service, and that "teapotService" is its type`},
		"Path":    {reason: "a type is no path", ref: omapi.EntityReference{Type: "../../v1/x", Name: "a"}, err: "answered 404"},
		"NoType":  {reason: "a reference without a type leads nowhere", ref: omapi.EntityReference{Name: "a"}, err: "give service.type, such as databaseService"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service, err := client.GetService(t.Context(), tc.ref)
			if tc.err == "" {
				require.NoError(t, err, tc.reason)
				if tc.want == nil {
					tc.want = &omapi.Service{Name: "a.b", ServiceType: "CustomDatabase"}
				}
				assert.Equal(t, tc.want, &omapi.Service{Name: service.Name, ServiceType: service.ServiceType}, tc.reason)
				return
			}
			require.ErrorContains(t, err, tc.err, tc.reason)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is, tc.reason)
			}
		})
	}
}

func TestGetPipelineThatIsNotThere(t *testing.T) {
	t.Parallel()
	client := omtest.Start(t, openmetadata.Options{}).Client(t)
	_, err := client.GetPipeline(t.Context(), "svc.nowhere")
	require.ErrorIs(t, err, omapi.ErrNotFound)
	require.ErrorContains(t, err, "read ingestion pipeline svc.nowhere")
	_, err = client.GetStatus(t.Context(), "svc.nowhere", "0190b0a0-0000-7000-8000-000000000000")
	require.ErrorIs(t, err, omapi.ErrNotFound, "no pipeline is another answer than no record")
	require.NotErrorIs(t, err, omapi.ErrNoRecord)
}
