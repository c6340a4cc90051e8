package main

import (
	"context"
	"errors"
	"reflect"

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

// onEach connects, does the work for each target, and prints the results; line is how a result reads.
func onEach[R any](ctx context.Context, g *globals, s streams, t *targets, flag outputFlag, need need, work func(context.Context, *connection, string) (R, error), line func(R) (name, text string)) error {
	if err := t.check(); err != nil {
		return err
	}
	c, ctx, cancel, err := g.connectWith(ctx, need)
	if err != nil {
		return err
	}
	defer cancel()
	names, err := t.resolve(ctx, c)
	if err != nil {
		return err
	}
	results, failed := forEach(ctx, names, func(ctx context.Context, fqn string) (R, error) { return work(ctx, c, fqn) })
	v := view{data: results}
	for _, result := range results {
		name, text := line(result)
		v.names = append(v.names, name)
		if v.text != "" {
			v.text += "\n"
		}
		v.text += text
	}
	if len(results) > 0 {
		if err := s.print(flag, v); err != nil {
			return err
		}
	}
	return failed
}
