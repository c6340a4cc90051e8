package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	executable = 0o555
	readable   = 0o444
)

// exitHandlerScript hands over to exithandler.
//
//go:embed exit_handler.py
var exitHandlerScript string

// install copies this program into a folder, from which another container runs it, and beside it the script by the name of
// OpenMetadata's own, if that is wanted.
func install(args []string) int {
	flags := flag.NewFlagSet("install", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	script := flags.Bool("script", false, "")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		fmt.Fprint(os.Stderr, "exithandler install: give the folder\n\n"+usage)
		return exitUsage
	}
	folder := flags.Arg(0)
	err := copyInto(folder, "exithandler", executable, func() (io.ReadCloser, error) { return os.Open("/proc/self/exe") })
	if err == nil && *script {
		err = copyInto(folder, "exit_handler.py", readable, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(exitHandlerScript)), nil })
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "exithandler install: %v\n", err)
		return exitError
	}
	return exitOK
}

// copyInto renames a whole copy into its place: whoever finds the name can execute it, also after a restart half way.
func copyInto(folder, name string, mode os.FileMode, open func() (io.ReadCloser, error)) (err error) {
	source, err := open()
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	defer func() { _ = source.Close() }()
	part, err := os.CreateTemp(folder, ".exithandler-*")
	if err != nil {
		return fmt.Errorf("write to folder %s, mount it writable: %w", folder, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	_, err = io.Copy(part, source)
	if err = errors.Join(err, part.Chmod(mode), part.Close()); err != nil {
		return fmt.Errorf("copy this program to folder %s: %w", folder, err)
	}
	return os.Rename(part.Name(), filepath.Join(folder, name))
}
