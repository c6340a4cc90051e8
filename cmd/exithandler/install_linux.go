package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const executable = 0o555

// install copies this program into a folder, from which another container runs it.
func install(args []string) int {
	if len(args) != 1 {
		fmt.Fprint(os.Stderr, "exithandler install: give the folder\n\n"+usage)
		return exitUsage
	}
	if err := copySelf(args[0]); err != nil {
		fmt.Fprintf(os.Stderr, "exithandler install: %v\n", err)
		return exitError
	}
	return exitOK
}

// copySelf renames a whole copy into its place: whoever finds the name can execute it, also after a restart half way.
func copySelf(folder string) (err error) {
	source, err := os.Open("/proc/self/exe")
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
			err = errors.Join(err, os.Remove(part.Name())) //nolint:gosec // The folder is whoever's writes the pod's manifest.
		}
	}()
	_, err = io.Copy(part, source)
	if err = errors.Join(err, part.Chmod(executable), part.Close()); err != nil {
		return fmt.Errorf("copy this program to folder %s: %w", folder, err)
	}
	return os.Rename(part.Name(), filepath.Join(folder, "exithandler")) //nolint:gosec // As above.
}
