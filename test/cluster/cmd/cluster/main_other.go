//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cluster: a kubelet needs Linux: run this command there, as root")
	os.Exit(1)
}
