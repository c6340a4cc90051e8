// Package image makes image archives of single programs, and reads the names in
// others.
package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Nobody is the user of a program that needs no rights.
const Nobody = "65535:65535"

// Pack writes an archive (Docker's format) of an image that holds one statically
// linked program and runs it as Nobody.
func Pack(program, archive, imageName string) error {
	layer, err := layerOf(program)
	if err != nil {
		return err
	}
	made, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("making the image %s: %w", imageName, err)
	}
	config, err := made.ConfigFile()
	if err != nil {
		return fmt.Errorf("making the image %s: %w", imageName, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = runtime.GOOS, runtime.GOARCH
	config.Config.Entrypoint = []string{"/" + programName}
	config.Config.User = Nobody
	if made, err = mutate.ConfigFile(made, config); err != nil {
		return fmt.Errorf("making the image %s: %w", imageName, err)
	}
	tag, err := name.NewTag(imageName)
	if err != nil {
		return fmt.Errorf("naming an image: %w", err)
	}
	if err := tarball.WriteToFile(archive, tag, made); err != nil {
		return fmt.Errorf("writing the image %s: %w", imageName, err)
	}
	return nil
}

const programName = "program"

func layerOf(program string) (v1.Layer, error) {
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("packing a program: %w", err)
	}
	var files bytes.Buffer
	writer := tar.NewWriter(&files)
	err = writer.WriteHeader(&tar.Header{Name: programName, Mode: 0o755, Size: int64(len(binary))})
	if err == nil {
		_, err = writer.Write(binary)
	}
	if err = errors.Join(err, writer.Close()); err != nil {
		return nil, fmt.Errorf("packing %s: %w", program, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files.Bytes())), nil
	})
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", program, err)
	}
	return layer, nil
}
