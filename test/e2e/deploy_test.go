package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pipelinectl/pipelinectl/test/harness"
)

func TestDeployAndDelete(t *testing.T) {
	w := newWorld(t)
	file, fqn := w.pipeline(t, "nightly", nil, "@daily")
	_, err := w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"configmaps/om-config-nightly-metadata", "secrets/om-secret-nightly-metadata", "cronjobs/om-cronjob-nightly-metadata",
	}, w.objects(t, w.namespace))
	cronJob, err := w.Kube.BatchV1().CronJobs(w.namespace).Get(t.Context(), "om-cronjob-nightly-metadata", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "0 0 * * *", cronJob.Spec.Schedule)
	configMap, err := w.Kube.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "om-config-nightly-metadata", metav1.GetOptions{})
	require.NoError(t, err)
	for key, value := range configMap.Data {
		assert.NotContains(t, value, w.standIn.Token, "the token is in the Secret alone, not in key %s", key)
	}

	before := cronJob.ResourceVersion
	_, err = w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	cronJob, err = w.Kube.BatchV1().CronJobs(w.namespace).Get(t.Context(), cronJob.Name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, before, cronJob.ResourceVersion, "a deploy of the same changes nothing")

	file, _ = w.pipeline(t, "nightly", nil, "")
	_, err = w.command.Run(t.Context(), "deploy", "-f", file)
	require.NoError(t, err)
	// Its runs are parted from it first, by the garbage collector.
	require.Eventually(t, func() bool { return !slices.Contains(w.objects(t, w.namespace), "cronjobs/"+cronJob.Name) },
		hang, pollInterval, "a pipeline without a schedule has no CronJob")

	_, err = w.command.Run(t.Context(), "delete", fqn)
	require.NoError(t, err)
	assert.Empty(t, w.objects(t, w.namespace), "nothing of the pipeline is left")
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	good, fqn := w.pipeline(t, "shop", nil, "")
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	cases := map[string]struct {
		reason string
		args   []string
		want   string
		code   int
	}{
		"NotAPipeline": {
			reason: "any YAML file may be given by mistake",
			args:   []string{"deploy", "-f", write("pod.yaml", "kind: Pod\nmetadata: {name: x}\n")}, want: "no ingestion pipeline in it", code: 1,
		},
		"NotYAML": {
			reason: "so may any other file",
			args:   []string{"deploy", "-f", write("text", "{{{")}, want: "it is neither YAML nor JSON", code: 1,
		},
		"NoFile": {
			reason: "a path may be mistyped",
			args:   []string{"deploy", "-f", "/does/not/exist.yaml"}, want: "no such file", code: 1,
		},
		"UnknownType": {
			reason: "the types that are supported are named",
			args: []string{"deploy", "-f", write("type.yaml", "name: a\npipelineType: teleport\nservice: {type: databaseService, name: shop}\n"+
				"sourceConfig: {config: {}}\nairflowConfig: {}\n")},
			want: "it is one of TestSuite, application", code: 1,
		},
		"UnknownService": {
			reason: "OpenMetadata must know the service",
			args: []string{"deploy", "-f", write("service.yaml", "name: a\npipelineType: metadata\nservice: {type: databaseService, name: nowhere}\n"+
				"sourceConfig: {config: {}}\nairflowConfig: {}\n")},
			want: "nowhere", code: 1,
		},
		"NoNamespace": {
			reason: "how to make it is told",
			args:   []string{"deploy", "-f", good, "-n", "does-not-exist"}, want: "kubectl create namespace does-not-exist", code: 1,
		},
		"NoNamespaceToRunIn": {
			reason: "a missing namespace is not a pipeline that is not deployed",
			args:   []string{"run", fqn, "-n", "does-not-exist"}, want: "kubectl create namespace does-not-exist", code: 1,
		},
		"NoPermission": {
			reason: "what is not allowed is told with who may allow it, and has a code of its own",
			args:   []string{"deploy", "-f", good, "--kubeconfig", w.kubeconfigWithoutRights(t)}, want: "ask for a Role that allows it", code: 4,
		},
		"NoAccount": {
			reason: "a token that has ended is not a missing Role",
			args:   []string{"deploy", "-f", good, "--kubeconfig", w.kubeconfig(t, "expired")}, want: "log in to the cluster again", code: 4,
		},
		"ClusterDown": {
			reason: "nothing listens at the address",
			args:   []string{"deploy", "-f", good, "--kubeconfig", w.kubeconfigTo(t, "https://127.0.0.1:1", "any")}, want: "no answer from the Kubernetes API", code: 1,
		},
		"NoCluster": {
			reason: "the kubeconfig is the first thing to look at",
			args:   []string{"deploy", "-f", good, "--kubeconfig", "/does/not/exist"}, want: "set KUBECONFIG", code: 1,
		},
		"NotDeployed": {
			reason: "what to do first is told",
			args:   []string{"run", fqn}, want: "pipelinectl deploy -f", code: 1,
		},
		"NoCommand": {
			reason: "wrong arguments have a code of their own",
			args:   []string{"fly"}, want: "--help", code: 80,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.command.Run(t.Context(), tc.args...)
			var exit *harness.ExitError
			require.ErrorAs(t, err, &exit, tc.reason)
			assert.Equal(t, tc.code, exit.Code, exit.Stderr)
			assert.Contains(t, exit.Stderr, tc.want, tc.reason)
			assert.NotContains(t, exit.Stderr, w.standIn.Token)
			assert.Empty(t, w.objects(t, w.namespace), "nothing is made")
		})
	}
}

// kubeconfigWithoutRights is for an account that may do nothing.
func (w *world) kubeconfigWithoutRights(t *testing.T) string {
	t.Helper()
	accounts := w.Kube.CoreV1().ServiceAccounts(w.namespace)
	account, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	token, err := accounts.CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	return w.kubeconfig(t, token.Status.Token)
}

// kubeconfig is for the cluster, with a token.
func (w *world) kubeconfig(t *testing.T, token string) string {
	t.Helper()
	return w.kubeconfigTo(t, w.Config.Host, token)
}

func (w *world) kubeconfigTo(t *testing.T, host, token string) string {
	t.Helper()
	require.NoError(t, rest.LoadTLSFiles(w.Config))
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: host, CertificateAuthorityData: w.Config.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "c"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}
