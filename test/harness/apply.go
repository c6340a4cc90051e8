package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// applyFile applies the objects of a YAML file to a namespace, as kubectl apply --server-side would. It is for the
// repository's own files, whose kinds have regular plurals. replace may be nil; it changes the file's text first.
func (c *Cluster) applyFile(ctx context.Context, namespace, path string, replace *strings.Replacer) error {
	data, err := os.ReadFile(path) //nolint:gosec // The repository's own file.
	if err != nil {
		return fmt.Errorf("apply to namespace %s: %w", namespace, err)
	}
	if replace != nil {
		data = []byte(replace.Replace(string(data)))
	}
	client, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("apply %s to namespace %s: %w", path, namespace, err)
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		var object unstructured.Unstructured
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return fmt.Errorf("%s is no YAML: %w", path, err)
		}
		resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
		_, err = client.Resource(resource).Namespace(namespace).
			Apply(ctx, object.GetName(), &object, metav1.ApplyOptions{FieldManager: "pipelinectl-test", Force: true})
		if err != nil {
			return fmt.Errorf("apply %s %s of %s to namespace %s (may this user change roles there?): %w",
				object.GetKind(), object.GetName(), path, namespace, err)
		}
	}
}
