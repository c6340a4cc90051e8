package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// ErrToken is a token for pods with which no run could report; test with errors.Is.
var ErrToken = errors.New("the token for the pods cannot report")

// soon is how much time a token has left at least without a word.
const soon = 24 * time.Hour

// tokenAnswers are what the server said of tokens.
type tokenAnswers struct {
	mu      sync.Mutex
	refused map[string]error
}

// checkToken refuses a token with which the pods of a pipeline could not report, and warns of one that ends soon. A server of
// another address than ours is not asked: the token is not for this one.
func (c *Client) checkToken(ctx context.Context, pipeline *omapi.IngestionPipeline, answers *tokenAnswers) (warnings []string, err error) {
	server := workflow.Server(pipeline.OpenMetadataServerConnection)
	if server.Token == "" {
		return nil, nil
	}
	now := time.Now()
	if expires := omapi.TokenExpiry(server.Token); !expires.IsZero() {
		first, then := now, "its runs then"
		if when, _ := parseSchedule(pipeline); when != nil {
			if next := when.next(now); !next.IsZero() {
				first, then = next, "its next run, at "+dateText(next)
			}
		}
		switch {
		case !expires.After(now):
			return nil, fmt.Errorf("%w: pipeline %s: it expired at %s; give a bot's token, which does not expire", ErrToken, pipeline.FQN(), dateText(expires))
		case expires.Before(first):
			warnings = append(warnings, fmt.Sprintf("pipeline %s: the token for its pods expires at %s, before %s; give a bot's token, which does not expire", pipeline.FQN(), dateText(expires), then))
		case expires.Before(now.Add(soon)):
			warnings = append(warnings, fmt.Sprintf("pipeline %s: the token for its pods expires at %s, and runs after that fail; give a bot's token, which does not expire", pipeline.FQN(), dateText(expires)))
		}
	}
	if c.om == nil || server.Token != c.om.Token() && server.URL != c.om.URL() {
		return warnings, nil
	}
	if err := c.askOf(ctx, server.Token, answers); err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", pipeline.FQN(), err)
	}
	return warnings, nil
}

// askOf asks the server once for each token. What it does not answer is no refusal.
func (c *Client) askOf(ctx context.Context, token string, answers *tokenAnswers) error {
	answers.mu.Lock()
	defer answers.mu.Unlock()
	if err, asked := answers.refused[token]; asked {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	allowed, known, err := c.om.WithToken(token).MayWriteStatus(ctx)
	switch {
	case errors.Is(err, omapi.ErrUnauthorized):
		err = fmt.Errorf("%w: %w", ErrToken, err)
	case err == nil && known && !allowed:
		err = fmt.Errorf("%w: it may not write the statuses of pipelines (EditIngestionPipelineStatus); give the ingestion bot's token, or its user a role that allows it", ErrToken)
	default:
		err = nil
	}
	if answers.refused == nil {
		answers.refused = map[string]error{}
	}
	answers.refused[token] = err
	return err
}

// checkTokenRights are the checks of health for our own token, which pods get where their pipeline brings none.
func (c *Client) checkTokenRights(ctx context.Context) []Check {
	const expiry, right = "openmetadata token expiry", "openmetadata permission"
	var out []Check
	if expires := omapi.TokenExpiry(c.om.Token()); !expires.IsZero() {
		check := Check{Name: expiry, State: CheckOK, Detail: dateText(expires)}
		if expires.Before(time.Now().Add(soon)) {
			check.State, check.Advice = CheckWarning, "pods that get it cannot report after that; give a bot's token, which does not expire"
		}
		out = append(out, check)
	}
	allowed, known, err := c.om.MayWriteStatus(ctx)
	check := Check{Name: right, State: CheckOK, Detail: "may write the statuses of pipelines"}
	switch {
	case err != nil:
		check.State, check.Detail, check.Advice = CheckWarning, "cannot be asked: "+err.Error(), "the first run shows whether it may write the statuses of pipelines"
	case !known:
		check.State, check.Detail, check.Advice = CheckWarning, "depends on the pipeline", "the first run shows whether it may write the statuses of pipelines"
	case !allowed:
		check.State, check.Detail, check.Advice = CheckFailed, "may not write the statuses of pipelines (EditIngestionPipelineStatus)", "give the ingestion bot's token, or its user a role that allows it"
	}
	return append(out, check)
}
