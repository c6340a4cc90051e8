package artifacts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	artifacts "github.com/pipelinectl/pipelinectl/test/cluster"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/cgroup"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/image"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/poll"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

const (
	testImage = "example.local/job:1"
	// patience bounds each wait, against hanging only.
	patience = 5 * time.Minute
)

// bench is a cluster of its own, driven through the command as a user does it.
type bench struct {
	t       *testing.T
	program string
	dir     state.Dir
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: a cluster is not for -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a cluster needs root; nothing of it was tested")
	}
	build(t, "./build.sh")
	bin, err := filepath.Abs("bin")
	require.NoError(t, err)
	// A known place: what a test leaves that was killed, the next one takes down, as does test/integration.sh.
	dir, err := state.Open(filepath.Join(bin, "test-state"))
	require.NoError(t, err)
	b := &bench{t: t, program: filepath.Join(bin, "cluster"), dir: dir}
	b.down()
	require.NoError(t, os.RemoveAll(dir.Root()))
	t.Cleanup(b.down)
	return b
}

// down ends the cluster, if there is one. It is also for clean-ups, when the test's context has ended.
func (b *bench) down() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := b.command(ctx, "down").CombinedOutput()
	require.NoError(b.t, err, "cluster down\n%s", out)
}

func build(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // The first build takes minutes.
	require.NoError(t, cmd.Run())
}

func (b *bench) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Env = append(os.Environ(), "PIPELINECTL_CLUSTER_STATE="+b.dir.Root())
	cmd.WaitDelay = patience
	return cmd
}

// run runs the command, which must end well, and returns its output.
func (b *bench) run(args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*patience)
	defer cancel()
	begin := time.Now()
	out, err := b.command(ctx, args...).CombinedOutput()
	require.NoError(b.t, err, "cluster %s\n%s", strings.Join(args, " "), out)
	b.t.Logf("cluster %s: %.1f s\n%s", strings.Join(args, " "), time.Since(begin).Seconds(), out)
	return string(out)
}

// fails runs the command, which must fail, and returns its output.
func (b *bench) fails(args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*patience)
	defer cancel()
	out, err := b.command(ctx, args...).CombinedOutput()
	require.NoError(b.t, ctx.Err(), "cluster %s\n%s", strings.Join(args, " "), out)
	var exit *exec.ExitError
	require.ErrorAs(b.t, err, &exit, "cluster %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

func (b *bench) client() kubernetes.Interface {
	b.t.Helper()
	path := strings.TrimSpace(b.run("kubeconfig"))
	config, err := clientcmd.BuildConfigFromFlags("", path)
	require.NoError(b.t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(b.t, err)
	return client
}

// until waits for a condition of the cluster.
func (b *bench) until(what string, check func(context.Context) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	begin := time.Now()
	require.NoError(b.t, poll.Until(ctx, 100*time.Millisecond, what, check))
	b.t.Logf("%s: %.1f s", what, time.Since(begin).Seconds())
}

// host is what a cluster must leave as it was.
type host struct {
	mounts      []string
	interfaces  []string
	sysctls     map[string]string
	files       []string
	controllers []string // Of cgroup version 2, without those that a cluster enables and leaves.
}

// new returns what is there and was not before. Others on the machine also mount things and make interfaces.
func (h host) new(before host) error {
	for name, lists := range map[string][2][]string{
		"mount": {before.mounts, h.mounts}, "interface": {before.interfaces, h.interfaces},
		"file": {before.files, h.files}, "cgroup controller": {before.controllers, h.controllers},
	} {
		for _, one := range lists[1] {
			if !slices.Contains(lists[0], one) {
				return fmt.Errorf("%s: %s", name, one)
			}
		}
	}
	return nil
}

func hostState(t *testing.T) host {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	h := host{mounts: strings.Split(strings.TrimSpace(string(mounts)), "\n"), sysctls: map[string]string{}}
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, link := range links {
		h.interfaces = append(h.interfaces, link.Name)
	}
	// What a kubelet changes on its machine.
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		require.NoError(t, err)
		h.sysctls[name] = string(value)
	}
	for _, path := range []string{
		"/var/lib/kubelet", "/var/lib/cni", "/var/lib/etcd", "/var/log/pods", "/var/log/containers", "/run/netns",
		"/run/containerd", "/etc/cni", "/opt/cni", "/usr/libexec/kubernetes", "/run/pipelinectl-cluster.sock",
	} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			h.files = append(h.files, path)
		}
	}
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(t, err)
	for _, one := range hierarchies {
		enabled, err := os.ReadFile(filepath.Join(one.Mount, "cgroup.subtree_control"))
		if !one.V2 || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		for controller := range strings.FieldsSeq(string(enabled)) {
			if !slices.Contains(cgroup.Controllers(), controller) {
				h.controllers = append(h.controllers, controller)
			}
		}
	}
	return h
}

// identity returns who the supervisor is, as soon as that is recorded.
func (b *bench) identity() state.Identity {
	b.t.Helper()
	var id state.Identity
	b.until("the supervisor is recorded", func(context.Context) (err error) {
		id, err = b.dir.Identity()
		return err
	})
	return id
}

// nothingLeft asserts that nothing of the cluster is left on the machine.
func (b *bench) nothingLeft(before host, id state.Identity) {
	b.t.Helper()
	// What others make goes again, if one waits.
	b.until("nothing new is left", func(context.Context) error { return hostState(b.t).new(before) })
	assert.Equal(b.t, before.sysctls, hostState(b.t).sysctls)
	assert.False(b.t, id.Alive())
	assert.Empty(b.t, b.processes(func(_, environment string) bool {
		return strings.Contains(environment, b.dir.Run())
	}), "processes that the supervisor has started")
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(b.t, err)
	assert.Empty(b.t, cgroup.Existing(hierarchies, b.dir.CgroupName()))
	assert.NoDirExists(b.t, b.dir.Run())
	assert.NoFileExists(b.t, b.dir.Kubeconfig())
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(b.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", id.Port))
	if err == nil {
		_ = conn.Close()
	}
	assert.Error(b.t, err, "the port is still served")
}

// processes returns the processes with such a command line and environment.
func (b *bench) processes(match func(cmdline, environment string) bool) []int {
	b.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(b.t, err)
	var found []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		require.NoError(b.t, err)
		cmdline, cmdErr := os.ReadFile(filepath.Join(dir, "cmdline"))
		environment, envErr := os.ReadFile(filepath.Join(dir, "environ"))
		if cmdErr == nil && envErr == nil && match(string(cmdline), string(environment)) {
			found = append(found, pid)
		}
	}
	return found
}

func job(name string, args ...string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.JobSpec{BackoffLimit: new(int32(0)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: new(int64(2)),
			Containers: []corev1.Container{{
				Name: "main", Image: testImage, Args: args, ImagePullPolicy: corev1.PullNever,
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
			}},
		}}},
	}
}

func (b *bench) pod(ctx context.Context, client kubernetes.Interface, job string) (*corev1.Pod, error) {
	pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("%d pods", len(pods.Items))
	}
	return &pods.Items[0], nil
}

func TestClusterLife(t *testing.T) {
	b := newBench(t)
	before := hostState(t)
	begin := time.Now()
	b.run("up", "--port=0")
	id := b.identity()
	assert.Contains(t, b.run("up"), "already up")
	b.run("status")

	program, archive := filepath.Join(t.TempDir(), "job"), filepath.Join(t.TempDir(), "job.tar")
	build(t, "go", "build", "-trimpath", "-o", program, "./testdata/job")
	require.NoError(t, image.Pack(program, archive, testImage))
	assert.Contains(t, b.run("load", archive), testImage)
	assert.Contains(t, b.fails("load", program), "not an image archive")

	client := b.client()
	b.completes(client)
	t.Logf("nothing to the first Job complete, with building its image: %.1f s", time.Since(begin).Seconds())
	b.failsToPull(client)
	b.losesItsNode(client)
	assert.Contains(t, b.run("exec", "--", "cat", "/etc/hostname", "/proc/1/comm"), "cluster")
	assert.Equal(t, before.sysctls["vm/overcommit_memory"], hostState(t).sysctls["vm/overcommit_memory"], "while it runs, too")

	b.run("down")
	b.nothingLeft(before, id)
	b.run("down")
	assert.Contains(t, b.fails("status"), "not running")
}

// completes runs a Job that talks to the API server.
func (b *bench) completes(client kubernetes.Interface) {
	b.t.Helper()
	ctx := b.t.Context()
	_, err := client.BatchV1().Jobs("default").Create(ctx, job("first"), metav1.CreateOptions{})
	require.NoError(b.t, err)
	b.until("a Job completes", func(ctx context.Context) error {
		got, err := client.BatchV1().Jobs("default").Get(ctx, "first", metav1.GetOptions{})
		if err == nil && got.Status.Succeeded != 1 {
			err = fmt.Errorf("status: %v", got.Status)
		}
		return err
	})
	pod, err := b.pod(ctx, client, "first")
	require.NoError(b.t, err)
	assert.Equal(b.t, supervisor.NodeName, pod.Spec.NodeName)
	log, err := client.CoreV1().Pods("default").GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	require.NoError(b.t, err)
	var version struct {
		GitVersion string `json:"gitVersion"`
	}
	require.NoError(b.t, json.Unmarshal(log, &version), "the log: %s", log)
	assert.Equal(b.t, artifacts.KubernetesVersion(), version.GitVersion)
}

// failsToPull expects the failure of a pull to be told at once.
func (b *bench) failsToPull(client kubernetes.Interface) {
	b.t.Helper()
	unknown := job("unknown")
	unknown.Spec.Template.Spec.Containers[0].Image = "registry.example/none:1"
	unknown.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
	_, err := client.BatchV1().Jobs("default").Create(b.t.Context(), unknown, metav1.CreateOptions{})
	require.NoError(b.t, err)
	b.until("a pull fails", func(ctx context.Context) error {
		pod, err := b.pod(ctx, client, "unknown")
		if err != nil {
			return err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if waiting := status.State.Waiting; waiting != nil && strings.Contains(waiting.Reason, "ImagePull") {
				return nil
			}
		}
		return fmt.Errorf("status: %v", pod.Status.ContainerStatuses)
	})
}

// losesItsNode expects the loss of the node to be noticed, and its return.
func (b *bench) losesItsNode(client kubernetes.Interface) {
	b.t.Helper()
	lost := job("lost", "wait")
	// The default of five minutes is longer than a test would wait.
	lost.Spec.Template.Spec.Tolerations = []corev1.Toleration{
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(5))},
	}
	_, err := client.BatchV1().Jobs("default").Create(b.t.Context(), lost, metav1.CreateOptions{})
	require.NoError(b.t, err)
	b.until("a pod runs", func(ctx context.Context) error {
		pod, err := b.pod(ctx, client, "lost")
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("phase %s", pod.Status.Phase)
		}
		return err
	})
	b.run("node", "stop", "--kill")
	assert.Contains(b.t, b.fails("status"), "kubelet is stopped")
	b.until("the node's loss is noticed and its pod marked", func(ctx context.Context) error {
		pod, err := b.pod(ctx, client, "lost")
		if err == nil && pod.DeletionTimestamp == nil {
			err = errors.New("not deleted yet")
		}
		return err
	})
	b.run("node", "start")
	b.run("status")
	b.until("the lost pod's Job fails", func(ctx context.Context) error {
		got, err := client.BatchV1().Jobs("default").Get(ctx, "lost", metav1.GetOptions{})
		if err == nil && got.Status.Failed != 1 {
			err = fmt.Errorf("status: %v", got.Status)
		}
		return err
	})
}

// kill ends a process as a crash does.
func (b *bench) kill(pid int) {
	b.t.Helper()
	process, err := os.FindProcess(pid)
	require.NoError(b.t, err)
	require.NoError(b.t, process.Kill())
}

func TestClusterCrashes(t *testing.T) {
	b := newBench(t)
	before := hostState(t)

	b.run("up", "--port=0")
	crashed := b.identity()
	b.kill(crashed.PID)
	b.until("the supervisor is gone", func(context.Context) error {
		if crashed.Alive() {
			return errors.New("still there")
		}
		return nil
	})
	assert.Contains(t, b.fails("status"), "has ended")
	b.run("down")
	b.nothingLeft(before, crashed)

	// A crashed predecessor is no hindrance.
	b.run("up", "--port=0")
	crashed = b.identity()
	b.kill(crashed.PID)
	b.run("up", "--port=0")
	second := b.identity()
	assert.NotEqual(t, crashed.PID, second.PID)
	b.run("down")
	b.nothingLeft(before, second)

	// The command is killed half way: down ends what it had started, and another
	// up takes it over.
	for _, next := range []string{"down", "up"} {
		var out bytes.Buffer
		up := b.command(t.Context(), "up", "--port=0")
		up.Stdout, up.Stderr = &out, &out
		require.NoError(t, up.Start())
		id := b.identity()
		require.NoError(t, up.Process.Kill(), out.String())
		require.Error(t, up.Wait())
		b.run(next)
		if next == "up" {
			assert.Equal(t, id.PID, b.identity().PID)
			b.run("down")
		}
		b.nothingLeft(before, id)
	}
}

func TestClusterComponentDies(t *testing.T) {
	b := newBench(t)
	before := hostState(t)
	// A binary that is Kubernetes but for one broken component.
	broken := filepath.Join(t.TempDir(), "broken")
	whole := strings.TrimSpace(b.run("artifact"))
	script := "#!/bin/sh\nif [ \"$1\" = kube-scheduler ]; then echo 'I am broken'; exit 7; fi\nexec '" + whole + "' \"$@\"\n"
	require.NoError(t, os.WriteFile(broken, []byte(script), 0o700))
	pause, err := os.ReadFile(whole + artifacts.PauseSuffix)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(broken+artifacts.PauseSuffix, pause, 0o700))

	out := b.fails("--bin="+broken, "up", "--port=0")
	for _, want := range []string{"kube-scheduler", "exit status 7", "I am broken"} {
		assert.Contains(t, out, want)
	}
	assert.Contains(t, b.fails("status"), "not running", "a failed start leaves nothing running")
	assert.Contains(t, b.run("logs", "kube-scheduler"), "I am broken", "but the logs")

	b.run("up", "--port=0")
	id := b.identity()
	schedulers := b.processes(func(cmdline, environment string) bool {
		return strings.Contains(cmdline, "\x00kube-scheduler\x00") && strings.Contains(environment, b.dir.Run())
	})
	require.Len(t, schedulers, 1)
	b.kill(schedulers[0])
	b.until("the death is shown", func(ctx context.Context) error {
		out, err := b.command(ctx, "status").CombinedOutput()
		if err == nil {
			return errors.New("healthy")
		}
		if !strings.Contains(string(out), "kube-scheduler ended by itself: killed by signal killed") {
			return fmt.Errorf("status: %s", out)
		}
		return nil
	})
	assert.Contains(t, b.fails("up"), "not healthy")
	b.run("down")
	b.nothingLeft(before, id)
}
