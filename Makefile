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
ifeq ($(filter $(CLUSTER),local current),)
$(error CLUSTER is "$(CLUSTER)": set it to local, a cluster of this project's own, or current, the one that kubectl uses now)
endif

# REAL=1: the real ingestion package (about 0.5 GB to install, once) in place of the light image.
REAL      ?=
INGESTION := $(if $(REAL),ingestion,ingestion-light)
IMAGES    ?= openmetadata-stand-in $(INGESTION)
DEMO      := bin/demo --image pipelinectl.local/$(INGESTION):dev

export CLUSTER

# Go uses all cores by itself, and tests that share them with another build or test run into their deadlines.
.NOTPARALLEL:

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/pipelinectl and bin/exithandler, static.
	@echo "building bin/pipelinectl and bin/exithandler (the first time: a minute or two)"
	@$(BUILD) ./cmd/pipelinectl
	@# Without net/http's own copy of HTTP/2: client-go brings one, and a third of a megabyte counts there.
	@$(BUILD) -tags nethttpomithttp2 ./cmd/exithandler

# Go knows what has changed.
.PHONY: bin/demo bin/openmetadata-stand-in
bin/demo:
	@$(BUILD) ./test/demo
bin/openmetadata-stand-in:
	@$(BUILD) ./test/openmetadata/cmd/openmetadata-stand-in

.PHONY: demo
demo: build bin/demo cluster-up images ## Run, fail and kill a pipeline on a real cluster, and show what OpenMetadata was told. REAL=1: with the real ingestion package.
	@$(DEMO)

.PHONY: test
test: test-unit test-integration ## Run all tests.

.PHONY: test-unit
test-unit: ## Run the tests that need no cluster, with the race detector.
	@test/unit.sh

.PHONY: test-integration
test-integration: ## Run the tests on the cluster; says so where none can be made.
	@test/integration.sh

.PHONY: bench
bench: build bin/demo cluster-up images ## Measure the hook beside bare requests, and a deploy of 1,000 pipelines beside kubectl apply.
	go test -count=1 -run '^$$' -bench . -benchtime 21x ./test/bench
	bin/demo load openmetadata-stand-in
	PIPELINECTL_E2E=1 go test -count=1 -run '^$$' -bench . -benchtime 3x -timeout 30m ./test/e2e

.PHONY: profile
profile: build ## Show where the hook's time and memory go: its start, then CPU and memory profiles, which stay in bin/.
	@GODEBUG=inittrace=1 bin/exithandler version 2>&1 | sort -t@ -k2 | awk '/^init / && $$5 > 0.05 || !/^init /'
	PIPELINECTL_PROFILE=$(CURDIR)/bin go test -count=1 -run '^$$' -bench Profile -benchtime 1x ./test/bench

.PHONY: test-openmetadata
test-openmetadata: ## Run the contract test against a server: OPENMETADATA_URL=http://host:8585/api OPENMETADATA_TOKEN=…
	@: $${OPENMETADATA_URL:?give the address of a server, with /api} $${OPENMETADATA_TOKEN:?give the token of an admin: the ingestion bot may not change a display name, which two cases do}
	go test -count=1 -run Contract ./test/openmetadata/...

.PHONY: generate
generate: ## Read anew which fields OpenMetadata's schemas mark as passwords, from the ingestion package.
	@test/images/generate.sh

.PHONY: lint
lint: ## Run the linters.
	go run $(GOLANGCI_LINT) run ./...
	@# Not cmd/allinone: it would compile Kubernetes, for a main that only calls it.
	cd test/cluster && go run $(GOLANGCI_LINT) run --config ../../.golangci.yml . ./cmd/cluster ./cmd/pause ./internal/... ./testdata/job

.PHONY: cluster-build
cluster-build:
ifeq ($(CLUSTER),local)
	@test/install.sh containerd=containerd ctr=containerd containerd-shim-runc-v2=containerd runc=runc \
		host-local=containernetworking-plugins loopback=containernetworking-plugins
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
images: build bin/openmetadata-stand-in ## Build the images, without a Docker engine.
	@test/images/build.sh $(IMAGES)

.PHONY: page
page: bin/demo ## Bring the demo's OpenMetadata page to this machine, port 8585 if it is free, until interrupted.
	@$(DEMO) page

.PHONY: clean
clean: cluster-down ## Stop the cluster and remove bin/. The caches stay, in ~/.cache/pipelinectl.
	rm -rf bin
