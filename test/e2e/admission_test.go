package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// checkOf is one check of pipelinectl health. A check that failed is the command's error.
func (w *world) checkOf(t *testing.T, name string, args ...string) k8sclient.Check {
	t.Helper()
	out, _ := w.command.Run(t.Context(), append([]string{"health", "-o", "json"}, args...)...)
	var health k8sclient.Health
	require.NoError(t, json.Unmarshal([]byte(out), &health), out)
	for _, check := range health.Checks {
		if check.Name == name {
			return check
		}
	}
	require.Fail(t, "there is no such check", "%s in %+v", name, health.Checks)
	return k8sclient.Check{}
}

// TestPodSecurityRestricted: the default parameters suit the strictest level, and health says what does not.
func TestPodSecurityRestricted(t *testing.T) {
	w := newWorld(t)
	_, err := w.Kube.CoreV1().Namespaces().Patch(t.Context(), w.namespace, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/warn":"restricted"}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	assert.Equal(t, k8sclient.CheckOK, w.checkOf(t, "admission of jobs").State)
	assert.Equal(t, k8sclient.CheckOK, w.checkOf(t, "admission of pods").State)
	refused := w.checkOf(t, "admission of pods", "--set", "runAsNonRoot=false", "--set", "seccompProfile=none")
	assert.Equal(t, k8sclient.CheckFailed, refused.State)
	assert.Contains(t, refused.Detail, "violates PodSecurity")
	warned := w.checkOf(t, "admission of jobs", "--set", "runAsNonRoot=false")
	assert.Equal(t, k8sclient.CheckWarning, warned.State, "Jobs are let in, with a warning: %s", warned.Detail)
	assert.Contains(t, warned.Detail, "runAsNonRoot")

	file, fqn := w.pipeline(t, "strict", nil, "")
	run := w.start(t, file, fqn)
	assert.Equal(t, string(omapi.StateSuccess), w.await(t, fqn, run.RunID, omapi.PipelineState.Terminal).State)
}

// TestLimitRange: a namespace may want more of each container than the sidecar takes by default.
func TestLimitRange(t *testing.T) {
	w := newWorld(t)
	_, err := w.Kube.CoreV1().LimitRanges(w.namespace).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "least"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
			Max: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi")},
		}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	refused := w.checkOf(t, "admission of pods")
	assert.Equal(t, k8sclient.CheckFailed, refused.State)
	assert.Contains(t, refused.Detail, "minimum memory usage per Container is 128Mi")
	assert.Contains(t, refused.Advice, "sidecarResources")

	more := []string{"--set", `sidecarResources={"requests":{"memory":"128Mi"},"limits":{"memory":"128Mi"}}`, "--set", `resources={"requests":{"memory":"128Mi"},"limits":{"memory":"256Mi"}}`}
	check := w.checkOf(t, "admission of pods", more...)
	assert.Equal(t, k8sclient.CheckOK, check.State, check.Detail)
	file, fqn := w.pipeline(t, "limited", nil, "")
	_, err = w.command.Run(t.Context(), append([]string{"deploy", "-f", file}, more...)...)
	require.NoError(t, err)
	var started k8sclient.RunResult
	require.NoError(t, w.command.RunJSON(t.Context(), &started, append([]string{"run", fqn}, more...)...))
	assert.Equal(t, string(omapi.StateSuccess), w.await(t, fqn, started.RunID, omapi.PipelineState.Terminal).State)
}
