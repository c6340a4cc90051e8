package main

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkProfiledHook is what make profile runs, in a process of its own beside the two APIs: the hook again and again.
func BenchmarkProfiledHook(b *testing.B) {
	if os.Getenv("PIPELINECTL_PROFILED") == "" {
		b.Skip("make profile runs it")
	}
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		result, err := reportRun(ctx, slog.New(slog.DiscardHandler), readEnvironment(os.Environ(), "preStop hook"))
		cancel()
		require.NoError(b, err)
		require.True(b, result.Written)
	}
}
