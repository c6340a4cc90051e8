package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/supervisor"
)

// programDirs is where programs are looked for, whatever the caller's PATH is.
func programDirs() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// cniDirs is where Debian, the CNI project, and Fedora put the plugins.
func cniDirs() []string {
	return []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}
}

// requirements finds what the cluster needs from the machine.
func (c *Cluster) requirements() (supervisor.Config, error) {
	none := supervisor.Config{}
	if os.Geteuid() != 0 {
		return none, errors.New("a kubelet needs root: run this command as root")
	}
	if _, err := os.Stat(c.Binary); err != nil {
		return none, fmt.Errorf("the Kubernetes binary is not built: run test/cluster/build.sh: %w", err)
	}
	binary, err := filepath.EvalSymlinks(c.Binary)
	if err != nil {
		return none, fmt.Errorf("finding the Kubernetes binary: %w", err)
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return none, fmt.Errorf("finding the Kubernetes binary: %w", err)
	}
	cfg := supervisor.Config{StateDir: c.Dir.Root(), Binary: binary, Path: programDirs()}
	if err := findPrograms(&cfg, programDirs(), cniDirs()); err != nil {
		return none, err
	}
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		return none, fmt.Errorf("the kubelet reads the kernel's log: %w (in a container, pass the device in)", err)
	}
	if cfg.RestrictOOMScore, err = lacksResourceCapability(); err != nil {
		return none, err
	}
	cfg.Snapshotter, err = snapshotter(c.Dir.Root())
	return cfg, err
}

// findPrograms sets the paths of the programs, or says what is missing.
func findPrograms(cfg *supervisor.Config, dirs, cni []string) error {
	var missing, packages []string
	want := func(dirs []string, file, pkg string) string {
		for _, dir := range dirs {
			path := filepath.Join(dir, file)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, err.Error())
			}
		}
		missing = append(missing, file)
		if !slices.Contains(packages, pkg) {
			packages = append(packages, pkg)
		}
		return ""
	}
	cfg.Containerd = want(dirs, "containerd", "containerd")
	cfg.Ctr = want(dirs, "ctr", "containerd")
	_ = want(dirs, "containerd-shim-runc-v2", "containerd")
	cfg.Runc = want(dirs, "runc", "runc")
	bridge := want(cni, "bridge", "containernetworking-plugins")
	cfg.CNIBin = filepath.Dir(bridge)
	if bridge != "" {
		for _, plugin := range []string{"host-local", "loopback"} {
			_ = want([]string{cfg.CNIBin}, plugin, "containernetworking-plugins")
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s; `make cluster-build` installs it, or: apt-get install -y --no-install-recommends %s",
			strings.Join(missing, ", "), strings.Join(packages, " "))
	}
	return nil
}

// lacksResourceCapability tells whether even root may not lower a process's OOM
// score here, as in many containers.
func lacksResourceCapability() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	return data[unix.CAP_SYS_RESOURCE/32].Effective&(1<<(unix.CAP_SYS_RESOURCE%32)) == 0, nil
}

// snapshotter returns which of containerd's ways to keep images works on dir's
// file system: an overlay cannot lie on an overlay.
func snapshotter(dir string) (string, error) {
	var fsys unix.Statfs_t
	if err := unix.Statfs(dir, &fsys); err != nil {
		return "", fmt.Errorf("looking at the file system of %s: %w", dir, err)
	}
	if fsys.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native", nil
	}
	return "overlayfs", nil
}
