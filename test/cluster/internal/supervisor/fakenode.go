package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationapply "k8s.io/client-go/applyconfigurations/coordination/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
)

const fakeNodeManager = "pipelinectl-cluster"

// keepFakeNode keeps a second node Ready until ctx ends. Nothing runs on it.
// When all nodes are lost, Kubernetes takes it for its own fault and evicts
// nothing; with this one the loss of the real node counts.
func keepFakeNode(ctx context.Context, client kubernetes.Interface, log *slog.Logger) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		if err := renewFakeNode(ctx, client); err != nil && ctx.Err() == nil {
			log.Warn("keeping the second node ready", "node", FakeNodeName, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func renewFakeNode(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	options := metav1.ApplyOptions{FieldManager: fakeNodeManager, Force: true}
	nodes := client.CoreV1().Nodes()
	// Created and not applied: applying the atomic list of taints again and again
	// would remove those of the controllers.
	_, err := nodes.Get(ctx, FakeNodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = nodes.Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: FakeNodeName},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "pipelinectl-cluster/fake", Effect: corev1.TaintEffectNoSchedule}}},
		}, metav1.CreateOptions{FieldManager: fakeNodeManager})
	}
	if err != nil {
		return fmt.Errorf("making the node: %w", err)
	}
	now := metav1.Now()
	status := coreapply.Node(FakeNodeName).WithStatus(coreapply.NodeStatus().
		WithNodeInfo(coreapply.NodeSystemInfo().WithKubeletVersion("fake")).
		WithConditions(coreapply.NodeCondition().
			WithType(corev1.NodeReady).WithStatus(corev1.ConditionTrue).
			WithReason("Fake").WithMessage("kept ready so that the loss of " + NodeName + " counts").
			WithLastHeartbeatTime(now)))
	if _, err := nodes.ApplyStatus(ctx, status, options); err != nil {
		return fmt.Errorf("renewing the node's status: %w", err)
	}
	lease := coordinationapply.Lease(FakeNodeName, corev1.NamespaceNodeLease).WithSpec(coordinationapply.LeaseSpec().
		WithHolderIdentity(FakeNodeName).WithLeaseDurationSeconds(8).WithRenewTime(metav1.NewMicroTime(now.Time)))
	if _, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Apply(ctx, lease, options); err != nil {
		return fmt.Errorf("renewing the node's lease: %w", err)
	}
	return nil
}
