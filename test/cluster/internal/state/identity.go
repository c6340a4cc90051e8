package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNone means that no supervisor was recorded.
var ErrNone = errors.New("no cluster was started here")

// Identity tells which process is a cluster's supervisor. A PID alone is not
// enough: it may belong to another process by now.
type Identity struct {
	PID         int               `json:"pid"`
	StartTicks  uint64            `json:"startTicks"`
	BootID      string            `json:"bootID"`
	Namespaces  map[string]string `json:"namespaces"`
	Port        int               `json:"port"`
	Binary      string            `json:"binary"`
	Ctr         string            `json:"ctr"`
	Snapshotter string            `json:"snapshotter"`
	StartedAt   time.Time         `json:"startedAt"`
}

// IdentityOf reads the identity of a running process.
func IdentityOf(pid int) (Identity, error) {
	id := Identity{PID: pid, Namespaces: map[string]string{}, StartedAt: time.Now()}
	stat, err := readStat(pid)
	if err != nil {
		return Identity{}, err
	}
	id.StartTicks = stat.startTicks
	if id.BootID, err = bootID(); err != nil {
		return Identity{}, err
	}
	for _, ns := range []string{"mnt", "net", "pid", "uts", "ipc"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil {
			return Identity{}, fmt.Errorf("reading the %s namespace of process %d: %w", ns, pid, err)
		}
		id.Namespaces[ns] = link
	}
	return id, nil
}

// Identity returns what the last start recorded, or ErrNone.
func (d Dir) Identity() (Identity, error) {
	data, err := os.ReadFile(d.identity())
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("%w (%s)", ErrNone, d.root)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("reading the supervisor's identity: %w", err)
	}
	var id Identity
	if err := json.Unmarshal(data, &id); err != nil {
		return Identity{}, fmt.Errorf("reading %s: %w", d.identity(), err)
	}
	return id, nil
}

// Record writes the identity.
func (d Dir) Record(id Identity) error {
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("recording the supervisor: %w", err)
	}
	return WriteFile(d.identity(), append(data, '\n'), 0o600)
}

// Forget removes the identity and the kubeconfig.
func (d Dir) Forget() error {
	for _, path := range []string{d.identity(), d.Kubeconfig()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what was recorded: %w", err)
		}
	}
	return nil
}

// Alive reports whether the recorded process still runs. A process that has
// ended but whose last thread has not is alive: it is still ending its children.
func (id Identity) Alive() bool {
	boot, err := bootID()
	if err != nil || boot != id.BootID {
		return false
	}
	stat, err := readStat(id.PID)
	if err != nil || stat.startTicks != id.StartTicks {
		return false
	}
	if stat.state != 'Z' && stat.state != 'X' {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", id.PID))
	return err == nil && len(threads) > 1
}

// Pin keeps the namespaces' numbers from being given to others until the returned
// function is called. The process must be alive.
func (id Identity) Pin() (func(), error) {
	var files []*os.File
	unpin := func() {
		for _, file := range files {
			_ = file.Close()
		}
	}
	for ns := range id.Namespaces {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", id.PID, ns))
		if err != nil {
			unpin()
			return nil, fmt.Errorf("keeping a namespace: %w", err)
		}
		files = append(files, file)
	}
	return unpin, nil
}

// Members returns the processes that are in one of the namespaces. It means
// something only while the process is alive or the namespaces are pinned.
func (id Identity) Members() ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		for ns, want := range id.Namespaces {
			if have, err := os.Readlink(filepath.Join(dir, "ns", ns)); err == nil && have == want {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids, nil
}

type procStat struct {
	state      byte
	startTicks uint64
}

func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, fmt.Errorf("reading process %d: %w", pid, err)
	}
	stat, err := parseStat(string(data))
	if err != nil {
		return procStat{}, fmt.Errorf("reading process %d: %w", pid, err)
	}
	return stat, nil
}

// parseStat reads state and start time (fields 3 and 22 of proc_pid_stat(5)).
// The second field, the command, may hold spaces and parentheses.
func parseStat(data string) (procStat, error) {
	end := strings.LastIndexByte(data, ')')
	if end < 0 {
		return procStat{}, errors.New("no command in stat")
	}
	fields := strings.Fields(data[end+1:])
	const afterCommand = 3 // The first field here is number 3.
	if len(fields) <= 22-afterCommand {
		return procStat{}, fmt.Errorf("only %d fields in stat", len(fields))
	}
	ticks, err := strconv.ParseUint(fields[22-afterCommand], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("start time in stat: %w", err)
	}
	return procStat{state: fields[0][0], startTicks: ticks}, nil
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
