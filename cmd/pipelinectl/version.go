package main

import (
	"fmt"

	"github.com/pipelinectl/pipelinectl/internal/version"
)

type versionCmd struct{}

// Run prints the version.
func (*versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "pipelinectl "+version.String())
	return err
}
