package diagnostics

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

func TestRunContainers(t *testing.T) {
	t.Parallel()
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(2)}}
	ended := func(code int32) corev1.ContainerState { return terminated("", code, "", "").State }
	type states map[string]corev1.ContainerState
	cases := map[string]struct {
		reason string
		// spec are the containers of the pod, state what the kubelet says of them.
		spec        []string
		state       states
		annotations map[string]string
		injected    []string
		inTheWay    []string
		// code is how the run's container ended; -1: it has not.
		code    int32
		started bool
	}{
		"Alone":           {reason: "nothing was injected", spec: []string{"ingestion"}, state: states{"ingestion": ended(0)}, started: true},
		"InFront":         {reason: "Istio puts its proxy first", spec: []string{"istio-proxy", "ingestion"}, state: states{"istio-proxy": runs, "ingestion": ended(3)}, injected: []string{"istio-proxy"}, inTheWay: []string{"istio-proxy"}, code: 3, started: true},
		"Behind":          {reason: "others put theirs last", spec: []string{"ingestion", "vault-agent"}, state: states{"vault-agent": runs, "ingestion": ended(0)}, injected: []string{"vault-agent"}, inTheWay: []string{"vault-agent"}, started: true},
		"Several":         {reason: "each is named", spec: []string{"a", "ingestion", "b", "c"}, state: states{"a": runs, "ingestion": ended(0), "b": ended(0), "c": {}}, injected: []string{"a", "b", "c"}, inTheWay: []string{"a", "c"}, started: true},
		"Running":         {reason: "nothing is in the way of what has not ended", spec: []string{"istio-proxy", "ingestion"}, state: states{"istio-proxy": runs, "ingestion": runs}, injected: []string{"istio-proxy"}, code: -1, started: true},
		"ProxyEndedFirst": {reason: "a proxy that ends is not the run's end", spec: []string{"istio-proxy", "ingestion"}, state: states{"istio-proxy": ended(1), "ingestion": runs}, injected: []string{"istio-proxy"}, code: -1, started: true},
		"Untold":          {reason: "the kubelet has told of the proxy only", spec: []string{"istio-proxy", "ingestion"}, state: states{"istio-proxy": ended(0)}, injected: []string{"istio-proxy"}, code: -1},
		"Operator":        {reason: "pods of OpenMetadata's operator", spec: []string{"istio-proxy", "main"}, state: states{"istio-proxy": runs, "main": ended(0)}, injected: []string{"istio-proxy"}, inTheWay: []string{"istio-proxy"}, started: true},
		"Annotated":       {reason: "the pod says which is its own", spec: []string{"proxy", "job"}, annotations: map[string]string{"kubectl.kubernetes.io/default-container": "job"}, state: states{"proxy": runs, "job": ended(1)}, injected: []string{"proxy"}, inTheWay: []string{"proxy"}, code: 1, started: true},
		"Stranger":        {reason: "nobody knows which is which: all count", spec: []string{"a", "b"}, state: states{"a": ended(0), "b": ended(2)}, code: 2, started: true},
		"StrangerRuns":    {reason: "all count", spec: []string{"a", "b"}, state: states{"a": ended(0), "b": runs}, code: -1, started: true},
		"Nothing":         {reason: "a pod that no kubelet has", spec: []string{"ingestion"}, code: -1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newPodObject("p", 1)
			pod.Annotations = tc.annotations
			for _, container := range tc.spec {
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: container})
				if state, ok := tc.state[container]; ok {
					pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: container, State: state})
				}
			}
			assert.ElementsMatch(t, tc.injected, Injected(&pod), tc.reason)
			assert.ElementsMatch(t, tc.inTheWay, InTheWay(&pod), tc.reason)
			main, hasEnded := MainEnded(&pod)
			assert.Equal(t, tc.code >= 0, hasEnded, tc.reason)
			if hasEnded {
				assert.Equal(t, tc.code, main.ExitCode, tc.reason)
			}
			assert.Equal(t, tc.started, !MainStarted(&pod).IsZero(), tc.reason)
		})
	}
}
