# `make` lists the targets. Everything they need and do not find, they install:
# see scripts/install.sh.
.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz health bench chaos audit

TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## This list
	@sed -n 's/^\([a-z]*\): ## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name what; do \
		printf '  make %-8s %s\n' "$$name" "$$what"; done

demo: ## Start it all and play with it (ARGS="--help" for its flags)
	@scripts/install.sh demo
	@cargo build --release -p resilience-examples -p admin-sidecar --bins
	@exec $(TARGET)/release/demo $(ARGS)

test: ## Everything that CI runs
	@scripts/install.sh test
	@scripts/gates.sh

check: test

fuzz: ## Make up input for what is read from files (ARGS="config 600": that target, so many seconds)
	@scripts/install.sh test
	@scripts/fuzz.sh long $(ARGS)

health: ## The health of everything that runs
	@scripts/health.sh

bench: ## Measure beside other breakers; the report is in target/bench
	@scripts/bench.sh $(ARGS)

chaos: ## Kill and freeze PostgreSQL under our pool and others (SHORT=1: in seconds)
	@scripts/install.sh demo
	@SHORT=$(SHORT) scripts/chaos.sh $(ARGS)

audit: ## Known vulnerabilities in dependencies (downloads the advisory database)
	@scripts/install.sh test
	@PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo deny check advisories
