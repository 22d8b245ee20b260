# slipway: `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
PLAY := $(BIN)/ansible-playbook

.PHONY: help setup demo test test-quick test-all test-core test-one format lint unit integration molecule stories bench fleet-down stop clean

help: ## what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## packages, Docker engine, .venv, base images (done by demo and test)
	@scripts/setup

demo: setup ## ship the reference system to an embedded fleet on this machine
	@scripts/demo

test: setup lint unit integration molecule stories ## everything CI runs: lint, unit, integration, molecule, each story once
	@echo "all tests passed"

# What needs nothing but .venv says so where there is none.
test-one format lint unit integration molecule stories fleet-down: | $(BIN)/python
$(BIN)/python:
	@echo "There is no .venv yet: run \`make setup\` first (make demo and make test do)." >&2; exit 1

test-quick: lint unit ## lint and unit tests, under two minutes

test-all: setup lint unit ## as test, with every variant of every story, and test-core
	@SLIPWAY_ALL=1 $(MAKE) --no-print-directory integration molecule stories
	@scripts/test-core

test-core: ## the newest Ansible, on a Debian 13 of its own: setup, lint, unit, a scenario, two stories
	@scripts/test-core

test-one: ## one test: T=tests/unit/test_fleet.py, T=<path>::<name>, or a directory of molecule/, as T=verify
	@case "$$T" in \
	tests/*) exec $(BIN)/pytest "$$T" ;; \
	*) [ -n "$$T" ] && [ -f "molecule/$$T/molecule.yml" ] && exec scripts/molecule "$$T" ;; \
	esac; \
	echo "usage: make test-one T=<path below tests/>[::<name>], or T=<scenario>, which are:" \
	  $$(cd molecule && echo */molecule.yml | sed 's,/molecule.yml,,g') >&2; exit 2

format: ## layout and order of imports as lint wants them
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix --select I .

lint: ## ansible-lint, yamllint, ruff, mypy, syntax of every playbook
	@scripts/lint

unit: ## pure cores, no host
	@$(BIN)/pytest tests/unit

integration: ## modules against real servers
	@scripts/integration

molecule: ## the roles, each on hosts of its own
	@scripts/molecule

stories: ## releases end to end on the embedded fleet, under load
	@$(BIN)/pytest tests/stories -x

bench: setup ## figures beside those of plain commands and of other tools
	@scripts/bench

fleet-down: ## remove the embedded fleet of the demo
	@$(PLAY) playbooks/fleet.yml -i prod -e fleet_state=absent

stop: ## stop the Docker engine that setup has started
	@scripts/stop

clean: ## remove what the tools leave behind (.venv, caches), not the fleet and its secrets
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis var/cache var/test
