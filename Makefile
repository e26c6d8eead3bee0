# A fresh machine needs cargo (with cargo-nextest, or the network to get it), make and, to build for
# Lambda, Python. `make help` lists the targets.

CARGO ?= cargo
SERVE ?= --sample

.DEFAULT_GOAL := help
# The processor the functions are built for: x86_64 or arm64 (for which `rustup target add` must have
# been run).
ARCHITECTURE ?= x86_64
TOOLS := .venv

.PHONY: help run test lint unit bench catalog build deploy sample

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

bench: ## Measure what is claimed of speed (a first build of some minutes)
	$(CARGO) bench --locked --quiet --bench upsert

catalog: ## Build the operator's tool: target/release/catalog
	$(CARGO) build --locked --release -p catalog-cli

build: $(TOOLS)/bin/cargo-lambda ## Compile every function once: target/lambda/<function>/bootstrap
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(CARGO) lambda build --release --locked --skip-target-check \
		$(if $(filter arm64,$(ARCHITECTURE)),--arm64)
	@ls -l target/lambda/*/bootstrap

deploy: build ## Build, and deploy with the SAM CLI (DEPLOY="--stack-name shop" for its options)
	sam deploy --guided --parameter-overrides Architecture=$(ARCHITECTURE) $(DEPLOY)

$(TOOLS)/bin/cargo-lambda:
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet cargo-lambda==1.9.2

sample: ## Make the sample data again
	python3 data/sample/generate.py
