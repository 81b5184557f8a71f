# `make help` lists what there is. Only Go is needed; the tools are installed into .bin.

GO        ?= go
LINT      := .bin/golangci-lint-v2.15.0
BENCHSTAT := .bin/benchstat-v0.0.0-20260908200009

PKG      ?= ./...
RUN      ?= .
FUZZTIME ?= 10s
BENCH     ?= .
BENCHTIME ?= 1s
COUNT     ?= 10
OUT       ?= .bin/bench.txt

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: ## Run the tests (PKG=./auth RUN=TestX narrow it)
	$(GO) test -run '$(RUN)' $(PKG)

.PHONY: race
race: ## Run the tests under the race detector
	$(GO) test -race -short -run '$(RUN)' $(PKG)

.PHONY: vet
vet: ## Run go vet
	$(GO) vet $(PKG)

.PHONY: lint
lint: $(LINT) ## Check style, imports and formatting
	$(LINT) run $(PKG)

.PHONY: fmt
fmt: $(LINT) ## Format the code with gofumpt
	$(LINT) fmt $(PKG)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s) each
	@set -e; for pkg in $$($(GO) list $(PKG)); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

# Machines drift, so the benchmarks take turns: COUNT rounds of all of them, each once. benchstat then puts the sides of
# each (impl=waybill, impl=bare, ...) side by side, by their medians.
.PHONY: bench
bench: $(BENCHSTAT) ## Run the benchmarks in COUNT (10) rounds and compare their sides (PKG=./dispatch BENCH=Send narrow it)
	@mkdir -p $(dir $(OUT)) && : > $(OUT)
	@set -e; for round in $$(seq $(COUNT)); do \
		echo "round $$round of $(COUNT)" >&2; \
		$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) $$($(GO) list -f '{{.ImportPath}} {{.TestGoFiles}}{{.XTestGoFiles}}' $(PKG) | awk '/bench/ { print $$1 }') >> $(OUT); \
	done
	$(BENCHSTAT) -col /impl $(OUT)

.PHONY: bench-tasks
bench-tasks: ## Measure the Cloud Tasks emulator beside its ceiling (two minutes, on a machine that does nothing else)
	$(GO) run ./internal/ci/throughput

.PHONY: bench-pubsub
bench-pubsub: ## Measure the Pub/Sub emulator beside Google's and pstest (four minutes, on a machine that does nothing else)
	$(GO) run ./internal/ci/pubsubthroughput

.PHONY: size
size: ## Size of the least service's binary, beside one that uses Google's three clients bare
	@mkdir -p .bin
	@for side in waybill bare; do \
		$(GO) build -trimpath -ldflags='-s -w' -o .bin/size-$$side ./internal/ci/size/$$side && \
		printf '%-8s %9d bytes, %d packages\n' $$side $$(wc -c < .bin/size-$$side) $$($(GO) list -deps ./internal/ci/size/$$side | wc -l); \
	done

.PHONY: demo
demo: ## Run the demo and stay up
	$(GO) run ./cmd/demo

.PHONY: ci
ci: ## Run all that guards the main branch
	CI=true bash .ci/run

.PHONY: tools
tools: $(LINT) $(BENCHSTAT) ## Install the pinned tools into .bin

# The version is part of the name, so that a new pin installs anew.
$(LINT):
	GOBIN='$(CURDIR)/.bin' $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv .bin/golangci-lint $@

$(BENCHSTAT):
	GOBIN='$(CURDIR)/.bin' $(GO) install golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
	mv .bin/benchstat $@
