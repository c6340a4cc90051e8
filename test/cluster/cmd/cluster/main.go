//go:build linux

// Command cluster runs a real Kubernetes cluster on this machine, for tests.
package main

import (
	"os"

	"github.com/pipelinectl/pipelinectl/test/cluster/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
