// Package state holds what a cluster leaves on disk: where its files are, which
// process is its supervisor, and the lock of the commands that change it.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dir is a cluster's state directory.
type Dir struct {
	root string
}

// Open returns the state directory at path, which need not exist.
func Open(path string) (Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Dir{}, fmt.Errorf("state directory %q: %w", path, err)
	}
	// The supervisor mounts over these: what lies below would be hidden, or
	// would be another kernel interface than a disk.
	for _, bad := range []string{"/proc", "/sys", "/dev", "/run", "/var/run"} {
		if abs == bad || strings.HasPrefix(abs, bad+"/") {
			return Dir{}, fmt.Errorf("state directory %q is below %s: choose a directory on a disk", abs, bad)
		}
	}
	if slices.Contains([]string{"/", "/etc", "/home", "/root", "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/tmp"}, abs) {
		return Dir{}, fmt.Errorf("state directory %q is shared with others: choose a directory of its own, such as %s",
			abs, filepath.Join(abs, "pipelinectl-cluster"))
	}
	return Dir{root: abs}, nil
}

// Root is the directory itself.
func (d Dir) Root() string { return d.root }

// Run is what lives as long as the cluster, and is removed with it.
func (d Dir) Run() string { return filepath.Join(d.root, "run") }

// Logs is where the components' logs are.
func (d Dir) Logs() string { return filepath.Join(d.Run(), "logs") }

// Log is the log of a component.
func (d Dir) Log(component string) string { return filepath.Join(d.Logs(), component+".log") }

// PKI is where keys and certificates are.
func (d Dir) PKI() string { return filepath.Join(d.Run(), "pki") }

// Config is where the components' configuration files are.
func (d Dir) Config() string { return filepath.Join(d.Run(), "config") }

// Kubeconfig is the administrator's kubeconfig for use from the host.
func (d Dir) Kubeconfig() string { return filepath.Join(d.root, "kubeconfig") }

// CgroupName is the name of the cgroup below which the cluster's pods are. It
// differs between state directories, so that clusters never share one.
func (d Dir) CgroupName() string {
	sum := sha256.Sum256([]byte(d.root))
	return "pipelinectl-cluster-" + hex.EncodeToString(sum[:])[:12]
}

func (d Dir) identity() string { return filepath.Join(d.root, "supervisor.json") }
func (d Dir) lock() string     { return filepath.Join(d.root, "lock") }

// Make creates the state directory.
func (d Dir) Make() error {
	if err := os.MkdirAll(d.root, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	return nil
}

// WriteFile writes a file so that a reader sees the old content or the new one,
// never a part.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // Fails after the rename, as it should.
	_, err = tmp.Write(data)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(tmp.Name(), mode)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
