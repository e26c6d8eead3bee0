# Everything a fresh machine needs is cargo (with cargo-nextest or the network to get it), make,
# Python and Node. `make help` lists the targets.

CARGO ?= cargo
SERVE ?= --sample

.DEFAULT_GOAL := help
.PHONY: help run test lint unit catalog sample

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: ## Run the catalog here, with sample data and demo keys (SERVE="--port 8080" for other options)
	$(CARGO) run --locked --quiet -p catalog-cli -- serve $(SERVE)

test: lint unit ## Everything CI runs

lint: ## Formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings

unit: ## All tests: unit, property and whole-system on the embedded engine
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-nextest
	$(CARGO) nextest run --locked --workspace

catalog: ## Build the operator's tool: target/release/catalog
	$(CARGO) build --locked --release -p catalog-cli

sample: ## Make the sample data again
	python3 data/sample/generate.py
