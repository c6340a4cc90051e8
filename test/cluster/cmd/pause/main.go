// Command pause is the first process of a pod's sandbox: it holds the pod's
// namespaces and does nothing else until it is told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// With a shared process namespace this is the init of all the pod's
	// processes; the kernel reaps for a parent that ignores SIGCHLD.
	signal.Ignore(syscall.SIGCHLD)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
