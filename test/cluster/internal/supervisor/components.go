package supervisor

import "path/filepath"

// The components' names, which are also the names of their logs.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	containerd        = "containerd"
	kubeletName       = "kubelet"
	etcdURL           = "http://127.0.0.1:2379"
)

// Components returns the names of all components.
func Components() []string {
	return []string{etcd, apiServer, controllerManager, scheduler, containerd, kubeletName}
}

// components returns how each component is started.
func components(cfg *Config) map[string]command {
	pki := func(file string) string { return filepath.Join(cfg.dir.PKI(), file) }
	kubeconfig := func(user string) string { return filepath.Join(cfg.dir.Config(), user+".kubeconfig") }
	commands := map[string]command{}
	add := func(name string, args ...string) {
		commands[name] = command{name: name, path: cfg.Binary, args: append([]string{name}, args...)}
	}
	add(etcd,
		"--data-dir=/var/lib/etcd",
		"--unsafe-no-fsync", // Nothing is to survive the machine.
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380",
		"--log-level=warn")
	add(apiServer,
		"--etcd-servers="+etcdURL,
		"--bind-address=0.0.0.0", "--secure-port="+apiPort,
		"--advertise-address="+NodeIP, "--endpoint-reconciler-type=none",
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--client-ca-file="+pki("ca.crt"),
		"--requestheader-client-ca-file="+pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+pki("sa.pub"), "--service-account-signing-key-file="+pki("sa.key"),
		"--service-cluster-ip-range="+serviceRange,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
		"--kubelet-client-certificate="+pki("apiserver-kubelet.crt"), "--kubelet-client-key="+pki("apiserver-kubelet.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP")
	add(controllerManager,
		"--kubeconfig="+kubeconfig("controller-manager"),
		"--authentication-kubeconfig="+kubeconfig("controller-manager"),
		"--authorization-kubeconfig="+kubeconfig("controller-manager"),
		"--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false",
		"--tls-cert-file="+pki("controller-manager.crt"), "--tls-private-key-file="+pki("controller-manager.key"),
		"--use-service-account-credentials",
		"--service-account-private-key-file="+pki("sa.key"), "--root-ca-file="+pki("ca.crt"),
		"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
		"--allocate-node-cidrs=false", "--flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins",
		// With the default limits the first ServiceAccount takes 8 s.
		"--kube-api-qps=500", "--kube-api-burst=500",
		"--node-monitor-period=1s", "--node-monitor-grace-period=10s", "--node-startup-grace-period=20s")
	add(scheduler,
		"--kubeconfig="+kubeconfig("scheduler"),
		"--authentication-kubeconfig="+kubeconfig("scheduler"),
		"--authorization-kubeconfig="+kubeconfig("scheduler"),
		"--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false",
		"--tls-cert-file="+pki("scheduler.crt"), "--tls-private-key-file="+pki("scheduler.key"))
	add(kubeletName,
		"--config="+filepath.Join(cfg.dir.Config(), "kubelet.yaml"),
		"--kubeconfig="+kubeconfig("kubelet"),
		"--hostname-override="+NodeName, "--node-ip="+NodeIP)
	commands[containerd] = command{
		name: containerd, path: cfg.Containerd,
		args: []string{"--config", filepath.Join(cfg.dir.Config(), "containerd.toml")},
	}
	return commands
}
