package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/harness"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	rowAllAtOnce = 24
	rowScheduled = 26

	quotaClass   = "pipelinectl-e2e-quota"
	heldClass    = "pipelinectl-e2e-held"
	urgentClass  = "pipelinectl-e2e-urgent"
	blindAccount = "without-permissions"
	writePath    = "pipelineStatus$"
	// reporters is how the user agents of a pod's own begin.
	reporters = "exithandler/"
)

// prepareTable makes what some rows need: priority classes, quotas that let no pod of a class be made, an account that may
// read nothing.
func (w *world) prepareTable(t *testing.T) {
	t.Helper()
	for name, value := range map[string]int32{quotaClass: 1, heldClass: 1, urgentClass: 100000} {
		class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
		if _, err := w.Kube.SchedulingV1().PriorityClasses().Create(t.Context(), class, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			require.NoError(t, err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), hang)
			defer cancel()
			assert.NoError(t, w.Kube.SchedulingV1().PriorityClasses().Delete(ctx, name, metav1.DeleteOptions{}))
		})
	}
	for _, class := range []string{quotaClass, heldClass} {
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: class},
			Spec: corev1.ResourceQuotaSpec{
				Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")},
				ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{
					ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{class},
				}}},
			},
		}
		_, err := w.Kube.CoreV1().ResourceQuotas(w.namespace).Create(t.Context(), quota, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	w.injectProxies(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: blindAccount}}
	_, err := w.Kube.CoreV1().ServiceAccounts(w.namespace).Create(t.Context(), account, metav1.CreateOptions{})
	require.NoError(t, err)
}

// nodeCPU is what the node that runs pods has, in thousandths of a core.
func (w *world) nodeCPU(t *testing.T) int64 {
	t.Helper()
	nodes, err := w.Kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var most int64
	for i := range nodes.Items {
		if len(nodes.Items[i].Spec.Taints) == 0 {
			most = max(most, nodes.Items[i].Status.Allocatable.Cpu().MilliValue())
		}
	}
	require.NotZero(t, most)
	return most
}

// rows are the ways in which a run can end, in the order of the design.
func rows(nodeCPU int64) []row {
	const (
		success, failed, stopped = omapi.StateSuccess, omapi.StateFailed, omapi.StateStopped
		missingSecret            = `extraEnvVars=[{"name":"X","valueFrom":{"secretKeyRef":{"name":"missing","key":"k"}}}]`
	)
	long := map[string]string{"duration": "600", "rows": "600"}
	// What ends the first attempt may take its time: it goes on until then, and the second one ends by itself.
	retried := map[string]string{"duration": "3", "rows": "3", "fault": "hang", "failAttempts": "1"}
	return []row{
		{number: 1, how: "exit 0", options: map[string]string{"rows": "5"}, want: success, real: true},
		{number: 2, how: "exit 1: the workflow fails", options: map[string]string{"rows": "2", "errors": "2"}, want: failed, real: true},
		{number: 2, variant: "exception", how: "exit 1: an exception while reading", options: map[string]string{"rows": "2", "fault": "raise"}, want: failed},
		{
			number: 3, how: "killed by a signal (SIGSEGV)", options: map[string]string{"fault": "signal:SIGSEGV"},
			want: failed, category: diagnostics.CategoryApplicationError, cause: "SIGSEGV",
		},
		{
			number: 3, variant: "brought", how: "SIGSEGV, exithandler from an image of its own", options: map[string]string{"fault": "signal:SIGSEGV"},
			set:  []string{"exitHandlerImage=pipelinectl.local/exithandler:dev"},
			want: failed, category: diagnostics.CategoryApplicationError, cause: "SIGSEGV",
		},
		{
			number: 4, how: "OOM-killed", options: map[string]string{"fault": "memory:4000"}, set: []string{"resources.limits.memory=300Mi"},
			want: failed, category: diagnostics.CategoryOOMKilled, cause: "memory", real: true,
		},
		{number: 5, how: "pipelinectl kill", options: long, act: kill, want: stopped, category: diagnostics.CategoryKilled},
		{
			number: 6, how: "pod deleted, the Job retries", options: retried, set: []string{"backoffLimit=1"},
			act: deletePod(60), want: success, attempt: diagnostics.CategoryDeleted,
		},
		{number: 7, how: "Job deleted", options: long, act: deleteJob, want: failed, category: diagnostics.CategoryDeleted},
		{number: 8, how: "eviction API (drain), the Job retries", options: retried, act: evict, want: success, attempt: diagnostics.CategoryEvicted},
		{
			number: 9, how: "preemption, the Job retries", options: retried, set: []string{
				fmt.Sprintf("resources.requests.cpu=%dm", nodeCPU*45/100), fmt.Sprintf("resources.limits.cpu=%dm", nodeCPU), "terminationGracePeriodSeconds=5",
			},
			act: preempt, want: success, attempt: diagnostics.CategoryPreempted, alone: true,
		},
		{
			number: 10, how: "activeDeadlineSeconds of the Job", options: long, act: deadlineOfRunning,
			want: failed, category: diagnostics.CategoryDeadlineExceeded,
		},
		{
			number: 11, how: "image cannot be pulled", set: []string{"ingestionImage=pipelinectl.local/does-not-exist:dev"},
			act: reachDeadline(waits("ErrImagePull", "ImagePullBackOff")), want: failed, category: diagnostics.CategoryImagePull, cause: "does-not-exist",
		},
		{
			number: 12, how: "Secret missing", set: []string{missingSecret},
			act: reachDeadline(waits("CreateContainerConfigError")), want: failed, category: diagnostics.CategoryConfigMissing, cause: `"missing" not found`,
		},
		{
			number: 12, variant: "configmap", how: "the pipeline's ConfigMap missing", set: []string{"priorityClassName=" + heldClass},
			act: deleteConfigMap, want: failed, category: diagnostics.CategoryConfigMissing, cause: `"om-config-row-12-configmap-metadata" not found`,
		},
		{
			number: 13, how: "unschedulable", set: []string{"nodeSelector=no=where", "activeDeadlineSeconds=20"},
			want: failed, category: diagnostics.CategoryUnschedulable,
		},
		{
			number: 14, how: "pod refused by a quota", set: []string{"priorityClassName=" + quotaClass},
			act: deadlineOfRefused, want: failed, category: diagnostics.CategoryQuotaOrAdmission, cause: "exceeded quota",
		},
		{
			number: 14, variant: "policy", how: "pod refused by an admission policy", prepare: refusePods,
			act: deadlineOfRefused, want: failed, category: diagnostics.CategoryQuotaOrAdmission, cause: policyMessage,
		},
		{
			number: 15, how: "start error (no such command)", set: []string{"ingestionImage=pipelinectl.local/openmetadata-stand-in:dev"},
			act: reachDeadline(notStarted), want: failed, category: diagnostics.CategoryStartError, cause: "exithandler",
		},
		// 16, the loss of a node, is TestNodeLost: the OpenMetadata of this test would be lost with it.
		{number: 17, how: "pod force-deleted", options: long, act: deletePod(0), want: failed, category: diagnostics.CategoryDeleted},
		{
			number: 18, how: "retries used up", options: map[string]string{"fault": "raise", "faultAt": "constructor"}, set: []string{"backoffLimit=1"},
			want: failed, category: diagnostics.CategoryApplicationError, cause: "attempt 2 of at most 2", attempt: diagnostics.CategoryApplicationError,
		},
		{
			number: 19, how: "a failed attempt, then success", options: map[string]string{"rows": "2", "errors": "2", "failAttempts": "1"}, set: []string{"backoffLimit=1"},
			want: success, attempt: diagnostics.CategoryApplicationError, real: true,
		},
		{
			number: 20, how: "OpenMetadata down while the run ends", options: map[string]string{"duration": "3", "rows": "3", "fault": "signal:SIGKILL"},
			prepare: serverDown, act: serverBack, want: failed, category: diagnostics.CategoryApplicationError,
		},
		{
			number: 21, how: "no permissions for the pod, SIGKILL", options: map[string]string{"fault": "signal:SIGKILL"}, set: []string{"serviceAccountName=" + blindAccount},
			want: failed, category: diagnostics.CategoryApplicationError,
		},
		{
			number: 22, how: "the pod's token has expired", prepare: giveToken(admin.TokenExpired, http.StatusUnauthorized),
			want: failed, category: diagnostics.CategoryApplicationError,
		},
		{
			number: 22, variant: "invalid", how: "the pod's token is wrong (401)", prepare: giveToken(admin.TokenBadSignature, http.StatusUnauthorized),
			want: failed, category: diagnostics.CategoryApplicationError,
		},
		{
			number: 22, variant: "forbidden", how: "the pod's token may not write (403), SIGKILL", options: map[string]string{"fault": "signal:SIGKILL"},
			prepare: giveToken(admin.TokenNoRight, http.StatusForbidden), want: failed, category: diagnostics.CategoryApplicationError,
		},
		{
			number: 23, how: "the reporter is killed half way", options: map[string]string{"fault": "signal:SIGKILL"}, set: []string{"terminationGracePeriodSeconds=1"},
			prepare: hangReporter, want: failed, category: diagnostics.CategoryApplicationError,
		},
		{
			number: rowAllAtOnce, how: "all reporters at the same time, and twice", options: map[string]string{"duration": "3", "rows": "3", "fault": "signal:SIGKILL"},
			act: reportAll, want: failed, category: diagnostics.CategoryApplicationError,
		},
		{
			number: 25, how: "killed after the workflow reported success", options: map[string]string{"rows": "2", "fault": "hang", "faultAt": "end"},
			act: killAfterSuccess, want: success, real: true,
		},
		{
			number: 25, variant: "failed", how: "killed after the workflow reported failure", options: long,
			act: killAfterFailure, want: failed,
		},
		// 26, a scheduled run, is a variant of each row above.
		{
			number: 27, how: "the source fails before the workflow's error handling", options: map[string]string{"fault": "raise", "faultAt": "constructor"},
			want: failed, category: diagnostics.CategoryApplicationError, cause: "simulated failure", real: true,
		},
		{
			number: 28, how: "success reported, then exit code 3", options: map[string]string{"rows": "2", "fault": "exit:3"},
			want: failed, category: diagnostics.CategoryApplicationError, cause: "the workflow reported success, but", real: true,
		},
		{
			number: 29, how: "configuration that the workflow cannot parse", prepare: breakConfiguration,
			want: failed, category: diagnostics.CategoryApplicationError, real: true,
		},
		{
			number: 29, variant: "unreadable", how: "configuration that nobody can read", prepare: cutConfiguration,
			want: failed, category: diagnostics.CategoryInvalidConfiguration, cause: "configuration",
		},
		{
			number: 29, variant: "crash", how: "a crash before the workflow writes anything", options: map[string]string{"fault": "raise", "faultAt": "init"},
			want: failed, category: diagnostics.CategoryApplicationError, cause: "simulated failure",
		},
		{
			number: 30, how: "every status write of the workflow refused, exit 0", options: map[string]string{"rows": "2"}, prepare: refuseWorkflow,
			want: success, real: true,
		},
		{
			number: 32, variant: "kill", how: "pipelinectl kill, killed itself when the Job is marked", options: long, act: killUnheard,
			want: stopped, category: diagnostics.CategoryKilled,
		},
		{
			number: 34, how: "suspended by its queue, as by Kueue, and admitted again", options: retried, set: []string{"queueName=ingestion"},
			act: suspendAndResume, want: success, attempt: diagnostics.CategorySuspended,
		},
	}
}

// scheduledRows are those of row 26 that are no other row's.
func scheduledRows() []row {
	return []row{
		{
			number: rowScheduled, variant: "failing", how: "the workflow fails, with one retry", options: map[string]string{"rows": "2", "errors": "2"},
			set: []string{"backoffLimit=1"}, want: omapi.StateFailed, attempt: diagnostics.CategoryApplicationError,
		},
	}
}

func kill(t *testing.T, e *ending) {
	t.Helper()
	e.running(t)
	e.at = time.Now()
	_, err := e.command.Run(t.Context(), "kill", e.fqn, "--run", e.runID)
	require.NoError(t, err)
}

func killAfterSuccess(t *testing.T, e *ending) {
	t.Helper()
	e.await(t, e.fqn, e.runID, func(state omapi.PipelineState) bool { return state == omapi.StateSuccess })
	e.at = time.Now()
	_, err := e.command.Run(t.Context(), "kill", e.fqn)
	require.NoError(t, err)
}

// killAfterFailure writes the failure in the workflow's place, which would end at once.
func killAfterFailure(t *testing.T, e *ending) {
	t.Helper()
	e.running(t)
	om, err := omapi.New(omapi.Config{URL: e.standIn.URL, Token: e.standIn.Token, UserAgent: "ingestion-light, by the test"})
	require.NoError(t, err)
	defer om.Close()
	record, err := om.GetStatus(t.Context(), e.fqn, e.runID)
	require.NoError(t, err)
	e.at = time.Now()
	require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{
		"runId": %q, "pipelineState": "failed", "timestamp": %d, "startDate": %d, "endDate": %d,
		"status": [{"name": "Source", "errors": 1, "failures": [{"name": "table_1", "error": "cannot read table_1"}]}]
	}`, e.runID, record.Timestamp, record.StartDate, e.at.UnixMilli()), record))
	require.NoError(t, om.PutStatus(t.Context(), e.fqn, record))
	_, err = e.command.Run(t.Context(), "kill", e.fqn)
	require.NoError(t, err)
}

// deleteConfigMap deletes it while no pod may be made yet, and brings it back when the row is over.
func deleteConfigMap(t *testing.T, e *ending) {
	t.Helper()
	configMaps := e.Kube.CoreV1().ConfigMaps(e.namespace)
	configMap, err := configMaps.Get(t.Context(), "om-config-"+e.name+"-metadata", metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, configMaps.Delete(t.Context(), configMap.Name, metav1.DeleteOptions{}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		configMap.ResourceVersion = ""
		_, err := configMaps.Create(ctx, configMap, metav1.CreateOptions{})
		assert.NoError(t, err)
	})
	require.NoError(t, e.Kube.CoreV1().ResourceQuotas(e.namespace).Delete(t.Context(), heldClass, metav1.DeleteOptions{}))
	reachDeadline(waits("CreateContainerConfigError"))(t, e)
}

// reachDeadline brings the Job's deadline when its pod is as wanted: how long that takes depends on the machine.
func reachDeadline(ready func(*corev1.Pod) bool) func(t *testing.T, e *ending) {
	return func(t *testing.T, e *ending) {
		t.Helper()
		e.reachDeadline(t, e.pod(t, ready).OwnerReferences[0].Name)
	}
}

func deadlineOfRunning(t *testing.T, e *ending) {
	t.Helper()
	e.reachDeadline(t, e.running(t).OwnerReferences[0].Name)
}

// deadlineOfRefused brings it when the API server has refused a pod.
func deadlineOfRefused(t *testing.T, e *ending) {
	t.Helper()
	var job string
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		jobs, err := e.Kube.BatchV1().Jobs(e.namespace).List(ctx, e.selector())
		if err != nil || len(jobs.Items) == 0 {
			return false, err
		}
		job = jobs.Items[0].Name
		events, err := e.Kube.CoreV1().Events(e.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate,involvedObject.name=" + job})
		return err == nil && len(events.Items) > 0, err
	})
	require.NoError(t, err, "no pod of %s is refused", e.fqn)
	e.reachDeadline(t, job)
}

func (e *ending) reachDeadline(t *testing.T, job string) {
	t.Helper()
	_, err := e.Kube.BatchV1().Jobs(e.namespace).Patch(t.Context(), job, types.MergePatchType, []byte(`{"spec":{"activeDeadlineSeconds":1}}`), metav1.PatchOptions{})
	require.NoError(t, err)
}

// waits says that a container waits for one of the reasons.
func waits(reasons ...string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		return slices.ContainsFunc(statuses(pod), func(status corev1.ContainerStatus) bool {
			return status.State.Waiting != nil && slices.Contains(reasons, status.State.Waiting.Reason)
		})
	}
}

// notStarted says that a container could not be started.
func notStarted(pod *corev1.Pod) bool {
	return slices.ContainsFunc(statuses(pod), func(status corev1.ContainerStatus) bool {
		return slices.ContainsFunc([]corev1.ContainerState{status.State, status.LastTerminationState}, func(state corev1.ContainerState) bool {
			return state.Terminated != nil && state.Terminated.Reason == "StartError"
		})
	})
}

func statuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

const policyMessage = "no pods of this pipeline are wanted"

// refusePods has the API server refuse the row's pods, and returns when it does.
func refusePods(t *testing.T, e *ending) {
	t.Helper()
	name := "pipelinectl-" + e.namespace
	label := map[string]string{identity.LabelPipeline: e.name + "-metadata"}
	admission := e.Kube.AdmissionregistrationV1()
	// One of an earlier test that crashed.
	require.NoError(t, ignoreNotFound(admission.ValidatingAdmissionPolicyBindings().Delete(t.Context(), name, metav1.DeleteOptions{})))
	require.NoError(t, ignoreNotFound(admission.ValidatingAdmissionPolicies().Delete(t.Context(), name, metav1.DeleteOptions{})))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		assert.NoError(t, ignoreNotFound(admission.ValidatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{})))
		assert.NoError(t, ignoreNotFound(admission.ValidatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{})))
	})
	_, err := admission.ValidatingAdmissionPolicies().Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: e.namespace}},
				ObjectSelector:    &metav1.LabelSelector{MatchLabels: label},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
				}}},
			},
			Validations: []admissionv1.Validation{{Expression: "false", Message: policyMessage}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = admission.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	probe := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "policy-probe", Labels: label},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: lightImage}}},
	}
	err = eventually(t.Context(), func(ctx context.Context) (bool, error) {
		_, err := e.Kube.CoreV1().Pods(e.namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), policyMessage), nil
	})
	require.NoError(t, err, "the policy is not in force")
}

func deletePod(grace int64) func(t *testing.T, e *ending) {
	return func(t *testing.T, e *ending) {
		t.Helper()
		pod := e.running(t)
		if grace == 0 {
			e.at = time.Now()
		}
		require.NoError(t, e.Kube.CoreV1().Pods(e.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}))
	}
}

func deleteJob(t *testing.T, e *ending) {
	t.Helper()
	pod := e.running(t)
	background := metav1.DeletePropagationBackground
	e.at = time.Now()
	require.NoError(t, e.Kube.BatchV1().Jobs(e.namespace).Delete(t.Context(), pod.OwnerReferences[0].Name, metav1.DeleteOptions{PropagationPolicy: &background}))
}

func evict(t *testing.T, e *ending) {
	t.Helper()
	pod := e.running(t)
	require.NoError(t, e.Kube.CoreV1().Pods(e.namespace).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}}))
}

// preempt starts a pod for which the node has no room beside the run's, and ends it when the run's is gone.
func preempt(t *testing.T, e *ending) {
	t.Helper()
	if !e.Local {
		t.Skip("a cluster of several nodes has room for both")
	}
	evicted := e.running(t)
	urgent := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "urgent"},
		Spec: corev1.PodSpec{
			PriorityClassName: urgentClass,
			Containers: []corev1.Container{{
				Name: "urgent", Image: "pipelinectl.local/openmetadata-stand-in:dev",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(e.nodeCPU(t)*75/100, resource.DecimalSI)}},
			}},
		},
	}
	pods := e.Kube.CoreV1().Pods(e.namespace)
	_, err := pods.Create(t.Context(), urgent, metav1.CreateOptions{})
	require.NoError(t, err)
	err = eventually(t.Context(), func(ctx context.Context) (bool, error) {
		pod, err := pods.Get(ctx, evicted.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && pod.Status.Phase == corev1.PodFailed, ignoreNotFound(err)
	})
	require.NoError(t, err, "pod %s makes no room", evicted.Name)
	require.NoError(t, pods.Delete(t.Context(), urgent.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
}

// serverDown has the server refuse the connections of those who report from the pod until serverBack; the run itself has
// to begin.
func serverDown(t *testing.T, e *ending) {
	t.Helper()
	e.down = e.disturb(t, admin.Fault{Kind: admin.FaultReset, UserAgent: "sidecar|preStop hook", Path: e.fqn})
}

// serverBack ends that when the sidecar has tried to tell the run's end, more than once.
func serverBack(t *testing.T, e *ending) {
	t.Helper()
	down := []admin.Fault{
		{Kind: admin.FaultReset, UserAgent: harness.Workflows, Path: e.fqn},
		// A reset would break the test's own port-forward.
		{Kind: admin.FaultStatus, Status: 503, UserAgent: "pipelinectl", Path: e.fqn},
	}
	for i := range down {
		var err error
		down[i], err = e.standIn.Admin.AddFault(t.Context(), down[i])
		require.NoError(t, err)
	}
	e.pod(t, func(pod *corev1.Pod) bool { _, ended := diagnostics.MainEnded(pod); return ended })
	if !hookOnly() { // Else nobody tries.
		e.awaitTries(t)
	}
	require.NoError(t, e.standIn.Admin.RemoveFault(t.Context(), e.down))
	for i := range down {
		require.NoError(t, e.standIn.Admin.RemoveFault(t.Context(), down[i].ID))
	}
}

// awaitTries waits for more requests that find the server down.
func (e *ending) awaitTries(t *testing.T) {
	t.Helper()
	const tries = 3
	var before int
	err := eventually(t.Context(), func(ctx context.Context) (bool, error) {
		faults, err := e.standIn.Admin.Faults(ctx)
		at := slices.IndexFunc(faults, func(fault admin.Fault) bool { return fault.ID == e.down })
		if at < 0 {
			return false, err
		}
		if before == 0 {
			before = faults[at].Hits
		}
		return faults[at].Hits >= before+tries, err
	})
	require.NoError(t, err, "the sidecar of %s does not try", e.fqn)
}

// giveToken gives the run's pod another token than the pipeline was deployed with, with which its reporter is refused.
func giveToken(kind admin.TokenKind, refused int) func(t *testing.T, e *ending) {
	return func(t *testing.T, e *ending) {
		t.Helper()
		token, err := e.standIn.Admin.Token(t.Context(), kind)
		require.NoError(t, err)
		secrets := e.Kube.CoreV1().Secrets(e.namespace)
		secret, err := secrets.Get(t.Context(), "om-secret-"+e.name+"-metadata", metav1.GetOptions{})
		require.NoError(t, err)
		var values map[string]any
		require.NoError(t, json.Unmarshal(secret.Data["config"], &values))
		values["/workflowConfig/openMetadataServerConfig/securityConfig/jwtToken"] = token
		secret.Data["config"], err = json.Marshal(values)
		require.NoError(t, err)
		_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
		require.NoError(t, err)
		e.disturbed = append(e.disturbed, func(request admin.Request) bool {
			return request.Status == refused && strings.HasPrefix(request.UserAgent, reporters)
		})
	}
}

// hangReporter lets no write of the sidecar get an answer: it is killed while it waits, or, where a second is not enough
// to come so far, before.
func hangReporter(t *testing.T, e *ending) {
	t.Helper()
	id := e.disturb(t, admin.Fault{
		Kind: admin.FaultHang, Method: http.MethodPut, Path: e.fqn + ".*" + writePath, UserAgent: "sidecar",
	})
	e.disturbed = append(e.disturbed, func(request admin.Request) bool {
		return request.Fault == id && strings.Contains(request.Body, `"`+string(omapi.StateFailed)+`"`)
	})
	e.shown = func(ctx context.Context) bool {
		pods, err := e.Kube.CoreV1().Pods(e.namespace).List(ctx, e.selector())
		return err == nil && slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
			return slices.ContainsFunc(statuses(&pod), func(status corev1.ContainerStatus) bool {
				ended := status.State.Terminated
				return status.Name == identity.SidecarName && ended != nil && ended.ExitCode == 128+int32(syscall.SIGKILL)
			})
		})
	}
}

// reportAll reports by hand, four times at once, while sidecar and serve do; and once more when all is over.
func reportAll(t *testing.T, e *ending) {
	t.Helper()
	e.pod(t, func(pod *corev1.Pod) bool { _, ended := diagnostics.MainEnded(pod); return ended })
	if hookOnly() {
		return // There are no others.
	}
	diagnose := func() {
		var diagnosis k8sclient.Diagnosis
		assert.NoError(t, e.command.RunJSON(t.Context(), &diagnosis, "diagnose", e.runID, "--report"))
	}
	both(diagnose, diagnose, diagnose, diagnose)
	e.await(t, e.fqn, e.runID, omapi.PipelineState.Terminal)
	diagnose()
}

// breakConfiguration adds what the workflow's schema refuses.
func breakConfiguration(t *testing.T, e *ending) {
	t.Helper()
	e.changeConfiguration(t, func(config string) string { return strings.Replace(config, "{", `{"noSuchField": 1,`, 1) })
}

// cutConfiguration leaves the half of it, as an editor that was killed may.
func cutConfiguration(t *testing.T, e *ending) {
	t.Helper()
	e.changeConfiguration(t, func(config string) string { return config[:len(config)/2] })
}

func (e *ending) changeConfiguration(t *testing.T, change func(string) string) {
	t.Helper()
	name := "om-config-" + e.name + "-metadata"
	configMaps := e.Kube.CoreV1().ConfigMaps(e.namespace)
	configMap, err := configMaps.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	configMap.Data["config"] = change(configMap.Data["config"])
	_, err = configMaps.Update(t.Context(), configMap, metav1.UpdateOptions{})
	require.NoError(t, err)
}

func refuseWorkflow(t *testing.T, e *ending) {
	t.Helper()
	e.disturb(t, admin.Fault{
		Kind: admin.FaultStatus, Status: 500, Method: "PUT", Path: e.fqn + ".*" + writePath, UserAgent: harness.Workflows,
	})
}
