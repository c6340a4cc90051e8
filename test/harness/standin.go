package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	standInName  = "openmetadata"
	standInImage = "pipelinectl.local/openmetadata-stand-in:dev"
	apiPort      = 8585
	adminPort    = 8586
	startTimeout = 5 * time.Minute
)

// StandIn is an OpenMetadata stand-in that runs as a pod.
type StandIn struct {
	// PodURL is its address as the cluster's pods reach it, URL as this process does; both with /api.
	PodURL, URL string
	// Page is the address of its page, as this machine's browser reaches it.
	Page  string
	Admin *admin.Client
	// Token is the ingestion bot's.
	Token string
	// Lost gets the reason where the connection breaks before the context ends.
	Lost <-chan error
}

// StartStandIn starts a stand-in in a namespace and forwards its ports to this process until the context ends. A port of
// 0 is any that is free.
func (c *Cluster) StartStandIn(ctx context.Context, namespace string, localPort int) (*StandIn, error) {
	if err := c.runStandIn(ctx, namespace); err != nil {
		return nil, err
	}
	return c.ConnectStandIn(ctx, namespace, localPort)
}

// ConnectStandIn is StartStandIn for one that runs.
func (c *Cluster) ConnectStandIn(ctx context.Context, namespace string, localPort int) (*StandIn, error) {
	pod, err := c.readyStandIn(ctx, namespace)
	if err != nil {
		return nil, err
	}
	local, lost, err := c.forward(ctx, namespace, localPort)
	if err != nil {
		return nil, err
	}
	page := "http://127.0.0.1:" + strconv.Itoa(int(local[apiPort]))
	s := &StandIn{
		PodURL: "http://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(apiPort)) + "/api",
		URL:    page + "/api",
		Page:   page,
		Lost:   lost,
		Admin:  admin.NewClient("http://127.0.0.1:" + strconv.Itoa(int(local[adminPort]))),
	}
	if s.Token, err = s.Admin.Token(ctx, admin.TokenBot); err != nil {
		return nil, fmt.Errorf("ask the OpenMetadata stand-in for a token: %w", err)
	}
	return s, nil
}

// runStandIn starts the pod; one of an earlier run, in a namespace that is not emptied, goes first.
func (c *Cluster) runStandIn(ctx context.Context, namespace string) error {
	pods := c.Kube.CoreV1().Pods(namespace)
	now := int64(0)
	err := pods.Delete(ctx, standInName, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err == nil {
		err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
			_, err := pods.Get(ctx, standInName, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			return false, err
		})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("replace pod %s of namespace %s: %w", standInName, namespace, err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: standInName},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name:  standInName,
				Image: standInImage,
				Args:  []string{fmt.Sprintf("--listen=:%d", apiPort), fmt.Sprintf("--admin=:%d", adminPort)},
				ReadinessProbe: &corev1.Probe{
					PeriodSeconds: 1,
					ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(adminPort)}},
				},
			}},
		},
	}
	var refused error
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		_, refused = pods.Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsForbidden(refused) && strings.Contains(refused.Error(), "error looking up service account") {
			return false, nil // A new namespace gets its default one in a moment.
		}
		return true, nil
	})
	if err = errors.Join(err, refused); err != nil {
		return fmt.Errorf("start the OpenMetadata stand-in, pod %s of namespace %s: %w", standInName, namespace, err)
	}
	return nil
}

func (c *Cluster) readyStandIn(ctx context.Context, namespace string) (*corev1.Pod, error) {
	var pod *corev1.Pod
	err := wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		pod, err = c.Kube.CoreV1().Pods(namespace).Get(ctx, standInName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, fmt.Errorf("namespace %s has none; start it with make demo", namespace)
		}
		if err != nil {
			return false, err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if waiting := status.State.Waiting; waiting != nil && strings.Contains(waiting.Reason, "Image") {
				return false, fmt.Errorf("image %s cannot be had, load it: %s: %s", standInImage, waiting.Reason, waiting.Message)
			}
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady {
				return condition.Status == corev1.ConditionTrue, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the OpenMetadata stand-in does not become ready; see kubectl -n %s describe pod %s: %w", namespace, standInName, err)
	}
	return pod, nil
}

// forward gives the local port of each of the stand-in's ports.
func (c *Cluster) forward(ctx context.Context, namespace string, localPort int) (local map[uint16]uint16, lost <-chan error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	request := c.Kube.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(standInName).SubResource("portforward")
	roundTripper, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("forward ports to the OpenMetadata stand-in: %w", err)
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, request.URL())
	ready, failed := make(chan struct{}), make(chan error, 1)
	ports := []string{fmt.Sprintf("%d:%d", localPort, apiPort), fmt.Sprintf("0:%d", adminPort)}
	// One port that is taken is no error to the forwarder while it has another.
	var problems bytes.Buffer
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, ports, ctx.Done(), ready, io.Discard, &problems)
	if err != nil {
		return nil, nil, fmt.Errorf("forward ports to the OpenMetadata stand-in: %w", err)
	}
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
		if problems.Len() > 0 {
			return nil, nil, fmt.Errorf("forward ports to the OpenMetadata stand-in: %s; end what uses the port, maybe another make page", strings.TrimSpace(problems.String()))
		}
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("forward ports to the OpenMetadata stand-in: %w", context.Cause(ctx))
	case err := <-failed:
		return nil, nil, fmt.Errorf("forward ports to the OpenMetadata stand-in: %w", errors.Join(err, ctx.Err()))
	}
	forwarded, err := forwarder.GetPorts()
	if err != nil {
		return nil, nil, fmt.Errorf("forward ports to the OpenMetadata stand-in: %w", err)
	}
	local = map[uint16]uint16{}
	for _, port := range forwarded {
		local[port.Remote] = port.Local
	}
	return local, failed, nil
}
