//go:build !linux

package main

import (
	"fmt"
	"os"
)

// Both are for containers; the rest can be used by hand everywhere.
func runInit([]string, []string) int { return onlyOnLinux("run") }

func install([]string) int { return onlyOnLinux("install") }

func onlyOnLinux(command string) int {
	fmt.Fprintf(os.Stderr, "exithandler %s: only on Linux\n", command)
	return exitError
}
