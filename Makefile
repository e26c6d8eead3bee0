# A fresh machine needs cargo and make; the checks of `make test` also Python 3 and the network: they install their
# tools into .tools. `make test-docs` needs Node.js 20. `make help` lists the targets.

CARGO ?= cargo
SERVE ?= --sample

.DEFAULT_GOAL := help
# The processor the functions are built for: x86_64, or arm64 after `rustup target add aarch64-unknown-linux-gnu`.
ARCHITECTURE ?= x86_64
LAMBDAS := target/lambda/$(ARCHITECTURE)
# What is deployed, and how: make deploy STACK=catalog-dev PARAMETERS="LogLevel=debug", or an environment of
# samconfig.toml: make deploy CONFIG=prod
STACK ?=
CONFIG ?=
PARAMETERS ?=
export PARAMETERS
TEMPLATE ?= template.yaml
RELEASE ?=
DEPLOY ?=
WHICH_STACK = $(if $(STACK),--stack $(STACK)) $(if $(CONFIG),--config-env $(CONFIG))
# What the checks need, installed by themselves: a folder a tool, ignored by git.
TOOLS := .tools
INSTALLED = $(foreach tool,$(1),$(TOOLS)/$(tool)/installed-$(shell cksum < checks/tools/$(tool).txt | cut -d' ' -f1))

.PHONY: help run test lint unit fuzz soak openapi bench bench-peers catalog build check-build validate test-lambda test-deploy \
	test-contract test-documents test-docs sam-invoke sam-api test-sam test-aws deploy releases rollback smoke sample

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: ## Run the catalog here, with sample data and demo keys (SERVE="--port 8080" for other options)
	$(CARGO) run --locked --quiet -p catalog-cli -- serve $(SERVE)

test: lint unit validate test-documents test-contract test-lambda test-deploy ## Every test that needs no container engine, browser or AWS account; CI also runs test-sam

# Our own code is compiled by clippy's driver, which is rustc with more lints: lints, tests and the checks share one
# build. A warning is an error here.
LINTED := RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__

lint: ## Formatting, lints; licences, duplicates and unused dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-deny
	@$(CARGO) machete --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-machete
	$(CARGO) fmt --all --check
	$(LINTED) $(CARGO) build --locked --quiet --workspace --all-targets
	$(CARGO) deny --offline --log-level error check --hide-inclusion-graph licenses bans sources
	$(CARGO) machete

# The tests of `src/fuzz.rs`: each runs for three seconds among the others, and as long as it is told by itself.
FUZZ := test(/fuzz::/) | test(/^hostile::/)

unit: ## All Rust tests: unit, property and whole-system on the embedded engine
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-nextest
	$(LINTED) $(CARGO) nextest run --locked --workspace

fuzz: ## Fuzz every parser at the edge: SECONDS=60 for each target
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-nextest
	FUZZ_SECONDS=$(or $(SECONDS),60) $(LINTED) $(CARGO) nextest run --locked --workspace --success-output immediate-final -E '$(FUZZ)'

soak: ## What takes long: 100,000 seeds of the simulation, an import of 2,000,000 lines, 1,000,000 hostile requests (an hour or two)
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-nextest
	SIMULATION_SEEDS=$(or $(SEEDS),100000) $(LINTED) $(CARGO) nextest run --locked --test it -E 'test(the_newest_write_stays)'
	$(CARGO) bench --locked --quiet -p catalog-cli --bench long_import
	$(CARGO) bench --locked --quiet -p catalog-cli --bench hostile -- $(or $(REQUESTS),1000000)

openapi: ## Make openapi.yaml again from the code
	$(CARGO) run --locked --quiet -p catalog-cli -- openapi --output openapi.yaml

validate: $(call INSTALLED,template checkov) ## Check template.yaml: SAM's own validation, cfn-lint, checkov
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 $(TOOLS)/template/bin/sam validate --lint
	$(TOOLS)/template/bin/cfn-lint template.yaml
	$(TOOLS)/checkov/bin/checkov --file template.yaml --quiet --compact --skip-download

test-contract: target/debug/catalog $(call INSTALLED,contract) ## Fuzz the running catalog by openapi.yaml
	$(TOOLS)/contract/bin/python checks/contract.py

test-lambda: target/debug/catalog $(call INSTALLED,build) ## Every event of events/ through the release binaries
	$(MAKE) --no-print-directory check-build
	python3 checks/lambda.py

test-deploy: target/debug/catalog $(call INSTALLED,template emulator) ## Deploy, update and roll back in a local AWS emulator; compare
	$(MAKE) --no-print-directory check-build
	$(TOOLS)/template/bin/python checks/deploy.py

sam-invoke: target/debug/catalog build $(call INSTALLED,template) ## One event in Lambda's own image: FUNCTION=list-offerings EVENT=events/list-offerings.json
	@$(TOOLS)/template/bin/python checks/sam.py --architecture $(ARCHITECTURE) invoke --function $(FUNCTION) --event $(EVENT)

sam-api: target/debug/catalog build $(call INSTALLED,template) ## The HTTP API at http://127.0.0.1:3001, its functions in Lambda's own image
	@$(TOOLS)/template/bin/python checks/sam.py --architecture $(ARCHITECTURE) api

test-sam: target/debug/catalog build $(call INSTALLED,template) ## Every event of events/ in Lambda's own image (needs a container engine)
	@$(TOOLS)/template/bin/python checks/sam.py --architecture $(ARCHITECTURE) test

test-aws: target/debug/catalog check-build $(call INSTALLED,template) ## Deploy, try, measure and delete a stack in the AWS account of the shell
	$(TOOLS)/template/bin/python checks/aws.py

test-documents: target/debug/catalog ## The commands of README and docs: those that can run here do
	python3 checks/documents.py

test-docs: target/debug/catalog ## The documentation at /docs in a headless browser
	cd checks/docs && npm ci --silent --no-audit --no-fund
	python3 checks/docs.py

.PHONY: target/debug/catalog
target/debug/catalog:
	@$(LINTED) $(CARGO) build --locked --quiet --workspace --all-targets

bench: ## Measure what is claimed of speed (a first build of some minutes)
	$(CARGO) bench --locked --quiet --bench upsert
	$(CARGO) bench --locked --quiet -p catalog-cli --bench import
	$(CARGO) bench --locked --quiet -p catalog-cli --bench journal
	$(CARGO) bench --locked --quiet -p catalog-cli --bench partitions
	$(CARGO) bench --locked --quiet -p catalog-cli --bench limits
	$(CARGO) bench --locked --quiet -p catalog-cli --bench reads

bench-peers: build ## list-offerings beside handlers in Node.js, Python and Rust as they are usually written (needs Node.js, a C++ compiler)
	benches/peers/install
	$(CARGO) bench --locked --quiet -p catalog-cli --bench peers

catalog: ## Build the operator's tool: target/release/catalog
	$(CARGO) build --locked --release -p catalog-cli

build: $(call INSTALLED,build) ## Compile every function once: target/lambda/<architecture>/<function>/bootstrap
	PATH="$(CURDIR)/$(TOOLS)/build/bin:$$PATH" $(CARGO) lambda build --release --locked --skip-target-check \
		--lambda-dir $(LAMBDAS) $(if $(filter arm64,$(ARCHITECTURE)),--arm64)

check-build: build ## The same, and refuse a binary of another processor, too large, or for a newer system than Lambda's
	python3 checks/binaries.py $(ARCHITECTURE)

deploy: check-build $(call INSTALLED,template) ## Build, and deploy: STACK=<name> or CONFIG=dev|prod [ARCHITECTURE=arm64] [PARAMETERS="Name=value …"]
	@$(TOOLS)/template/bin/python deploy/stack.py deploy $(WHICH_STACK) --architecture $(ARCHITECTURE) \
		--template $(TEMPLATE) $(if $(RELEASE),--release $(RELEASE)) $(DEPLOY)

releases: $(call INSTALLED,template) ## List the releases of STACK that are kept
	@$(TOOLS)/template/bin/python deploy/stack.py releases $(WHICH_STACK)

rollback: $(call INSTALLED,template) ## Deploy an earlier release again: STACK=<name> COMMIT=<of `make releases`>
	@$(TOOLS)/template/bin/python deploy/stack.py rollback $(WHICH_STACK) --commit $(COMMIT) $(DEPLOY)

smoke: catalog $(call INSTALLED,template) ## Try a deployed stack out: STACK=<name>
	$(TOOLS)/template/bin/python deploy/stack.py smoke $(WHICH_STACK)

# A folder of a tool is made anew when its list changes.
$(TOOLS)/%:
	@rm -rf $(@D) && python3 -m venv $(@D)
	@echo "Installing $$(tr '\n' ' ' < checks/tools/$(notdir $(@D)).txt)"
	@$(@D)/bin/pip install --quiet --no-compile --disable-pip-version-check -r checks/tools/$(notdir $(@D)).txt
	@touch $@

sample: ## Make the sample data again
	python3 data/sample/generate.py
