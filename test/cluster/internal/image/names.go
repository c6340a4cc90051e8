package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/distribution/reference"
)

// Names reads the full names of the images in an archive, which may be
// compressed with gzip.
func Names(archive io.ReadSeeker) ([]string, error) {
	var stream io.Reader = archive
	magic := make([]byte, 2)
	if _, err := io.ReadFull(archive, magic); err != nil {
		return nil, fmt.Errorf("not an image archive: %w", err)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		decompressed, err := gzip.NewReader(bufio.NewReader(archive))
		if err != nil {
			return nil, fmt.Errorf("not an image archive: %w", err)
		}
		stream = decompressed
	}
	var found []string
	files := tar.NewReader(stream)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not an image archive: %w", err)
		}
		names, err := namesIn(strings.TrimPrefix(header.Name, "./"), files)
		if err != nil {
			return nil, fmt.Errorf("reading %s of the archive: %w", header.Name, err)
		}
		found = append(found, names...)
	}
	return fullNames(found)
}

// namesIn reads the names in a Docker manifest or an OCI index; any other file
// has none.
func namesIn(file string, content io.Reader) ([]string, error) {
	var names []string
	switch file {
	case "manifest.json":
		var images []struct {
			RepoTags []string `json:"RepoTags"`
		}
		if err := json.NewDecoder(content).Decode(&images); err != nil {
			return nil, err
		}
		for _, image := range images {
			names = append(names, image.RepoTags...)
		}
	case "index.json":
		var index struct {
			Manifests []struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"manifests"`
		}
		if err := json.NewDecoder(content).Decode(&index); err != nil {
			return nil, err
		}
		for _, manifest := range index.Manifests {
			full := manifest.Annotations["io.containerd.image.name"]
			if full == "" {
				full = manifest.Annotations["org.opencontainers.image.ref.name"]
			}
			if strings.Contains(full, ":") { // Else it is only a tag.
				names = append(names, full)
			}
		}
	}
	return names, nil
}

// fullNames returns the names as the kubelet writes them, without doubles: an
// archive may be of both formats.
func fullNames(names []string) ([]string, error) {
	var full []string
	seen := map[string]bool{}
	for _, one := range names {
		parsed, err := reference.ParseNormalizedNamed(one)
		if err != nil {
			return nil, fmt.Errorf("image name %q: %w", one, err)
		}
		if text := reference.TagNameOnly(parsed).String(); !seen[text] {
			seen[text] = true
			full = append(full, text)
		}
	}
	if len(full) == 0 {
		return nil, errors.New("the archive names no image: write it with a name and a tag, such as example.local/image:1")
	}
	return full, nil
}
