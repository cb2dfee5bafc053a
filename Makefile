# What can be done here. `make` alone prints this list; every target sets up first what it needs.

PYTHON := .venv/bin/python
PORT ?= 8080
WORKERS ?= 2
# Files in their own order: those of tests/unit, the shortest, come last and keep all processes busy to the end.
TESTED = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-spot test up down invariants backup restore simulation check bench bench-full faults fuzz docs clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv with pinned packages and convert the shipped model (minutes once, then seconds)
	@sh deploy/setup.sh

demo: setup ## from sample conversations to a proven adapter, here in the terminal (KEEP=1 leaves it running)
	@$(PYTHON) -m deploy.demo

demo-spot: setup ## watch a run being preempted three times and end as if nothing had happened
	@$(PYTHON) -m deploy.demo_spot

test: setup ## run every test, in two processes (WORKERS=0: in one, in order)
	@$(PYTHON) -m pytest $(TESTED)

up: setup ## start Woodshed on 127.0.0.1:$(PORT) until Ctrl-C; everything it keeps lies in .woodshed
	@$(PYTHON) -m deploy.up --port $(PORT)

down: ## stop what `make up` started
	@$(PYTHON) -m deploy.down

invariants: setup ## look whether everything that must be true of what `make up` runs is true
	@$(PYTHON) -m deploy.invariants

backup: setup ## copy the installation, running or not, into the folder TO=… (default: beside it)
	@$(PYTHON) -m deploy.backup $(TO)

restore: setup ## make an installation from the backup FROM=… in the new folder INTO=…
	@$(PYTHON) -m deploy.restore $(FROM) --home $(INTO)

simulation: setup ## live 20,000 small worlds in which everything goes wrong, in virtual time
	@$(PYTHON) -m tests.simulation

check: setup ## style, types, import rules, then every test
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@PATH="$(CURDIR)/.venv/bin:$$PATH" lint-imports
	@$(PYTHON) -m pytest $(TESTED)

bench: setup ## measure speed and memory in under ten minutes: a table beside the goals, and a picture
	@$(PYTHON) -m tests.bench

bench-full: setup ## every benchmark with its rivals and repetitions; hours
	@$(PYTHON) -m tests.bench --full

faults: setup ## break a running platform hundreds of times and see it mend itself (an hour; RUNS=200 SEED=1)
	@$(PYTHON) -m tests.faults --runs $(or $(RUNS),200) --seed $(or $(SEED),1)

fuzz: setup ## send thousands of odd requests about real things to every route of a running platform (SEED=1)
	@$(PYTHON) -m tests.fuzz --seed $(or $(SEED),1)

docs: setup ## write the generated references again
	@$(PYTHON) -m docs.generate

clean: ## remove what setup made; what an installation keeps (.woodshed) stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .bench
