package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// writeConfigs writes the components' configuration files.
func writeConfigs(cfg *Config) error {
	cniDir := filepath.Join(cfg.dir.Config(), "cni")
	if err := os.MkdirAll(cniDir, 0o700); err != nil {
		return fmt.Errorf("making a configuration directory: %w", err)
	}
	for path, render := range map[string]func(*Config) ([]byte, error){
		filepath.Join(cfg.dir.Config(), "containerd.toml"): containerdConfig,
		filepath.Join(cfg.dir.Config(), "kubelet.yaml"):    kubeletConfig,
		filepath.Join(cniDir, "10-bridge.conflist"):        cniConfig,
	} {
		data, err := render(cfg)
		if err != nil {
			return fmt.Errorf("rendering %s: %w", filepath.Base(path), err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return fmt.Errorf("writing a configuration file: %w", err)
		}
	}
	return nil
}

// containerdTemplate is a version 2 configuration, which containerd 1.6 reads
// and 2.x migrates by itself.
const containerdTemplate = `version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.nri.v1.nri",
]

[grpc]
  address = {{quote .Socket}}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {{quote .Pause}}
  disable_tcp_service = true
  restrict_oom_score_adj = {{.RestrictOOMScore}}

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {{quote .CNIBin}}
    conf_dir = {{quote .CNIConf}}

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = {{quote .Snapshotter}}
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = {{quote .Runc}}
        SystemdCgroup = false
`

func containerdConfig(cfg *Config) ([]byte, error) {
	// A JSON string is a TOML basic string.
	quote := func(s string) (string, error) {
		data, err := json.Marshal(s)
		return string(data), err
	}
	parsed, err := template.New("containerd.toml").Funcs(template.FuncMap{"quote": quote}).Parse(containerdTemplate)
	if err != nil {
		return nil, fmt.Errorf("parsing the template: %w", err)
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, map[string]any{
		"Socket":           ContainerdSocket,
		"Pause":            PauseImage,
		"RestrictOOMScore": cfg.RestrictOOMScore,
		"CNIBin":           cfg.CNIBin,
		"CNIConf":          filepath.Join(cfg.dir.Config(), "cni"),
		"Snapshotter":      cfg.Snapshotter,
		"Runc":             cfg.Runc,
	})
	if err != nil {
		return nil, fmt.Errorf("filling the template: %w", err)
	}
	return out.Bytes(), nil
}

func cniConfig(*Config) ([]byte, error) {
	type object = map[string]any
	data, err := json.MarshalIndent(object{
		"cniVersion": "0.4.0",
		"name":       "pipelinectl-cluster",
		"plugins": []object{{
			"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
			"ipam": object{
				"type":   "host-local",
				"ranges": [][]object{{{"subnet": podSubnet}}},
				// No default route: then a pod is told at once that an address cannot be
				// reached. The node's answers would come once a second only.
				"routes": []object{{"dst": nodeRange}, {"dst": serviceRange}},
			},
		}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return data, nil
}

func kubeletConfig(cfg *Config) ([]byte, error) {
	pki := cfg.dir.PKI()
	config := kubelet.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: kubelet.SchemeGroupVersion.String(), Kind: "KubeletConfiguration"},
		Authentication: kubelet.KubeletAuthentication{
			Anonymous: kubelet.KubeletAnonymousAuthentication{Enabled: new(false)},
			Webhook:   kubelet.KubeletWebhookAuthentication{Enabled: new(true)},
			X509:      kubelet.KubeletX509Authentication{ClientCAFile: filepath.Join(pki, "ca.crt")},
		},
		Authorization:     kubelet.KubeletAuthorization{Mode: kubelet.KubeletAuthorizationModeWebhook},
		Address:           NodeIP,
		TLSCertFile:       filepath.Join(pki, "kubelet.crt"),
		TLSPrivateKeyFile: filepath.Join(pki, "kubelet.key"),

		CgroupDriver:           "cgroupfs",
		CgroupRoot:             "/" + cfg.dir.CgroupName(),
		EnforceNodeAllocatable: []string{"pods"},
		FailCgroupV1:           new(false),
		FailSwapOn:             new(false),

		ContainerRuntimeEndpoint: "unix://" + ContainerdSocket,
		// Without kube-proxy nothing needs the kubelet's packet filter chains.
		MakeIPTablesUtilChains: new(false),
		ResolverConfig:         new(""),
		VolumePluginDir:        "/var/lib/kubelet/volumeplugins",

		// A test's images stay, and a rather full disk is no reason to evict.
		ImageGCHighThresholdPercent: new(int32(100)),
		EvictionHard: map[string]string{
			"memory.available":   "50Mi",
			"nodefs.available":   "1%",
			"nodefs.inodesFree":  "1%",
			"imagefs.available":  "1%",
			"imagefs.inodesFree": "1%",
		},

		// The loss of the node is to be noticed soon; see the controller
		// manager's grace period.
		NodeStatusUpdateFrequency: metav1.Duration{Duration: 2 * time.Second},
		NodeLeaseDurationSeconds:  8,
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return data, nil
}
