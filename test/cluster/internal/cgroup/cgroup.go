// Package cgroup makes and removes the one cgroup below which a cluster's pods
// are, in every cgroup hierarchy of the machine (version 1, hybrid or version 2).
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/poll"
)

// Hierarchy is one mounted cgroup tree.
type Hierarchy struct {
	Mount string
	V2    bool
}

// Hierarchies returns the cgroup trees that this process sees.
func Hierarchies() ([]Hierarchy, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	if len(mounts) == 0 {
		return nil, errors.New("no cgroup file system is mounted: mount cgroup2 on /sys/fs/cgroup")
	}
	var all []Hierarchy
	for _, m := range mounts {
		h := Hierarchy{Mount: m.Mountpoint, V2: m.FSType == "cgroup2"}
		if !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all, nil
}

// Create makes the cgroup name, one level deep, in every hierarchy.
func Create(all []Hierarchy, name string) error {
	for _, h := range all {
		if h.V2 {
			if err := enableControllers(h.Mount); err != nil {
				return err
			}
		}
		path := filepath.Join(h.Mount, name)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // The mode that runc uses.
			return fmt.Errorf("making a cgroup (is %s writable?): %w", h.Mount, err)
		}
		if err := inheritCPUSet(h.Mount, path); err != nil {
			return err
		}
	}
	return nil
}

// Controllers are what a kubelet wants in version 2, as far as the machine has
// them. They stay enabled for the root's children when the cluster is gone:
// others on the machine may limit by them by then.
func Controllers() []string { return []string{"cpu", "cpuset", "hugetlb", "memory", "pids"} }

// enableControllers lets the children of a version 2 group use what a kubelet
// wants of those that the group itself has.
func enableControllers(group string) error {
	have, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("reading the controllers: %w", err)
	}
	file := filepath.Join(group, "cgroup.subtree_control")
	enabled, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the enabled controllers: %w", err)
	}
	for controller := range strings.FieldsSeq(string(have)) {
		if !slices.Contains(Controllers(), controller) || slices.Contains(strings.Fields(string(enabled)), controller) {
			continue
		}
		if err := os.WriteFile(file, []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("enabling the %s controller: %w (in a container, its processes must first leave the root cgroup)", controller, err)
		}
	}
	return nil
}

// inheritCPUSet copies CPUs and memory nodes: in version 1 a new cpuset is
// empty, and nothing can run in it.
func inheritCPUSet(parent, group string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		to := filepath.Join(group, file)
		have, err := os.ReadFile(to)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a cpuset: %w", err)
		}
		if strings.TrimSpace(string(have)) != "" {
			continue
		}
		from, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // Version 2: an empty set means the parent's.
		}
		if err != nil {
			return fmt.Errorf("reading a cpuset: %w", err)
		}
		if err := os.WriteFile(to, from, 0); err != nil {
			return fmt.Errorf("setting a cpuset: %w", err)
		}
	}
	return nil
}

// Existing returns the paths at which the cgroup name exists.
func Existing(all []Hierarchy, name string) []string {
	var found []string
	for _, h := range all {
		path := filepath.Join(h.Mount, name)
		if _, err := os.Stat(path); err == nil {
			found = append(found, path)
		}
	}
	return found
}

// Remove removes the cgroup name and all below it from every hierarchy. The
// kernel frees a group some time after its last process, so this tries until
// ctx ends.
func Remove(ctx context.Context, all []Hierarchy, name string) error {
	return poll.Until(ctx, 20*time.Millisecond, "the cgroups to be freed", func(context.Context) error {
		existing := Existing(all, name)
		errs := make([]error, len(existing))
		for i, path := range existing {
			errs[i] = removeTree(path)
		}
		return errors.Join(errs...)
	})
}

// removeTree removes directories only: a cgroup's files go with it, and cannot
// be removed.
func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading a cgroup: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a cgroup: %w", err)
	}
	return nil
}
