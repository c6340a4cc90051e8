package k8sclient

import (
	"context"
	"errors"
	"fmt"
)

// DeleteResult says what a delete did.
type DeleteResult struct {
	FQN string `json:"fullyQualifiedName"`
	// Killed are the runs that had not ended.
	Killed []KillResult `json:"killed,omitempty"`
	// Objects are kind/name, in the order in which they were deleted.
	Objects []string `json:"objects"`
}

// Delete removes a pipeline: its schedule first, so that no run starts; then its runs, which are killed where they have
// not ended; the ConfigMap last, so that a delete that failed half way can be repeated.
func (c *Client) Delete(ctx context.Context, fqn string) (*DeleteResult, error) {
	_, names, err := c.deployed(ctx, fqn)
	if err != nil {
		return nil, err
	}
	result := &DeleteResult{FQN: fqn}
	remove := func(client resourceClient, name string) error {
		deleted, err := c.deleteOwned(ctx, client, name, fqn)
		if deleted {
			result.Objects = append(result.Objects, client.kind+"/"+name)
		}
		return err
	}
	if err := remove(c.cronJobs(), names.CronJob); err != nil {
		return result, err
	}
	if result.Killed, err = c.Kill(ctx, fqn, ""); err != nil && !errors.Is(err, ErrNothingToKill) {
		return result, fmt.Errorf("pipeline %s is not scheduled any more, but not all of its runs could be ended; delete it again: %w", fqn, err)
	}
	jobs, err := c.jobs(ctx, fqn, names)
	if err != nil {
		return result, err
	}
	for i := range jobs {
		if err := remove(c.jobClient(), jobs[i].Name); err != nil {
			return result, err
		}
	}
	_, kept, err := c.revisions(ctx, fqn)
	if err != nil {
		return result, err
	}
	for _, secret := range kept {
		if err := remove(c.secrets(), secret.Name); err != nil {
			return result, err
		}
	}
	if err := remove(c.secrets(), names.Secret); err != nil {
		return result, err
	}
	return result, remove(c.configMaps(), names.ConfigMap)
}
