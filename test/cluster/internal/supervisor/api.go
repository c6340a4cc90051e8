// Package supervisor is the first process of a cluster's namespaces: it sets
// them up, starts the components, and answers the commands from outside.
package supervisor

import (
	"time"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/state"
)

// What the network inside the namespaces looks like.
const (
	NodeName     = "node1"
	FakeNodeName = "node2"
	NodeIP       = "10.123.0.1"
	nodeRange    = "10.123.0.0/24"
	podSubnet    = "10.124.0.0/24"
	serviceRange = "10.96.0.0/24"
	// ServiceIP is the first of serviceRange, which the API server takes.
	ServiceIP = "10.96.0.1"
	apiPort   = "443"
	// ControlSocket is a path inside the namespaces.
	ControlSocket = "/run/pipelinectl-cluster.sock"
	// ContainerdSocket is a path inside the namespaces.
	ContainerdSocket = "/run/containerd/containerd.sock"
	// PauseImage is the image of each pod's sandbox.
	PauseImage = "pipelinectl.local/pause:1"
)

// Config is what a supervisor is started with.
type Config struct {
	StateDir     string   `json:"stateDir"`
	Binary       string   `json:"binary"`       // The all-in-one binary.
	PauseArchive string   `json:"pauseArchive"` // The pause image.
	Containerd   string   `json:"containerd"`
	Ctr          string   `json:"ctr"`
	Runc         string   `json:"runc"`
	CNIBin       string   `json:"cniBin"`
	Path         []string `json:"path"` // Directories of programs.
	Snapshotter  string   `json:"snapshotter"`
	// RestrictOOMScore is for a machine on which nobody may lower a score.
	RestrictOOMScore bool `json:"restrictOOMScore"`
	// StartTimeout bounds the whole start.
	StartTimeout time.Duration `json:"startTimeout"`

	dir state.Dir
}

// Phase is how far a supervisor is.
type Phase string

// The phases, in their order; a failed start stays Failed.
const (
	Starting Phase = "starting"
	Ready    Phase = "ready"
	Failed   Phase = "failed"
)

// Status is what a supervisor tells about itself.
type Status struct {
	Phase      Phase       `json:"phase"`
	Error      string      `json:"error,omitempty"`
	Steps      []Step      `json:"steps"`
	Components []Component `json:"components"`
}

// Step is a part of the start and when it was done.
type Step struct {
	Name  string        `json:"name"`
	After time.Duration `json:"after"` // Since the supervisor's start.
}

// Component is one child of the supervisor.
type Component struct {
	Name    string    `json:"name"`
	PID     int       `json:"pid"` // Inside the PID namespace.
	Running bool      `json:"running"`
	Stopped bool      `json:"stopped"` // It was told to end.
	Exit    string    `json:"exit,omitempty"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
}

// Died reports whether the component ended without being told to.
func (c Component) Died() bool { return !c.Running && !c.Stopped }
