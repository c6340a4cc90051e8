# The targets are listed by `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo none)
# The commit's date, not now: the same commit gives the same binary.
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)

PKG     := github.com/pipelinectl/pipelinectl
LDFLAGS := -s -w -X $(PKG)/internal/version.version=$(VERSION) -X $(PKG)/internal/version.commit=$(COMMIT) -X $(PKG)/internal/version.date=$(DATE)
BUILD   := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/pipelinectl and bin/exithandler, static.
	$(BUILD) ./cmd/pipelinectl ./cmd/exithandler

.PHONY: test
test: test-unit ## Run all tests.

.PHONY: test-unit
test-unit: ## Run the tests that need no cluster, with the race detector.
	go vet ./...
	go test -race ./...

.PHONY: lint
lint: ## Run the linters.
	go run $(GOLANGCI_LINT) run ./...

.PHONY: clean
clean: ## Remove bin/.
	rm -rf bin
