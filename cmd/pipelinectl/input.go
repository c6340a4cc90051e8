package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/pipelinectl/pipelinectl/internal/documents"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

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
	found, err := documents.Read(data)
	if err != nil {
		return fmt.Errorf("%s: %w; see examples/", path, err)
	}
	if len(found) == 0 {
		return fmt.Errorf("%s: %w", path, errNoPipeline)
	}
	errs := make([]error, len(found))
	for i, document := range found {
		if err := e.parse(document.Value); err != nil {
			errs[i] = fmt.Errorf("%s: document %d, line %d: %w", path, i+1, document.Line, err)
		}
	}
	return errors.Join(errs...)
}

var errNoPipeline = errors.New("no ingestion pipeline in it; an IngestionPipeline has at least name, service, pipelineType and sourceConfig, see examples/")

// parse takes one entity, or a list of them: an array, or the answer of OpenMetadata's list call.
func (e *entities) parse(value any) error {
	list, ok := value.([]any)
	if fields, isMap := value.(map[string]any); isMap && fields["data"] != nil && fields["pipelineType"] == nil {
		if list, ok = fields["data"].([]any); !ok {
			return fmt.Errorf("data must be a list, as in the answer of a list call, not %s", kindOf(fields["data"]))
		}
	}
	if !ok {
		return e.add(value)
	}
	errs := make([]error, len(list))
	for i, entity := range list {
		if err := e.add(entity); err != nil {
			errs[i] = fmt.Errorf("entity %d: %w", i+1, err)
		}
	}
	return errors.Join(errs...)
}

func (e *entities) add(value any) error {
	fields, ok := value.(map[string]any)
	if !ok {
		return errNoPipeline
	}
	if fields["pipelineType"] == nil && fields["serviceType"] != nil {
		service := &omapi.Service{}
		if err := decodeInto(fields, service); err != nil {
			return fmt.Errorf("a service: %w", err)
		}
		e.services = append(e.services, service)
		return nil
	}
	pipeline, err := parsePipeline(fields)
	if err != nil {
		return err
	}
	e.pipelines = append(e.pipelines, pipeline)
	return nil
}

func parsePipeline(fields map[string]any) (*omapi.IngestionPipeline, error) {
	for _, name := range []string{"name", "pipelineType", "sourceConfig"} {
		if fields[name] == nil {
			return nil, fmt.Errorf("%s is missing: %w", name, errNoPipeline)
		}
	}
	pipeline := &omapi.IngestionPipeline{}
	if err := decodeInto(fields, pipeline); err != nil {
		return nil, err
	}
	service := pipeline.Service
	switch {
	case pipeline.FQN() == "" && service.ID == "":
		return nil, fmt.Errorf("neither fullyQualifiedName nor service is set: %w", errNoPipeline)
	case pipeline.FQN() == "" && service.Type == "":
		return nil, errors.New("service has an id and no type; give service.type too, such as databaseService")
	}
	if err := workflow.CheckType(pipeline.PipelineType); err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", shownName(pipeline), err)
	}
	return pipeline, nil
}

// shownName is a pipeline's name for people: the service of one that was not created yet may be known by its id only.
func shownName(pipeline *omapi.IngestionPipeline) string {
	return cmp.Or(pipeline.FQN(), pipeline.Name)
}

// decodeInto fills an entity from a map, and says in words which field has another type than it must have.
func decodeInto(fields map[string]any, into any) error {
	data, err := json.Marshal(fields)
	if err != nil {
		return errors.New("a number is not finite, which JSON has no form for")
	}
	err = json.Unmarshal(data, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s must be %s, not %s", cmp.Or(wrong.Field, "it"), wanted(wrong.Type), given(wrong.Value))
	}
	return err
}

// wanted is a type of Go's in a user's words.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	default:
		return "a map"
	}
}

// given is what encoding/json calls a value, in a user's words.
func given(value string) string {
	if number, ok := strings.CutPrefix(value, "number "); ok {
		return number
	}
	words := map[string]string{"number": "a number", "string": "text", "bool": "true or false", "array": "a list", "object": "a map"}
	return cmp.Or(words[value], value)
}

// kindOf is what a value is, in a user's words.
func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case json.Number, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	default:
		return "empty"
	}
}

// completeServices names the services that pipelines know by their id only, as create requests do: by the services that came
// with them, else by what the server says. lookUp is nil where there is no server.
func (e *entities) completeServices(ctx context.Context, lookUp func(context.Context, omapi.EntityReference) (*omapi.Service, error)) error {
	_, err := forEach(ctx, e.pipelines, func(ctx context.Context, pipeline *omapi.IngestionPipeline) (struct{}, error) {
		if pipeline.FQN() != "" {
			return struct{}{}, nil
		}
		reference := &pipeline.Service
		i := slices.IndexFunc(e.services, func(service *omapi.Service) bool { return service.ID == reference.ID })
		var service *omapi.Service
		switch {
		case i >= 0:
			service = e.services[i]
		case lookUp == nil:
			return struct{}{}, fmt.Errorf("pipeline %s: its service is named by id %s only, which only a server knows: give service.name, or put the service's entity with that id beside the pipeline's", pipeline.Name, reference.ID)
		default:
			var err error
			if service, err = lookUp(ctx, *reference); err != nil {
				return struct{}{}, fmt.Errorf("pipeline %s: %w", pipeline.Name, err)
			}
		}
		reference.Name, reference.FullyQualifiedName = service.Name, service.FullyQualifiedName
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	return e.checkTwice()
}

// checkTwice refuses a pipeline that is there twice: which of the two would win is chance.
func (e *entities) checkTwice() error {
	seen := map[string]bool{}
	for _, pipeline := range e.pipelines {
		if pipeline.FQN() == "" {
			continue // Its service is to be looked up.
		}
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

// readJSON reads one entity, as JSON.
func readJSON(ctx context.Context, path string) (json.RawMessage, error) {
	data, err := readFile(ctx, path)
	if err != nil {
		return nil, err
	}
	value, err := readOne(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if data, err = json.Marshal(value); err != nil {
		return nil, fmt.Errorf("%s: a number is not finite, which JSON has no form for", path)
	}
	return data, nil
}

// readOne reads a text that holds one value.
func readOne(data []byte) (any, error) {
	found, err := documents.Read(data)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, errors.New("it is empty")
	case len(found) > 1:
		return nil, fmt.Errorf("it holds %d values, the second on line %d; give one", len(found), found[1].Line)
	default:
		return found[0].Value, nil
	}
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
