package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

const documentBuffer = 64 << 10

// readPipelines reads IngestionPipeline entities from a file, or from standard input where it is "-": JSON or YAML, one
// or several documents. Nothing is given unless all are good.
func readPipelines(path string) ([]*omapi.IngestionPipeline, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReaderSize(bytes.NewReader(data), documentBuffer))
	var pipelines []*omapi.IngestionPipeline
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if isEmpty(document) {
			continue
		}
		pipeline, err := parsePipeline(document)
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", path, number, err)
		}
		pipelines = append(pipelines, pipeline)
	}
	if len(pipelines) == 0 {
		return nil, fmt.Errorf("%s: %w", path, errNoPipeline)
	}
	return pipelines, nil
}

// isEmpty says that a document has nothing but comments.
func isEmpty(document []byte) bool {
	var content any
	return yaml.Unmarshal(document, &content) == nil && content == nil
}

var errNoPipeline = errors.New("no ingestion pipeline in it; an IngestionPipeline has at least name, service, pipelineType and sourceConfig, see examples/")

func parsePipeline(document []byte) (*omapi.IngestionPipeline, error) {
	var fields map[string]any
	if err := yaml.Unmarshal(document, &fields); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPipeline, err)
	}
	for _, name := range []string{"name", "pipelineType", "sourceConfig"} {
		if fields[name] == nil {
			return nil, fmt.Errorf("%s is missing: %w", name, errNoPipeline)
		}
	}
	var pipeline omapi.IngestionPipeline
	if err := yaml.Unmarshal(document, &pipeline); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPipeline, err)
	}
	if pipeline.FQN() == "" {
		return nil, fmt.Errorf("neither fullyQualifiedName nor service is set: %w", errNoPipeline)
	}
	if err := workflow.CheckType(pipeline.PipelineType); err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	return &pipeline, nil
}

func readFile(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(path) //nolint:gosec // The path is the user's own.
}
