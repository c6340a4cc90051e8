package identity

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRunIDTellsItsOrigin(t *testing.T) {
	t.Parallel()
	here, there := OriginOf("5f1c2d9e-0a4b-4c3d-9e8f-7a6b5c4d3e2f"), OriginOf("0c9b8a7d-6e5f-4a3b-8c1d-2e3f4a5b6c7d")
	require.NotEqual(t, here, there)
	seen := map[string]bool{}
	for range 1000 {
		id := NewRunID(here)
		parsed, err := uuid.Parse(id)
		require.NoError(t, err)
		assert.Equal(t, id, parsed.String())
		assert.Equal(t, uuid.Version(8), parsed.Version())
		assert.Equal(t, uuid.RFC4122, parsed.Variant())
		assert.Equal(t, here, OriginOfRun(id))
		seen[id[:8]] = true
	}
	assert.Greater(t, len(seen), 990, "the beginning is in the name of the Job")
	assert.NotEqual(t, OriginOfRun(NewRunID(here)), OriginOfRun(NewRunID(there)))
}

func TestOriginOfRun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		id     string
		want   Origin
	}{
		"Ours":     {reason: "the last 12 digits", id: "01234567-89ab-8def-8123-aabbccddeeff", want: "aabbccddeeff"},
		"Upper":    {reason: "case means nothing in a UUID", id: "01234567-89AB-8DEF-8123-AABBCCDDEEFF", want: "aabbccddeeff"},
		"JobUID":   {reason: "the UID of a Job is all chance", id: "01234567-89ab-4def-8123-aabbccddeeff"},
		"Variant":  {reason: "not of RFC 9562", id: "01234567-89ab-8def-0123-aabbccddeeff"},
		"NoUUID":   {reason: "Airflow names runs after their time", id: "manual__2026-11-28T15:00:00"},
		"Empty":    {reason: "a record need not have one"},
		"TimeUUID": {reason: "version 7 has the time in it", id: "01890a5d-ac96-774b-bcce-b302099a8057"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, OriginOfRun(tc.id), tc.reason)
		})
	}
	for _, origin := range []Origin{"", "no hex digits", "aabb"} {
		id := NewRunID(origin)
		assert.Empty(t, OriginOfRun(id), "what is not known is not claimed: %s", id)
	}
}
