package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/poll"
)

// stopNode kills the kubelet and containerd of the real node. The pods' processes
// go on, as on a node that has lost its network, unless all is true: then they
// are killed too, as by a loss of power.
func (s *supervisor) stopNode(ctx context.Context, all bool) error {
	s.nodeMu.Lock()
	defer s.nodeMu.Unlock()
	for _, name := range []string{kubeletName, containerd} {
		gone := s.children.kill(name)
		if gone == nil {
			continue
		}
		select {
		case <-gone.done:
		case <-ctx.Done():
			return fmt.Errorf("stopping the node: waiting for %s to end: %w", name, context.Cause(ctx))
		}
	}
	if !all {
		return nil
	}
	return poll.Until(ctx, 10*time.Millisecond, "the node's processes to end", func(context.Context) error {
		return s.killNodeProcesses()
	})
}

// killNodeProcesses kills every process of the namespace but the supervisor and
// the control plane, and returns an error if there was one.
func (s *supervisor) killNodeProcesses() error {
	controlPlane := []int{os.Getpid()}
	for _, one := range s.children.list() {
		if one.Running {
			controlPlane = append(controlPlane, one.PID)
		}
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return fmt.Errorf("listing processes: %w", err)
	}
	var errs []error
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || slices.Contains(controlPlane, pid) {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			continue
		}
		errs = append(errs, fmt.Errorf("process %d was still there", pid))
	}
	return errors.Join(errs...)
}

// startNode starts what stopNode stopped and waits until the node is Ready.
func (s *supervisor) startNode(ctx context.Context) error {
	s.nodeMu.Lock()
	defer s.nodeMu.Unlock()
	begin := time.Now()
	for _, name := range []string{containerd, kubeletName} {
		if old := s.children.get(name); old != nil && s.isRunning(name) {
			continue
		}
		if err := s.startComponent(name); err != nil {
			return err
		}
		if name == containerd {
			if err := s.waitContainerd(ctx); err != nil {
				return err
			}
		}
	}
	return s.waitNode(ctx, func(ctx context.Context) error { return s.leaseRenewed(ctx, begin) }, s.podsKnown)
}

// waitNode waits until the real node is Ready and takes pods, and each of checks
// passes.
func (s *supervisor) waitNode(ctx context.Context, checks ...func(context.Context) error) error {
	needs := []string{kubeletName, containerd, controllerManager, apiServer}
	return s.wait(ctx, kubeletName+" to make "+NodeName+" ready", needs, func(ctx context.Context) error {
		for _, check := range append(checks, s.nodeReady) {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *supervisor) nodeReady(ctx context.Context) error {
	node, err := s.client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return nodeUsable(node)
}

// leaseRenewed returns an error if the kubelet has not been heard of since begin:
// until its loss is noticed, a lost node still looks ready.
func (s *supervisor) leaseRenewed(ctx context.Context, begin time.Time) error {
	lease, err := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if renewed := lease.Spec.RenewTime; renewed == nil || renewed.Time.Before(begin) {
		return errors.New("the kubelet has not renewed its lease")
	}
	return nil
}

// podsKnown returns an error if the kubelet does not know all the pods that it is
// to run. Right after its start it denies their existence to whoever asks.
func (s *supervisor) podsKnown(ctx context.Context) error {
	bound, err := s.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + NodeName})
	if err != nil {
		return err
	}
	if len(bound.Items) == 0 {
		return nil
	}
	data, err := s.client.CoreV1().RESTClient().Get().Resource("nodes").Name(NodeName).SubResource("proxy").Suffix("pods").DoRaw(ctx)
	if err != nil {
		return err
	}
	var known corev1.PodList
	if err := json.Unmarshal(data, &known); err != nil {
		return fmt.Errorf("reading the kubelet's pods: %w", err)
	}
	for _, pod := range bound.Items {
		if !slices.ContainsFunc(known.Items, func(one corev1.Pod) bool { return one.UID == pod.UID }) {
			return fmt.Errorf("the kubelet does not know the pod %s/%s yet", pod.Namespace, pod.Name)
		}
	}
	return nil
}

func nodeUsable(node *corev1.Node) error {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("not ready: %s: %s", condition.Reason, condition.Message)
		}
	}
	if len(node.Status.Conditions) == 0 {
		return errors.New("no status yet")
	}
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
			return fmt.Errorf("has the taint %s", taint.ToString())
		}
	}
	return nil
}
