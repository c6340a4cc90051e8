package e2e

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestServeInCluster applies deploy/serve.yaml as a user does, with the image that Dockerfile.exithandler makes, and has a run
// end of which no process of its pod can report anything.
func TestServeInCluster(t *testing.T) {
	const imageNotPulled = 11
	w := newWorld(t)
	require.NoError(t, w.Deployment(t.Context(), w.namespace, w.standIn))
	all := rows(0)
	at := slices.IndexFunc(all, func(r row) bool { return r.number == imageNotPulled })
	require.GreaterOrEqual(t, at, 0)
	e := w.ending(all[at], lightImage)

	e.end(t)

	require.NotNil(t, e.run)
	assert.Equal(t, string(e.want), e.run.State)
	require.NotNil(t, e.run.Cause)
	assert.Equal(t, string(e.category), e.run.Cause.Name)
	assert.Contains(t, e.run.Writes[len(e.run.Writes)-1].UserAgent, "pipelinectl/")
}
