package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

const documentBuffer = 64 << 10

// entities are what the files of a command hold.
type entities struct {
	pipelines []*omapi.IngestionPipeline
	// services are those that came with the pipelines, so that no server has to be asked for them.
	services []*omapi.Service
}

// readEntities reads IngestionPipeline entities, and the services that they read from where they are there too: JSON or
// YAML, one or several documents, from files, the files of folders, or standard input where the path is "-". Nothing is
// given unless all are good; then all that is wrong is said.
func readEntities(ctx context.Context, paths []string) (*entities, error) {
	var (
		out  entities
		errs []error
	)
	for _, path := range paths {
		files, err := filesOf(path)
		errs = append(errs, err)
		for _, file := range files {
			errs = append(errs, out.read(ctx, file))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(out.pipelines) == 0 {
		return nil, fmt.Errorf("%s: %w", strings.Join(paths, ", "), errNoPipeline)
	}
	return &out, out.checkTwice()
}

func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if path == "-" || err == nil && !info.IsDir() {
		return []string{path}, nil
	}
	if err != nil {
		return nil, noFile(err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		if !entry.IsDir() && slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(entry.Name())) {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("folder %s has no .json, .yaml or .yml file", path)
	}
	return files, nil
}

// noFile says what to give in the place of a path that leads nowhere.
func noFile(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; give a file, a folder, or - for standard input", err)
	}
	return err
}

func (e *entities) read(ctx context.Context, path string) error {
	data, err := readFile(ctx, path)
	if err != nil {
		return err
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReaderSize(bytes.NewReader(data), documentBuffer))
	found := false
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if isEmpty(document) {
			continue
		}
		found = true
		if err := e.parse(document); err != nil {
			return fmt.Errorf("%s: document %d: %w", path, number, err)
		}
	}
	if !found {
		return fmt.Errorf("%s: %w", path, errNoPipeline)
	}
	return nil
}

// isEmpty says that a document has nothing but comments.
func isEmpty(document []byte) bool {
	var content any
	return yaml.Unmarshal(document, &content) == nil && content == nil
}

var errNoPipeline = errors.New("no ingestion pipeline in it; an IngestionPipeline has at least name, service, pipelineType and sourceConfig, see examples/")

// parse takes one entity, or a list of them: a JSON array, or the answer of OpenMetadata's list call.
func (e *entities) parse(document []byte) error {
	data, err := yaml.YAMLToJSON(document)
	if err != nil {
		return fmt.Errorf("it is neither YAML nor JSON: %w; see examples/", err)
	}
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil {
		var page struct {
			Data []json.RawMessage `json:"data"`
		}
		if json.Unmarshal(data, &page) == nil && page.Data != nil {
			list = page.Data
		} else {
			list = []json.RawMessage{data}
		}
	}
	for i, entity := range list {
		if err := e.add(entity); err != nil {
			if len(list) > 1 {
				return fmt.Errorf("entity %d: %w", i+1, err)
			}
			return err
		}
	}
	return nil
}

func (e *entities) add(data json.RawMessage) error {
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return errNoPipeline
	}
	if fields["pipelineType"] == nil && fields["serviceType"] != nil {
		var service omapi.Service
		if err := json.Unmarshal(data, &service); err != nil {
			return fmt.Errorf("a service: %w", err)
		}
		e.services = append(e.services, &service)
		return nil
	}
	pipeline, err := parsePipeline(data, fields)
	if err != nil {
		return err
	}
	e.pipelines = append(e.pipelines, pipeline)
	return nil
}

func parsePipeline(data []byte, fields map[string]any) (*omapi.IngestionPipeline, error) {
	for _, name := range []string{"name", "pipelineType", "sourceConfig"} {
		if fields[name] == nil {
			return nil, fmt.Errorf("%s is missing: %w", name, errNoPipeline)
		}
	}
	var pipeline omapi.IngestionPipeline
	if err := json.Unmarshal(data, &pipeline); err != nil {
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

// checkTwice refuses a pipeline that is there twice: which of the two would win is chance.
func (e *entities) checkTwice() error {
	seen := map[string]bool{}
	for _, pipeline := range e.pipelines {
		if seen[pipeline.FQN()] {
			return fmt.Errorf("pipeline %s is there twice; leave one of them out", pipeline.FQN())
		}
		seen[pipeline.FQN()] = true
	}
	return nil
}

// serviceOf is the service that came with the pipelines; nil where none fits. Services of different types may have the same
// name: which one is meant the id says, else nobody knows.
func (e *entities) serviceOf(pipeline *omapi.IngestionPipeline) (*omapi.Service, error) {
	reference := pipeline.Service
	var found *omapi.Service
	for _, service := range e.services {
		if reference.ID != "" && service.ID != "" {
			if reference.ID == service.ID {
				return service, nil
			}
			continue
		}
		if (reference.FullyQualifiedName == "" || reference.FullyQualifiedName != service.FullyQualifiedName) && (reference.Name == "" || reference.Name != service.Name) {
			continue
		}
		if found != nil && found.ServiceType != service.ServiceType {
			return nil, fmt.Errorf("pipeline %s: its service %s may be the one of type %s or of type %s; give both, the pipeline's service and the service, their id", pipeline.FQN(), service.Name, found.ServiceType, service.ServiceType)
		}
		found = service
	}
	return found, nil
}

// readJSON reads one entity.
func readJSON(ctx context.Context, path string) (json.RawMessage, error) {
	data, err := readFile(ctx, path)
	if err != nil {
		return nil, err
	}
	if data, err = yaml.YAMLToJSON(data); err != nil {
		return nil, fmt.Errorf("%s is neither JSON nor YAML: %w", path, err)
	}
	return data, nil
}

func readFile(ctx context.Context, path string) ([]byte, error) {
	if path != "-" {
		return os.ReadFile(path) //nolint:gosec // The path is the user's own.
	}
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	// A terminal cannot be read with a deadline: an interrupt leaves the read behind, and the process ends.
	stdin := os.Stdin
	go func() {
		data, err := io.ReadAll(stdin)
		read <- result{data, err}
	}()
	select {
	case r := <-read:
		return r.data, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read standard input: %w", context.Cause(ctx))
	}
}
