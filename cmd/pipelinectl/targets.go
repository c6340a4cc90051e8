package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"golang.org/x/sync/errgroup"
)

// parallel bounds how many pipelines a command works on at the same time.
const parallel = 16

// targets are the pipelines that a command is for.
type targets struct {
	Pipelines []string `arg:"" optional:"" name:"pipeline" completion-predictor:"pipeline" help:"Fully qualified names of pipelines, such as mysql_prod.metadata."`
	Selector  string   `short:"l" help:"Label selector of pipelines, such as app.kubernetes.io/pipeline-type=metadata." placeholder:"SELECTOR"`
	All       bool     `help:"All pipelines that are deployed in the namespace."`
}

var errTargets = errors.New("say which pipelines: their fully qualified names, --selector, or --all; one of the three")

var errNoneFits = errors.New("no pipeline is deployed that fits; see pipelinectl list")

// check refuses before anything is connected to.
func (t *targets) check() error {
	given := 0
	for _, is := range []bool{len(t.Pipelines) > 0, t.Selector != "", t.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return usageError{errTargets}
	}
	return nil
}

// resolve gives the fully qualified names.
func (t *targets) resolve(ctx context.Context, c *connection) ([]string, error) {
	if len(t.Pipelines) > 0 {
		return t.Pipelines, nil
	}
	found, err := c.pipelines.List(ctx, t.Selector)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errNoneFits
	}
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].FQN
	}
	return names, nil
}

// forEach does the work for all items, some at the same time, and gives the results in their order, and all errors.
func forEach[T, R any](ctx context.Context, items []T, work func(context.Context, T) (R, error)) ([]R, error) {
	results := make([]R, len(items))
	errs := make([]error, len(items))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, item := range items {
		group.Go(func() error {
			results[i], errs[i] = work(ctx, item)
			return nil // One that fails does not stop the others.
		})
	}
	_ = group.Wait() // No work returns an error.
	done := results[:0]
	for i, err := range errs {
		// What was done before an error is told too.
		if err == nil || !reflect.ValueOf(results[i]).IsZero() {
			done = append(done, results[i])
		}
	}
	return done, errors.Join(errs...)
}

// dryRunFlag is for commands whose dry run is to see which pipelines they would take.
type dryRunFlag struct {
	DryRun string `enum:"none,client" default:"none" help:"client: only say which pipelines it would be; nothing is changed." placeholder:"WHERE"`
}

// operation is what a command does to each of its pipelines.
type operation[R any] struct {
	// doing and done are how it reads: deleting, deleted.
	doing, done string
	need        need
	dryRun      string
	work        func(context.Context, *connection, string) (R, error)
	// show is a result as data, by name and as text.
	show func(R) (data any, name, text string)
	// single: of one pipeline that is named the data is the result itself, as kubectl get has it.
	single bool
	// apart: a text is of several lines, so that a blank one goes between two.
	apart bool
}

// onEach connects, does the work for each target, and prints the results.
func onEach[R any](ctx context.Context, g *globals, s streams, t *targets, flag outputFlag, op operation[R]) error {
	if err := t.check(); err != nil {
		return err
	}
	c, ctx, cancel, err := g.connectWith(ctx, op.need)
	if err != nil {
		return err
	}
	defer cancel()
	names, err := t.resolve(ctx, c)
	if err != nil {
		return err
	}
	if op.dryRun == dryRunClient {
		return wouldDo(ctx, s, c, names, flag, op.done)
	}
	results, failed := forEachShown(ctx, s, op.doing, names, func(ctx context.Context, fqn string) (R, error) { return op.work(ctx, c, fqn) })
	list := make([]any, len(results))
	texts := make([]string, len(results))
	v := view{data: list, names: make([]string, len(results))}
	for i, result := range results {
		list[i], v.names[i], texts[i] = op.show(result)
	}
	separator := "\n"
	if op.apart {
		separator = "\n\n"
	}
	v.text = strings.Join(texts, separator)
	if op.single && len(t.Pipelines) == 1 && len(list) == 1 {
		v.data = list[0]
	}
	if len(results) > 0 {
		if err := s.print(flag, v); err != nil {
			return err
		}
	}
	return failed
}

// forEachShown is forEach with a bar.
func forEachShown[R any](ctx context.Context, s streams, doing string, names []string, work func(context.Context, string) (R, error)) ([]R, error) {
	bar := newProgress(s.err, doing, len(names))
	defer bar.end()
	return forEach(ctx, names, func(ctx context.Context, fqn string) (R, error) {
		defer bar.step()
		return work(ctx, fqn)
	})
}

// wouldDo says which pipelines it would be. Each must be deployed, as in earnest.
func wouldDo(ctx context.Context, s streams, c *connection, names []string, flag outputFlag, done string) error {
	type pipeline struct {
		FQN string `json:"fullyQualifiedName"`
	}
	found, failed := forEach(ctx, names, func(ctx context.Context, fqn string) (pipeline, error) {
		return pipeline{FQN: fqn}, c.pipelines.Find(ctx, fqn)
	})
	if failed != nil {
		return failed
	}
	lines := make([]string, len(found))
	for i := range found {
		lines[i] = fmt.Sprintf("pipeline %s %s (client dry run)", found[i].FQN, done)
	}
	return s.print(flag, view{data: found, text: strings.Join(lines, "\n"), names: names})
}
