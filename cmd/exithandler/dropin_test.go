package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipelinectl/pipelinectl/internal/omtest"
	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/report"
	"github.com/pipelinectl/pipelinectl/test/openmetadata"
)

// withoutJobs is a cluster of OpenMetadata's operator: it has pods, and no Job.
func withoutJobs(forbidden string, pods ...corev1.Pod) http.Handler {
	mux := http.NewServeMux()
	refuse := func(w http.ResponseWriter, err *apierrors.StatusError) {
		err.ErrStatus.Kind, err.ErrStatus.APIVersion = "Status", "v1"
		reply(w, int(err.ErrStatus.Code), &err.ErrStatus)
	}
	mux.HandleFunc("GET /api/v1/namespaces/pipelines/pods", func(w http.ResponseWriter, req *http.Request) {
		selector, err := labels.Parse(req.URL.Query().Get("labelSelector"))
		if err != nil || selector.Empty() {
			refuse(w, apierrors.NewBadRequest("a selector is wanted"))
			return
		}
		var list corev1.PodList
		for _, pod := range pods {
			if selector.Matches(labels.Set(pod.Labels)) {
				list.Items = append(list.Items, pod)
			}
		}
		reply(w, http.StatusOK, list)
	})
	mux.HandleFunc("GET /api/v1/namespaces/pipelines/pods/{pod}/log", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprintf(w, "log of container %s of %s\n", req.URL.Query().Get("container"), req.PathValue("pod"))
	})
	mux.HandleFunc("GET /api/v1/namespaces/pipelines/events", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, corev1.EventList{}) })
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, req.URL.Path))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if forbidden != "" && strings.Contains(req.URL.Path, forbidden) {
			refuse(w, apierrors.NewForbidden(schema.GroupResource{Resource: forbidden}, "", errors.New("no")))
			return
		}
		mux.ServeHTTP(w, req)
	})
}

// operatorPod is a pod as OpenMetadata's operator makes it of an OMJob.
func operatorPod(name, podType string, state corev1.ContainerState) corev1.Pod {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: "uid-of-pod",
			Labels: map[string]string{
				identity.LabelManagedBy: "openmetadata", identity.LabelPipeline: "nightly", identity.LabelRunID: testRunID,
				identity.LabelOMJob: testJob, identity.LabelPodType: podType,
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "pipelines.openmetadata.org/v1", Kind: "OMJob", Name: testJob, Controller: new(true)}},
		},
		Spec:   corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: state}}},
	}
	if end := state.Terminated; end != nil {
		pod.Status.Phase = corev1.PodSucceeded
		if end.ExitCode != 0 {
			pod.Status.Phase = corev1.PodFailed
		}
	}
	return pod
}

// TestInPlaceOfExitHandler: exithandler is called where exit_handler.py was, with its environment and its rights.
func TestInPlaceOfExitHandler(t *testing.T) {
	main, exit := testJob+"-main", testJob+"-exit"
	operators := []string{"podName=", "configSecret=", "HOSTNAME=" + exit}
	handling := operatorPod(exit, "exit-handler", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	unlabelled := operatorPod(main, "main", ended(1))
	unlabelled.Labels = map[string]string{identity.LabelRunID: testRunID}
	deleted := operatorPod(main, "main", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	deleted.DeletionTimestamp = new(metav1.Now())
	pulling := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}}
	cases := map[string]struct {
		reason    string
		pods      []corev1.Pod
		forbidden string
		more      []string
		before    omapi.PipelineState
		want      omapi.PipelineState
		cause     diagnostics.Category
		text      string
	}{
		"Failed": {
			reason: "the operator's main pod has failed", pods: []corev1.Pod{handling, operatorPod(main, "main", ended(1))}, more: []string{"pipelineStatus=failed"},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "log of container main of " + main,
		},
		"Succeeded": {reason: "and succeeded", pods: []corev1.Pod{handling, operatorPod(main, "main", ended(0))}, more: []string{"pipelineStatus=success"}, before: omapi.StateRunning, want: omapi.StateSuccess},
		"Hint":      {reason: "the pod saw how it ended", pods: []corev1.Pod{operatorPod(main, "main", ended(0))}, more: []string{"pipelineStatus=Failed"}, before: omapi.StateRunning, want: omapi.StateSuccess},
		"NoHint": {
			reason: "nobody tries again where there is no Job", pods: []corev1.Pod{operatorPod(main, "main", ended(137))},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "exit code 137",
		},
		"Reported": {reason: "the workflow's success was none", pods: []corev1.Pod{operatorPod(main, "main", ended(3))}, before: omapi.StateSuccess, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "the workflow reported success, but"},
		"Pulling":  {reason: "it never started", pods: []corev1.Pod{operatorPod(main, "main", pulling)}, more: []string{"pipelineStatus=failed"}, want: omapi.StateFailed, cause: diagnostics.CategoryImagePull, text: "no such image"},
		"RunID": {
			reason: "nothing but the run's id is known", pods: []corev1.Pod{unlabelled}, more: []string{"jobName=", "pipelineStatus=Failed"},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "log of container main",
		},
		"OtherName": {
			reason: "the Job of the name has no pods, the run's id has", pods: []corev1.Pod{unlabelled}, more: []string{"jobName=om-job-other"},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "log of container main",
		},
		"OnlyHandler": {
			reason: "the pod that handles the end is not the run's", pods: []corev1.Pod{handling}, more: []string{"pipelineStatus=failed"},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryUnknown, text: "has no pod",
		},
		"PreStop": {
			reason: "the preStop hook of a pod that is deleted", pods: []corev1.Pod{deleted}, more: []string{"pipelineStatus=Failed", "HOSTNAME=" + main},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryDeleted, text: "was deleted",
		},
		"NoEvents": {
			reason: "the right to list events is optional in upstream's Role", pods: []corev1.Pod{operatorPod(main, "main", ended(1))}, forbidden: "events",
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "cannot read the events",
		},
		"NoJobs": {
			reason: "Jobs may be forbidden where there are none", pods: []corev1.Pod{operatorPod(main, "main", ended(1))}, forbidden: "jobs",
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "log of container main",
		},
		"LongName": {
			reason: "a name that no label can have is not asked for", pods: []corev1.Pod{unlabelled}, more: []string{"jobName=" + strings.Repeat("x", 70)},
			before: omapi.StateRunning, want: omapi.StateFailed, cause: diagnostics.CategoryApplicationError, text: "log of container main",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inCluster(t, withoutJobs(tc.forbidden, tc.pods...))
			server := omtest.Start(t, openmetadata.Options{})
			server.Pipeline(t, "svc", "nightly")
			if tc.before != "" {
				record := &omapi.PipelineStatus{RunID: testRunID, State: tc.before, Timestamp: testTimestamp, StartDate: testTimestamp}
				if tc.before.Terminal() {
					record.EndDate = time.Now().Add(time.Hour).UnixMilli() // It is of this attempt.
				}
				require.NoError(t, server.Client(t).PutStatus(t.Context(), "svc.nightly", record))
			}
			// OpenMetadata's client gives the whole configuration in one variable.
			config := "config={workflowConfig: {openMetadataServerConfig: {hostPort: '" + server.URL + "', securityConfig: {jwtToken: '" + server.Token + "'}}}}"
			environ := append(variablesOf(server, server.Token, append(operators, tc.more...)...), config)
			result, log, err := reported(t, environ, patience)
			require.NoError(t, err, tc.reason)
			assert.Equal(t, report.Result{State: tc.want, Written: true}, result, "%s: %s", tc.reason, log)
			run := server.Run(t, "svc.nightly", testRunID)
			if tc.cause == "" {
				assert.Nil(t, run.Cause, tc.reason)
				return
			}
			require.NotNil(t, run.Cause, tc.reason)
			assert.Equal(t, string(tc.cause), run.Cause.Name, "%s: %s", tc.reason, run.Rows[0])
			assert.Contains(t, string(run.Rows[0]), tc.text, tc.reason)
			if tc.forbidden != "jobs" && tc.cause != diagnostics.CategoryUnknown {
				assert.NotContains(t, string(run.Rows[0]), "cannot read Job", "there is none to be read")
			}
		})
	}
}

// TestSidecarWithUpstreamsRole: it allows to read pods, not to watch them.
func TestSidecarWithUpstreamsRole(t *testing.T) {
	t.Parallel()
	server := omtest.Start(t, openmetadata.Options{})
	server.Pipeline(t, "svc", "nightly")
	api := newPodAPI(newJob(noRetries))
	reads := make(chan struct{}, 1)
	cluster := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Get("watch") != "" {
			select {
			case reads <- struct{}{}:
			default:
			}
			forbidding().ServeHTTP(w, req)
			return
		}
		api.mux.ServeHTTP(w, req)
	})
	cmd, out := command(t, append(variablesOf(server, server.Token), "KUBERNETES_SERVICE_HOST=", "KUBECONFIG="+kubeconfig(t, cluster)), "watch")
	require.NoError(t, cmd.Start())
	<-reads
	api.set(ended(139), nil)
	require.Eventually(t, func() bool {
		run := server.Run(t, "svc.nightly", testRunID)
		return run != nil && run.State == "failed" && run.Cause != nil
	}, patience, 10*time.Millisecond, "%s", out)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait() // The code says it.
	assert.Equal(t, exitOK, cmd.ProcessState.ExitCode(), out)
	assert.Equal(t, string(diagnostics.CategoryApplicationError), server.Run(t, "svc.nightly", testRunID).Cause.Name)
}

// TestScript: `python exit_handler.py` is exithandler.
func TestScript(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath(cmp.Or(os.Getenv("PYTHON"), "python3"))
	if err != nil {
		t.Skip("there is no Python")
	}
	script, err := filepath.Abs("exit_handler.py")
	require.NoError(t, err)
	program := func(folder, says string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, "exithandler"), []byte("#!/bin/sh\necho "+says+" \"$@\"\nexit 3\n"), 0o700))
	}
	beside, path := t.TempDir(), t.TempDir()
	program(beside, "beside")
	program(path, "path")
	data, err := os.ReadFile(script)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(beside, "exit_handler.py"), data, 0o600))
	for want, run := range map[string]string{"beside 1 two words\n": filepath.Join(beside, "exit_handler.py"), "path 1 two words\n": script} {
		cmd := exec.CommandContext(t.Context(), python, run, "1", "two words")
		cmd.Env = []string{"PATH=" + path + ":/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
		assert.Equal(t, 3, exit.ExitCode(), "the exit code is the program's")
		assert.Equal(t, want, string(out))
	}
}
