package k8sclient

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

// tokenUntil is a token that nobody has signed.
func tokenUntil(expires time.Time) string {
	return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":"somebody","exp":%d}`, expires.Unix())) + ".c2ln"
}

// TestDeployChecksTheToken: what a token lacks is told before a pod gets it.
func TestDeployChecksTheToken(t *testing.T) {
	t.Parallel()
	own := func(kind admin.TokenKind) func(*testing.T, *world) (string, string) {
		return func(t *testing.T, w *world) (string, string) { t.Helper(); return w.om.URL, w.om.TokenOf(t, kind) }
	}
	until := func(d time.Duration) func(*testing.T, *world) (string, string) {
		return func(*testing.T, *world) (string, string) {
			return "http://other.example/api", tokenUntil(time.Now().Add(d))
		}
	}
	cases := map[string]struct {
		reason   string
		token    func(*testing.T, *world) (url, token string)
		schedule string
		err      string
		warns    string
	}{
		"Bot":     {reason: "a bot's may, and does not expire", token: own(admin.TokenBot)},
		"NoRight": {reason: "no run could report", token: own(admin.TokenNoRight), err: "may not write the statuses of pipelines"},
		"Invalid": {reason: "another server's token", token: own(admin.TokenBadSignature), err: "answered 401"},
		"Expired": {reason: "no server has to be asked", token: until(-time.Hour), err: "it expired at"},
		"User":    {reason: "a user's is over in an hour", token: until(time.Hour), warns: "runs after that fail"},
		"NextRun": {reason: "it is over before it is of use", token: until(48 * time.Hour), schedule: "0 0 1 1 *", warns: "before its next run, at "},
		"Long":    {reason: "it serves for a while", token: until(400 * 24 * time.Hour), schedule: "@daily"},
		"Elsewhere": {reason: "the pods may have another server, which is not asked", token: func(t *testing.T, w *world) (string, string) {
			t.Helper()
			return "http://other.example/api", w.om.TokenOf(t, admin.TokenNoRight)
		}},
		"NoToken": {reason: "a server may want none", token: func(*testing.T, *world) (string, string) { return "http://other.example/api", "" }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url, token := tc.token(t, w)
			pipeline := newPipeline(edited(7), func(p *omapi.IngestionPipeline) {
				p.AirflowConfig.ScheduleInterval = tc.schedule
				p.OpenMetadataServerConnection = map[string]any{"hostPort": url, "securityConfig": map[string]any{"jwtToken": token}}
			})
			before := w.kube.contents(t, "configmaps", "secrets", "cronjobs")
			for _, deploy := range []func() (*DeployResult, error){
				func() (*DeployResult, error) {
					return w.client.Deploy(t.Context(), pipeline, DeployOptions{Service: mysql()})
				},
				func() (*DeployResult, error) {
					results, err := w.client.DeployAll(t.Context(), []DeployItem{{Pipeline: pipeline, Service: mysql()}}, DeployOptions{}, nil)
					if err != nil {
						return nil, err
					}
					return results[0], nil
				},
			} {
				result, err := deploy()
				if tc.err != "" {
					require.ErrorIs(t, err, ErrToken, tc.reason)
					require.ErrorContains(t, err, tc.err, tc.reason)
					assert.NotContains(t, err.Error(), token)
					assert.Equal(t, before, w.kube.contents(t, "configmaps", "secrets", "cronjobs"), "nothing is changed")
					continue
				}
				require.NoError(t, err, tc.reason)
				warnings := strings.Join(result.Warnings, "\n")
				assert.Contains(t, warnings, tc.warns, tc.reason)
				assert.Equal(t, tc.warns != "", strings.Contains(warnings, "expires at"), "%s: %s", tc.reason, warnings)
			}
		})
	}
}

func TestHealthChecksTheRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	state := func() (string, bool) {
		health := w.client.Health(t.Context())
		for _, check := range health.Checks {
			if check.Name == "openmetadata permission" {
				return check.State, health.Healthy
			}
		}
		return "", health.Healthy
	}
	got, _ := state()
	assert.Equal(t, CheckOK, got)
	w.client.om = w.om.ClientWith(t, w.om.TokenOf(t, admin.TokenNoRight))
	got, healthy := state()
	assert.Equal(t, CheckFailed, got)
	assert.False(t, healthy)
	w.client.om = w.om.Client(t)
	w.om.Fault(t, admin.Fault{Kind: admin.FaultStatus, Status: 404, Path: "permissions"})
	got, _ = state()
	assert.Equal(t, CheckWarning, got, "an older server does not tell")
}

func TestTokenExpiry(t *testing.T) {
	t.Parallel()
	at := time.Unix(4102444800, 0)
	assert.True(t, omapi.TokenExpiry(tokenUntil(at)+"\n").Equal(at))
	for _, none := range []string{"", "opaque", "a.b", "a.b.c", "e30.e30.e30", "e30.bnVsbA.x"} {
		assert.True(t, omapi.TokenExpiry(none).IsZero(), none)
	}
}

// TestAutomationRefusesMasks: OpenMetadata shows no password to a user, and the test of a connection would fail by it.
func TestAutomationRefusesMasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	masked := json.RawMessage(`{"name":"test","request":{"connection":{"config":{"password":"*********"}}}}`)
	_, err := w.client.RunAutomation(t.Context(), masked)
	require.ErrorIs(t, err, workflow.ErrMasked)
	require.ErrorContains(t, err, "/request/connection/config/password")
	_, err = w.client.RunApplication(t.Context(), masked)
	require.ErrorIs(t, err, workflow.ErrMasked)
}
