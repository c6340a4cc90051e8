package k8sclient

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// editionOf is a pipeline with a secret of its own, beside the token.
func editionOf(n int) *omapi.IngestionPipeline {
	letter := string(rune('a' + n))
	return newPipeline(edited(n), withToken("token-"+letter), func(p *omapi.IngestionPipeline) {
		config, _ := p.SourceConfig["config"].(map[string]any)
		config["password"] = "password-" + letter
	})
}

// deployEditions deploys a pipeline once for each edition.
func deployEditions(t *testing.T, client *Client, editions ...int) {
	t.Helper()
	for _, n := range editions {
		_, err := deploy(t, client, editionOf(n))
		require.NoError(t, err)
	}
}

func revisionNumbers(t *testing.T, client *Client) (all []int64, current int64) {
	t.Helper()
	history, err := client.History(t.Context(), testFQN)
	require.NoError(t, err)
	for _, revision := range history {
		all = append(all, revision.Revision)
		assert.Equal(t, "@daily", revision.Schedule)
		if revision.Current {
			assert.Zero(t, current, "one configuration is in force")
			assert.Zero(t, revision.Replaced)
			current = revision.Revision
		} else {
			assert.NotZero(t, revision.Replaced)
		}
	}
	return all, current
}

func TestHistory(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server, func(c *Config) { c.RevisionHistoryLimit = 3 })
	deployEditions(t, client, 1)
	all, current := revisionNumbers(t, client)
	assert.Equal(t, []int64{1}, all)
	assert.Equal(t, int64(1), current)

	server.page = 2 // A server gives long lists in pages.
	deployEditions(t, client, 2, 2, 3, 4, 5)
	all, current = revisionNumbers(t, client)
	assert.Equal(t, []int64{5, 4, 3, 2}, all, "newest first; the limit is of earlier ones; a deploy of the same is none")
	assert.Equal(t, int64(5), current)

	for _, name := range []string{"om-revision-nightly-2", "om-revision-nightly-4"} {
		secret, ok := server.get("secrets", name).(*corev1.Secret)
		require.True(t, ok, name)
		assert.Equal(t, revisionType, secret.Type)
		assert.True(t, *secret.Immutable)
	}
	assert.Nil(t, server.get("secrets", "om-revision-nightly-1"), "the oldest goes")
}

func TestNoHistoryWhereNoneIsWanted(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server, func(c *Config) { c.RevisionHistoryLimit = 0 })
	deployEditions(t, client, 1, 2, 3)
	assert.Equal(t, []string{"configmaps/om-config-nightly", "cronjobs/om-cronjob-nightly", "secrets/om-secret-nightly"}, server.names())
}

func TestRollback(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		to       int64
		edition  string
		password string
		revision int64
		err      string
	}{
		"Before":  {reason: "0 is the one before", to: 0, edition: `"edition": 2,`, password: "password-c", revision: 4},
		"Named":   {reason: "its secrets come with it", to: 1, edition: `"edition": 1,`, password: "password-b", revision: 4},
		"Unknown": {reason: "what is kept is told", to: 7, err: "no such revision: pipeline mysql_prod.nightly has kept [1 2]"},
		"Current": {reason: "the one in force is not an earlier one", to: 3, err: "has kept [1 2]"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startAPIServer(t)
			client := newTestClient(t, server)
			deployEditions(t, client, 1, 2, 3)
			checked, checkErr := client.CheckRollback(t.Context(), testFQN, tc.to)
			result, err := client.Rollback(t.Context(), testFQN, tc.to, DeployOptions{})
			assert.Equal(t, checkErr, err, "a check finds what a rollback would find")
			if tc.err != "" {
				require.ErrorIs(t, err, ErrNoRevision, tc.reason)
				require.ErrorContains(t, err, tc.err, tc.reason)
				return
			}
			require.NoError(t, err, tc.reason)
			assert.Equal(t, tc.revision, result.Revision, "going back is a new revision")
			assert.Equal(t, tc.revision, checked.Revision, "a check is none")
			configMap, ok := server.get("configmaps", "om-config-nightly").(*corev1.ConfigMap)
			require.True(t, ok)
			assert.Contains(t, configMap.Data["config"], tc.edition, tc.reason)
			secret, ok := server.get("secrets", "om-secret-nightly").(*corev1.Secret)
			require.True(t, ok)
			assert.Contains(t, string(secret.Data["config"]), tc.password, tc.reason)
			assert.Contains(t, string(secret.Data["config"]), "token-d", "the token of then may have expired")
		})
	}
}

// TestRevisionOfTheSameName: a Secret of the name that a revision would have, which holds something else, is left alone, and
// the configuration is kept under another number.
func TestRevisionOfTheSameName(t *testing.T) {
	t.Parallel()
	earlier := func(t *testing.T) *corev1.Secret { // Of edition 9, kept as 1.
		t.Helper()
		server := startAPIServer(t)
		deployEditions(t, newTestClient(t, server), 9, 10)
		secret, ok := emptied(t, server.get("secrets", "om-revision-nightly-1")).(*corev1.Secret)
		require.True(t, ok)
		return secret
	}
	cases := map[string]struct {
		reason string
		edit   func(*corev1.Secret)
	}{
		"Foreign": {reason: "it is somebody else's", edit: func(s *corev1.Secret) { s.Annotations, s.Labels, s.Immutable = nil, nil, nil }},
		"Twin":    {reason: "it is another pipeline's", edit: func(s *corev1.Secret) { s.Annotations[identity.AnnotationFQN] = "other.nightly" }},
		"Stale":   {reason: "it was kept before the pipeline was deleted by hand", edit: func(*corev1.Secret) {}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startAPIServer(t)
			client := newTestClient(t, server)
			there := earlier(t)
			tc.edit(there)
			server.add(t, "somebody", there)
			before := server.contents(t, "secrets")
			deployEditions(t, client, 1, 2)
			for key, content := range before {
				assert.Equal(t, content, server.contents(t, "secrets")[key], tc.reason)
			}
			result, err := client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
			require.NoError(t, err)
			assert.Equal(t, int64(4), result.Revision, "1 is taken, so edition 1 is 2 and edition 2 is 3")
			configMap, ok := server.get("configmaps", "om-config-nightly").(*corev1.ConfigMap)
			require.True(t, ok)
			assert.Contains(t, configMap.Data["config"], `"edition": 1,`, tc.reason)
		})
	}
}

func TestRevisionThatCannotBeDeleted(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server, func(c *Config) { c.RevisionHistoryLimit = 1 })
	deployEditions(t, client, 1, 2)
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodDelete {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "x", nil)
		}
		return nil
	})
	result, err := deploy(t, client, editionOf(3))
	require.NoError(t, err, "the deploy is done")
	require.Len(t, result.Warnings, 1)
	assert.Contains(t, result.Warnings[0], "cannot delete Secret om-revision-nightly-1, an old revision")
	configMap, ok := server.get("configmaps", "om-config-nightly").(*corev1.ConfigMap)
	require.True(t, ok)
	assert.Contains(t, configMap.Data["config"], `"edition": 3,`)
	server.intercept(nil)
	deployEditions(t, client, 4)
	all, _ := revisionNumbers(t, client)
	assert.Equal(t, []int64{4, 3}, all, "the next deploy removes it")
}

func TestRollbackWithoutHistory(t *testing.T) {
	t.Parallel()
	_, client := prepared(t, newPipeline())
	_, err := client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
	require.ErrorIs(t, err, ErrNoRevision)
	_, client = prepared(t, nil)
	_, err = client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
	require.ErrorIs(t, err, ErrNotDeployed)
	_, err = client.History(t.Context(), testFQN)
	require.ErrorIs(t, err, ErrNotDeployed)
}

// TestFailedDeployIsNoRevision: a deploy keeps the configuration that it is about to replace, then fails and is undone.
func TestFailedDeployIsNoRevision(t *testing.T) {
	t.Parallel()
	server := startAPIServer(t)
	client := newTestClient(t, server, func(c *Config) { c.RevisionHistoryLimit = 2 })
	deployEditions(t, client, 1, 2, 3)
	server.intercept(func(req *http.Request) *apierrors.StatusError {
		if req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/om-secret-nightly") {
			return apierrors.NewInternalError(errors.New("etcd is away"))
		}
		return nil
	})
	for range 3 {
		_, err := deploy(t, client, newPipeline(edited(4), withToken("new")))
		require.Error(t, err)
	}
	server.intercept(nil)
	all, current := revisionNumbers(t, client)
	assert.Equal(t, int64(3), current)
	assert.Equal(t, []int64{3, 2, 1}, all, "the one in force is there once, and nothing is lost")

	_, err := client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
	require.NoError(t, err)
	configMap, ok := server.get("configmaps", "om-config-nightly").(*corev1.ConfigMap)
	require.True(t, ok)
	assert.Contains(t, configMap.Data["config"], `"edition": 2,`, "the one before is not the one in force")
}

// TestRollbackFromWhatCannotBeRead: what somebody has edited beyond reading is what one goes back from.
func TestRollbackFromWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		spoil   func(*apiServer)
		token   string
		warning string
		problem bool
	}{
		"Whole":     {reason: "the connection in force is kept", spoil: func(*apiServer) {}, token: "token-c"},
		"Pipeline":  {reason: "the connection is not in it", spoil: setKey("configmaps/om-config-nightly", pipelineKey), token: "token-c", problem: true},
		"ConfigMap": {reason: "the token that is kept is better than none", spoil: setKey("configmaps/om-config-nightly", configKey), token: "token-b", warning: "since the one in force cannot be read: ConfigMap om-config-nightly", problem: true},
		"Secret":    {reason: "the token that is kept is better than none", spoil: setKey("secrets/om-secret-nightly", secretKey), token: "token-b", warning: "since the one in force cannot be read: secret om-secret-nightly", problem: true},
		"NoSecret":  {reason: "it has no token", spoil: func(s *apiServer) { s.remove("secrets", "om-secret-nightly") }, token: "token-b", warning: "since the one in force cannot be read: its Secret is gone", problem: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startAPIServer(t)
			client := newTestClient(t, server)
			deployEditions(t, client, 1, 2)
			tc.spoil(server)
			history, err := client.History(t.Context(), testFQN)
			require.NoError(t, err)
			require.Len(t, history, 2)
			assert.Equal(t, tc.problem, history[0].Problem != "", tc.reason)
			assert.Empty(t, history[1].Problem)
			checked, err := client.CheckRollback(t.Context(), testFQN, 0)
			require.NoError(t, err)
			result, err := client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
			require.NoError(t, err)
			assert.Equal(t, checked.Warnings, result.Warnings)
			assert.Equal(t, tc.warning != "", len(result.Warnings) == 1)
			assert.Contains(t, strings.Join(result.Warnings, ""), tc.warning, tc.reason)
			secret, ok := server.get("secrets", "om-secret-nightly").(*corev1.Secret)
			require.True(t, ok)
			assert.Contains(t, string(secret.Data["config"]), tc.token, tc.reason)
			assert.Contains(t, string(secret.Data["config"]), "password-b")
		})
	}
}

// setKey makes a key of an object unreadable.
func setKey(key, name string) func(*apiServer) {
	return func(server *apiServer) {
		resource, of, _ := strings.Cut(key, "/")
		server.change(resource, of, func(o object) {
			switch o := o.(type) {
			case *corev1.ConfigMap:
				o.Data[name] = "[]"
			case *corev1.Secret:
				o.Data[name] = []byte("[]")
			}
		})
	}
}

// TestBrokenStateIsNoRevision: nobody can go back to what no run could read.
func TestBrokenStateIsNoRevision(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*apiServer){
		"Configuration": setKey("configmaps/om-config-nightly", configKey),
		"Pipeline":      setKey("configmaps/om-config-nightly", pipelineKey),
		"Secret":        setKey("secrets/om-secret-nightly", secretKey),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startAPIServer(t)
			client := newTestClient(t, server)
			deployEditions(t, client, 1, 2)
			spoil(server)
			deployEditions(t, client, 3)
			history, err := client.History(t.Context(), testFQN)
			require.NoError(t, err)
			numbers := make([]int64, 0, len(history))
			for _, revision := range history {
				numbers = append(numbers, revision.Revision)
				assert.Empty(t, revision.Problem)
			}
			assert.Equal(t, []int64{3, 1}, numbers)
			_, err = client.SecretValues(t.Context(), testFQN)
			require.NoError(t, err)
		})
	}
}

// TestUnreadableRevisionIsPassedOver: an earlier version kept them.
func TestUnreadableRevisionIsPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for edition := 1; edition <= 2; edition++ {
		_, err := deploy(t, w.client, newPipeline(withToken("token-"+strconv.Itoa(edition))))
		require.NoError(t, err)
	}
	broken := "/a/b: \"hunter-one\n/c: |2-\n\thunter-two\n- 'hunter-three',\n\"/d\": \"hunter\\u002dfour\",\n\"/e\": \"hunter-five}"
	name := identity.NamesOf("nightly", testFQN).Revision(2)
	w.kube.change("secrets", name, func(o object) {
		if secret, ok := o.(*corev1.Secret); ok {
			secret.Data[revisionSecret+secretKey] = []byte(broken)
		}
	})
	history, err := w.client.History(t.Context(), testFQN)
	require.NoError(t, err)
	require.Len(t, history, 3)
	assert.Empty(t, history[0].Problem)
	assert.Contains(t, history[1].Problem, name, "it says which")
	assert.Empty(t, history[2].Problem)

	values, err := w.client.SecretValues(t.Context(), testFQN)
	require.ErrorIs(t, err, ErrUnreadable)
	require.ErrorContains(t, err, name+", revision 2 of")
	for _, hidden := range []string{"hunter-one", "hunter-two", "hunter-three", "hunter-four", "hunter-five"} {
		assert.Contains(t, values, hidden, "what may be a secret is hidden")
	}
	_, job := w.start(t)
	w.addPod(t, "p", job, 1, endedPod())
	w.kube.setLog("p", "hunter-one hunter-two hunter-three hunter-four hunter-five token-1 done\n")
	var out bytes.Buffer
	var warnings []string
	require.NoError(t, w.client.Logs(t.Context(), testFQN, LogOptions{Warn: func(text string) { warnings = append(warnings, text) }}, &out))
	assert.NotContains(t, out.String(), "hunter")
	assert.NotContains(t, out.String(), "token-1")
	assert.Contains(t, out.String(), "done")
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "revision 2 of")
	diagnosis, err := w.client.Diagnose(t.Context(), w.reader(t), testFQN)
	require.NoError(t, err)
	assert.Contains(t, strings.Join(diagnosis.Run.Problems, "\n"), "revision 2 of", "a cause is shown, with its log")

	result, err := w.client.Rollback(t.Context(), testFQN, 0, DeployOptions{})
	require.NoError(t, err)
	assert.Contains(t, strings.Join(result.Warnings, "\n"), "revision 2 is passed over")
	_, err = w.client.Rollback(t.Context(), testFQN, 2, DeployOptions{})
	require.ErrorContains(t, err, "revision 2 of pipeline")
}
