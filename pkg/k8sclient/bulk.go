package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

const (
	// bulkParallel bounds the pipelines that are deployed at the same time, and with them the calls that are under way.
	bulkParallel = 64
	// bulkMinimum is from how many pipelines on lists of the whole namespace are cheaper than reads by name.
	bulkMinimum = 3
)

// DeployItem is one pipeline of many.
type DeployItem struct {
	Pipeline *omapi.IngestionPipeline
	// Service is the one that the pipeline reads from; nil: OpenMetadata is asked, once for each service.
	Service *omapi.Service
	// Copy is as in DeployOptions.
	Copy bool
}

// DeployAll deploys many pipelines: what is in the namespace is read with one list per kind, then each object takes one call.
// A pipeline that was there takes up to two more where it has changed: to keep what is replaced, and to look at the end whether
// another deploy came in between. Nothing is changed where the objects of one cannot be made, as of a bad schedule or an unknown
// service. One that fails after that does not stop the others. done is called for each as it ends, from many goroutines; it
// may be nil. Results are in the order of the items, nil where the error says why.
func (c *Client) DeployAll(ctx context.Context, items []DeployItem, options DeployOptions, done func(item int, result *DeployResult, err error)) ([]*DeployResult, error) {
	rendered, err := c.RenderAll(ctx, items)
	if err != nil {
		return nil, err
	}
	warnings := make([][]string, len(items))
	var answers tokenAnswers
	if err := eachOf(len(items), func(i int) (err error) {
		warnings[i], err = c.checkToken(ctx, items[i].Pipeline, &answers)
		return err
	}); err != nil {
		return nil, err
	}
	if len(items) >= bulkMinimum {
		var err error
		if options.snapshot, err = c.snapshotAll(ctx); err != nil {
			return nil, err
		}
	}
	preferred, sameNames := make([]string, len(items)), map[string]int{}
	for i, item := range items {
		preferred[i] = identity.NamesOf(item.Pipeline.Name, item.Pipeline.FQN()).ConfigMap
		sameNames[preferred[i]]++
	}
	results := make([]*DeployResult, len(items))
	return results, eachOf(len(items), func(i int) (err error) {
		own := options
		own.Copy = options.Copy || items[i].Copy
		if sameNames[preferred[i]] > 1 {
			own.snapshot = nil // Which of them has the names shows when the first is deployed.
		}
		results[i], err = c.deployObjects(ctx, items[i].Pipeline, rendered[i], own)
		if results[i] != nil {
			results[i].Warnings = append(warnings[i], results[i].Warnings...)
		}
		if done != nil {
			done(i, results[i], err)
		}
		return err
	})
}

// eachOf does the work for each of so many, some at the same time, and gives all errors.
func eachOf(count int, work func(int) error) error {
	errs := make([]error, count)
	var group errgroup.Group
	group.SetLimit(bulkParallel)
	for i := range count {
		group.Go(func() error {
			errs[i] = work(i)
			return nil
		})
	}
	_ = group.Wait() // The errors are in errs.
	return errors.Join(errs...)
}

// RenderAll makes the objects of many pipelines and changes nothing; all errors at once.
func (c *Client) RenderAll(ctx context.Context, items []DeployItem) ([]*Objects, error) {
	items = slices.Clone(items)
	if err := c.addServices(ctx, items); err != nil {
		return nil, err
	}
	config, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	rendered := make([]*Objects, len(items))
	return rendered, eachOf(len(items), func(i int) (err error) {
		rendered[i], err = c.render(ctx, config, items[i].Pipeline, items[i].Service)
		return err
	})
}

// addServices asks OpenMetadata for the services that are missing, each once.
func (c *Client) addServices(ctx context.Context, items []DeployItem) error {
	wanted := map[omapi.EntityReference][]int{}
	for i, item := range items {
		if item.Service == nil && item.Pipeline.PipelineType != omapi.PipelineApplication {
			wanted[item.Pipeline.Service] = append(wanted[item.Pipeline.Service], i)
		}
	}
	references := slices.Collect(maps.Keys(wanted))
	return eachOf(len(references), func(i int) error {
		service, err := c.service(ctx, references[i])
		for _, item := range wanted[references[i]] {
			items[item].Service = service
		}
		return err
	})
}

func (c *Client) service(ctx context.Context, reference omapi.EntityReference) (*omapi.Service, error) {
	if c.om == nil {
		return nil, fmt.Errorf("find service %s: %w", reference.Name, ErrNoServer)
	}
	return c.om.GetService(ctx, reference)
}

// snapshotAll reads the objects of all pipelines. One of a wanted name that lacks our labels is not in it; an apply finds
// it, as it does not force its way where nothing was seen.
func (c *Client) snapshotAll(ctx context.Context) (*snapshot, error) {
	out := newSnapshot()
	clients := []resourceClient{c.configMaps(), c.secrets(), c.cronJobs()}
	lists := make([][]object, len(clients))
	var group errgroup.Group
	for i, client := range clients {
		group.Go(func() error {
			var err error
			if lists[i], err = client.list(ctx, identity.LabelPipeline); err != nil {
				return c.failed("list the "+client.kind+"s of pipelines", err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, client := range clients {
		for _, o := range lists[i] {
			out.add(client.kind, o)
		}
	}
	return out, nil
}
