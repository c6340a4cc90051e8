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

# local: a cluster of this project's own, see test/cluster. current: the one that kubectl uses now.
CLUSTER ?= local

# REAL=1: the real ingestion package (about 0.5 GB to install, once) in place of the light image.
REAL      ?=
INGESTION := $(if $(REAL),ingestion,ingestion-light)

export CLUSTER

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/pipelinectl and bin/exithandler, static.
	$(BUILD) ./cmd/pipelinectl ./cmd/exithandler

.PHONY: demo
demo: build cluster-up images ## Run, fail and kill a pipeline on a real cluster, and show what OpenMetadata was told. REAL=1: with the real ingestion package.
	@$(BUILD) ./test/demo
	@bin/demo --image pipelinectl.local/$(INGESTION):dev

.PHONY: test
test: test-unit test-integration ## Run all tests.

.PHONY: test-unit
test-unit: ## Run the tests that need no cluster, with the race detector.
	go vet ./...
	go test -race ./...
	cd test/cluster && go vet ./cmd/cluster ./internal/... && go test ./cmd/cluster ./internal/...

.PHONY: test-integration
test-integration: build ## Run the tests on the cluster; says so where none can be made.
	test/integration.sh

.PHONY: bench
bench: build cluster-up images ## Measure the hook beside bare requests, and a deploy of 1,000 pipelines beside kubectl apply.
	go test -count=1 -run '^$$' -bench . -benchtime 21x ./test/bench
	go build -o bin/ ./test/demo
	bin/demo load openmetadata-stand-in
	PIPELINECTL_E2E=1 go test -count=1 -run '^$$' -bench . -benchtime 3x -timeout 30m ./test/e2e

.PHONY: profile
profile: build ## Show where the hook's time and memory go: its start, then CPU and memory profiles, which stay in bin/.
	@GODEBUG=inittrace=1 bin/exithandler version 2>&1 | sort -t@ -k2 | awk '/^init / && $$5 > 0.05 || !/^init /'
	PIPELINECTL_PROFILE=$(CURDIR)/bin go test -count=1 -run '^$$' -bench Profile -benchtime 1x ./test/bench

.PHONY: test-openmetadata
test-openmetadata: ## Run the contract test against a server: OPENMETADATA_URL=http://host:8585/api OPENMETADATA_TOKEN=…
	@: $${OPENMETADATA_URL:?give the address of a server, with /api} $${OPENMETADATA_TOKEN:?give a token that may edit ingestion pipelines}
	go test -count=1 -run Contract ./test/openmetadata/...

.PHONY: lint
lint: ## Run the linters.
	go run $(GOLANGCI_LINT) run ./...

.PHONY: cluster-build
cluster-build:
ifeq ($(CLUSTER),local)
	@test/cluster/install.sh
	@test/cluster/build.sh bin
endif

.PHONY: cluster-up
cluster-up: cluster-build ## Start the local cluster; the first time builds it, which takes minutes. CLUSTER=current uses yours.
ifeq ($(CLUSTER),local)
	@bin/cluster up
endif

.PHONY: cluster-down
cluster-down: ## Stop the local cluster; nothing of it is left.
	@if [ -x bin/cluster ]; then bin/cluster down; fi

.PHONY: images
images: build ## Build the images, without a Docker engine.
	@$(BUILD) ./test/openmetadata/cmd/openmetadata-stand-in
	@test/images/build.sh openmetadata-stand-in $(INGESTION)

.PHONY: page
page: ## Bring the demo's OpenMetadata page to http://127.0.0.1:8585 until interrupted.
	@bin/demo page

.PHONY: clean
clean: cluster-down ## Stop the cluster and remove bin/. The caches stay, in ~/.cache/pipelinectl.
	rm -rf bin
