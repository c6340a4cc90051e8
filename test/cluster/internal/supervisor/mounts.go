package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountAll gives the namespace's processes directories of their own where they
// would otherwise see or write those of the host, or of another cluster on it.
func mountAll(cfg *Config) error {
	// Slave: the host's unmounts still reach the copies here, so that none of its
	// file systems is kept busy; nothing goes the other way.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("parting the mounts from the host's: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	hidden := existing("/run", "/var/run", "/var/lib", "/var/log")
	kept, err := keep(hidden, cfg.StateDir, filepath.Dir(cfg.Binary))
	if err != nil {
		return err
	}
	for _, target := range hidden {
		if err := hide(cfg, target); err != nil {
			return err
		}
	}
	for _, one := range kept {
		if err := one.restore(); err != nil {
			return err
		}
	}
	if err := pinSysctls(filepath.Join(cfg.dir.Config(), "sysctl")); err != nil {
		return err
	}
	if err := noDNS(cfg); err != nil {
		return err
	}
	// The kubelet wants mounts to reach its containers.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing the mounts with containers: %w", err)
	}
	return nil
}

// existing resolves links, and leaves out what does not exist and doubles.
func existing(paths ...string) []string {
	var found []string
	for _, path := range paths {
		resolved, err := filepath.EvalSymlinks(path)
		if err == nil && !slices.Contains(found, resolved) {
			found = append(found, resolved)
		}
	}
	return found
}

// hide mounts over target: memory for /run, as on any machine, else a directory
// of the cluster's run, because images and logs do not belong into memory.
func hide(cfg *Config, target string) error {
	if strings.HasSuffix(target, "/run") {
		if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mounting on %s: %w", target, err)
		}
		return nil
	}
	source := filepath.Join(cfg.dir.Run(), "root", target)
	if err := os.MkdirAll(source, 0o755); err != nil { //nolint:gosec // As on any machine: users of pods look inside.
		return fmt.Errorf("making %s: %w", source, err)
	}
	return bind(source, target)
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", source, target, err)
	}
	return nil
}

// keptDir is a directory that is needed although one above it is hidden.
type keptDir struct {
	path string
	file *os.File
}

func keep(hidden []string, paths ...string) ([]keptDir, error) {
	var kept []keptDir
	for _, path := range paths {
		resolved, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, fmt.Errorf("finding a directory: %w", err)
		}
		for _, above := range hidden {
			if !within(resolved, above) {
				continue
			}
			fd, err := unix.Open(resolved, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("opening %s: %w", resolved, err)
			}
			kept = append(kept, keptDir{path: resolved, file: os.NewFile(uintptr(fd), resolved)})
		}
	}
	return kept, nil
}

func within(path, above string) bool {
	return path == above || strings.HasPrefix(path, above+"/")
}

func (k keptDir) restore() error {
	defer func() { _ = k.file.Close() }()
	if err := os.MkdirAll(k.path, 0o755); err != nil { //nolint:gosec // Only the way to the directory, not itself.
		return fmt.Errorf("making %s: %w", k.path, err)
	}
	return bind("/proc/self/fd/"+strconv.Itoa(int(k.file.Fd())), k.path)
}

// pinSysctls shows the kubelet the values that it wants, so that it does not
// change those of the whole machine, which would stay changed.
// The values are those of k8s.io/component-helpers/node/util/sysctl.
func pinSysctls(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		source := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(source, []byte(value+"\n"), 0o600); err != nil {
			return fmt.Errorf("writing a kernel setting: %w", err)
		}
		if err := bind(source, target); err != nil {
			return err
		}
	}
	return nil
}

// noDNS lets a name lookup fail at once instead of waiting for servers that
// cannot be reached from here: nothing listens on the loopback address.
func noDNS(cfg *Config) error {
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return nil //nolint:nilerr // No file, or a link below /run that is hidden now: nothing to hide.
	}
	source := filepath.Join(cfg.dir.Config(), "resolv.conf")
	if err := os.WriteFile(source, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o600); err != nil {
		return fmt.Errorf("writing resolv.conf: %w", err)
	}
	return bind(source, target)
}
