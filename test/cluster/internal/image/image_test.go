package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPackedNames(t *testing.T) {
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "program"), filepath.Join(dir, "image.tar")
	require.Error(t, Pack(program, archive, "example.local/one:1"), "there is no program yet")
	require.NoError(t, os.WriteFile(program, []byte("\x7fELF"), 0o600))
	require.Error(t, Pack(program, archive, "Not A Name"))
	require.NoError(t, Pack(program, archive, "example.local/one:1"))
	data, err := os.ReadFile(archive)
	require.NoError(t, err)
	names, err := Names(bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, []string{"example.local/one:1"}, names)
}

func TestNames(t *testing.T) {
	const docker, oci = "manifest.json", "index.json"
	cases := []struct {
		reason string
		files  map[string]string
		want   []string
		fails  bool
	}{
		{
			reason: "Docker's format, several names",
			files:  map[string]string{docker: `[{"RepoTags":["example.local/a:1","example.local/b:2"]}]`},
			want:   []string{"example.local/a:1", "example.local/b:2"},
		},
		{
			reason: "a short name is written in full",
			files:  map[string]string{docker: `[{"RepoTags":["busybox:1"]}]`},
			want:   []string{"docker.io/library/busybox:1"},
		},
		{
			reason: "OCI with containerd's annotation",
			files: map[string]string{oci: `{"manifests":[{"annotations":{
				"io.containerd.image.name":"example.local/a:1","org.opencontainers.image.ref.name":"1"}}]}`},
			want: []string{"example.local/a:1"},
		},
		{
			reason: "OCI with a full name as reference",
			files:  map[string]string{"./" + oci: `{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"example.local/a:1"}}]}`},
			want:   []string{"example.local/a:1"},
		},
		{
			reason: "both formats in one archive",
			files: map[string]string{
				docker: `[{"RepoTags":["example.local/a:1"]}]`,
				oci:    `{"manifests":[{"annotations":{"io.containerd.image.name":"example.local/a:1"}}]}`,
			},
			want: []string{"example.local/a:1"},
		},
		{
			reason: "a tag alone is no name",
			files:  map[string]string{oci: `{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`},
			fails:  true,
		},
		{reason: "no name at all", files: map[string]string{docker: `[{"RepoTags":null}]`}, fails: true},
		{reason: "no manifest", files: map[string]string{"etc/passwd": "root"}, fails: true},
		{reason: "a manifest that is none", files: map[string]string{docker: `nonsense`}, fails: true},
		{reason: "a name that is none", files: map[string]string{docker: `[{"RepoTags":["A B:1"]}]`}, fails: true},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			archive := tarOf(t, c.files)
			for _, data := range [][]byte{archive, zipped(t, archive)} {
				names, err := Names(bytes.NewReader(data))
				assert.Equal(t, c.fails, err != nil, "error: %v", err)
				assert.ElementsMatch(t, c.want, names)
			}
		})
	}
	for _, data := range []string{"", "x", "plain text, long enough to be a magic number", "\x1f\x8bnot really gzip"} {
		_, err := Names(bytes.NewReader([]byte(data)))
		assert.Error(t, err, "%q is no archive", data)
	}
}

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for name, content := range files {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}))
		_, err := archive.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	return out.Bytes()
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := writer.Write(data)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return out.Bytes()
}
