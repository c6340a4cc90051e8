package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

const (
	injectLabel = "pipelinectl-e2e-inject"
	// injectParameter gives a run's pods the label.
	injectParameter = "podLabels=" + injectLabel + "=true"
	proxyName       = "istio-proxy"
)

// injectProxies has the API server add a container to the pods with the label, first in their list as Istio does, which runs
// for longer than any run and does not heed SIGTERM. It returns when that is in force.
func (w *world) injectProxies(t *testing.T) {
	t.Helper()
	name := "pipelinectl-inject-" + w.namespace
	admission := w.Kube.AdmissionregistrationV1()
	remove := func(ctx context.Context) error {
		err := ignoreNotFound(admission.MutatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{}))
		if err == nil {
			err = ignoreNotFound(admission.MutatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{}))
		}
		return err
	}
	require.NoError(t, remove(t.Context())) // One of an earlier test that crashed.
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		assert.NoError(t, remove(ctx))
	})
	label := map[string]string{injectLabel: "true"}
	_, err := admission.MutatingAdmissionPolicies().Create(t.Context(), &admissionv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.MutatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
				ObjectSelector:    &metav1.LabelSelector{MatchLabels: label},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
				}}},
			},
			MatchConditions:    []admissionv1.MatchCondition{{Name: "has-not", Expression: "!object.spec.containers.exists(c, c.name == '" + proxyName + "')"}},
			FailurePolicy:      new(admissionv1.Fail),
			ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
			Mutations: []admissionv1.Mutation{{
				PatchType: admissionv1.PatchTypeJSONPatch,
				JSONPatch: &admissionv1.JSONPatch{Expression: `[JSONPatch{op: "add", path: "/spec/containers/0", value: Object.spec.containers{` +
					`name: "` + proxyName + `", image: "` + lightImage + `", imagePullPolicy: "IfNotPresent", command: ["sleep", "100000"]}}]`},
			}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = admission.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	probe := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "inject-probe", Labels: label},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: lightImage}}},
	}
	err = eventually(t.Context(), func(ctx context.Context) (bool, error) {
		pod, err := w.Kube.CoreV1().Pods(w.namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && pod.Spec.Containers[0].Name == proxyName, err
	})
	require.NoError(t, err, "the policy is not in force")
}

// injectedRows are the runs whose pods a container that somebody injects keeps running.
func injectedRows() []row {
	const (
		success, failed, stopped = omapi.StateSuccess, omapi.StateFailed, omapi.StateStopped
		number                   = 31
	)
	set := []string{injectParameter, "terminationGracePeriodSeconds=10"}
	return []row{
		{number: number, how: "exit 0 beside an injected container", options: map[string]string{"rows": "5"}, set: set, want: success, then: jobEnds(batchv1.JobComplete)},
		{number: number, variant: "failing", how: "the workflow fails beside an injected container", options: map[string]string{"rows": "2", "errors": "2"}, set: set, want: failed, then: jobEnds(batchv1.JobFailed)},
		{
			number: number, variant: "crash", how: "SIGSEGV beside an injected container", options: map[string]string{"fault": "signal:SIGSEGV"}, set: set,
			want: failed, category: diagnostics.CategoryApplicationError, cause: "SIGSEGV", then: jobEnds(batchv1.JobFailed),
		},
		{
			number: number, variant: "kill", how: "pipelinectl kill beside an injected container", options: map[string]string{"duration": "600", "rows": "600"}, set: set,
			act: kill, want: stopped, category: diagnostics.CategoryKilled,
		},
		{
			number: number, variant: "retry", how: "a failed attempt beside an injected container, then success",
			options: map[string]string{"rows": "5", "fault": "signal:SIGSEGV", "failAttempts": "1"}, set: append([]string{"backoffLimit=1"}, set...),
			want: success, attempt: diagnostics.CategoryApplicationError, then: jobEnds(batchv1.JobComplete),
		},
	}
}

// jobEnds says that the run's Job comes to its end too, and keeps its pod.
func jobEnds(kind batchv1.JobConditionType) func(t *testing.T, e *ending) {
	return func(t *testing.T, e *ending) {
		t.Helper()
		err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
			jobs, err := e.Kube.BatchV1().Jobs(e.namespace).List(ctx, e.selector())
			if err != nil || len(jobs.Items) == 0 {
				return false, err
			}
			for _, condition := range jobs.Items[0].Status.Conditions {
				if condition.Type == kind && condition.Status == corev1.ConditionTrue {
					return true, nil
				}
			}
			return false, nil
		})
		require.NoError(t, err, "the Job of %s does not become %s", e.fqn, kind)
		e.pod(t, func(pod *corev1.Pod) bool { return len(diagnostics.InTheWay(pod)) == 0 })
		log, err := e.command.Run(t.Context(), "logs", e.fqn)
		require.NoError(t, err)
		assert.NotEmpty(t, log, "the log is kept")
	}
}

// TestInjectedWithoutServe: the command that waits for a run sees its end, and ends its pod, without serve.
func TestInjectedWithoutServe(t *testing.T) {
	w := newWorld(t)
	w.injectProxies(t)
	file, fqn := w.pipeline(t, "meshed", map[string]string{"rows": "5"}, "")
	set := []string{"--set", injectParameter, "--set", "terminationGracePeriodSeconds=10"}
	_, err := w.command.Run(t.Context(), append([]string{"deploy", "-f", file}, set...)...)
	require.NoError(t, err)
	began := time.Now()
	_, err = w.command.Run(t.Context(), append([]string{"run", fqn, "--wait"}, set...)...)
	require.NoError(t, err)
	assert.Less(t, time.Since(began), 2*time.Minute, "it waits for the run, not for what is beside it")
	var status k8sclient.PipelineStatus
	err = eventually(t.Context(), func(ctx context.Context) (bool, error) {
		if err := w.command.RunJSON(ctx, &status, "status", fqn); err != nil || len(status.Runs) != 1 {
			return false, err
		}
		return status.Runs[0].Job == string(batchv1.JobComplete), nil
	})
	require.NoError(t, err, "%+v", status)
	assert.Equal(t, omapi.StateSuccess, status.Runs[0].State)
	log, err := w.command.Run(t.Context(), "logs", fqn, "-f")
	require.NoError(t, err)
	assert.NotEmpty(t, strings.TrimSpace(log))
}

// TestInjectedSchedule: a schedule that allows one run at a time goes on at its next tick.
func TestInjectedSchedule(t *testing.T) {
	t.Parallel() // It waits for the next minute most of the time.
	w := newWorld(t)
	w.injectProxies(t)
	w.serve(t)
	file, fqn := w.pipeline(t, "meshed", map[string]string{"rows": "5"}, everyMinute)
	_, err := w.command.Run(t.Context(), "deploy", "-f", file, "--set", injectParameter)
	require.NoError(t, err)
	first := w.nextTick(t, fqn, metav1.ListOptions{}, "")
	w.await(t, fqn, first, func(state omapi.PipelineState) bool { return state == omapi.StateSuccess })
	second := w.nextTick(t, fqn, metav1.ListOptions{}, first)
	w.await(t, fqn, second, func(state omapi.PipelineState) bool { return state == omapi.StateSuccess })
	assert.Equal(t, "success", w.await(t, fqn, first, omapi.PipelineState.Terminal).State)
}
