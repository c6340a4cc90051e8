package omapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// MayWriteStatus asks whether the token may write the statuses of pipelines. known is false when the server's answer does not
// say so: it depends on the pipeline, or the server is too old.
func (c *Client) MayWriteStatus(ctx context.Context) (allowed, known bool, err error) {
	var answer struct {
		Permissions []struct {
			Operation string `json:"operation"`
			Access    string `json:"access"`
		} `json:"permissions"`
	}
	err = c.do(ctx, request{
		op: "ask what the token may do", method: http.MethodGet, path: "/" + defaultVersion + "/permissions/ingestionPipeline", into: &answer,
	})
	if err != nil {
		return false, false, err
	}
	// EditAll allows it too, and a server may leave out what that includes.
	refused := false
	for _, permission := range answer.Permissions {
		if !slices.Contains([]string{"EditIngestionPipelineStatus", "EditAll", "All"}, permission.Operation) {
			continue
		}
		switch permission.Access {
		case "allow":
			return true, true, nil
		case "deny", "notAllow":
			refused = true
		default: // conditionalAllow, conditionalDeny
			return false, false, nil
		}
	}
	return false, refused, nil
}

// WithToken is a client of the same server with another token.
func (c *Client) WithToken(token string) *Client {
	out := *c
	out.token = strings.TrimSpace(token)
	out.http = c.http.Clone().SetAuthToken(out.token)
	out.secrets = append(slices.Clone(c.secrets), secretsOf(out.token, nil)...)
	return &out
}

// Token is what is sent as a bearer token; empty for none.
func (c *Client) Token() string { return c.token }

// TokenExpiry is when a JSON web token ends; zero for one that does not, or that is none.
func TokenExpiry(token string) time.Time {
	const parts = 3
	split := strings.Split(strings.TrimSpace(token), ".")
	if len(split) != parts {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(split[1], "="))
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expires), 0)
}
