# Thin verbs; each is one command that a user could type. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stepscale
PIP_FLAGS ?=
WORKERS ?= 2
PYTEST_FLAGS ?=
SOURCES := stepscale golden hdl cosim tests .ci/release.py setup.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint verilog formal mutation coverage synth docs doctor release clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' \
	  | while IFS='|' read -r verb text; do printf '%-18s %s\n' "$$verb" "$$text"; done
	@printf '\nPYTHON=%s (3.11 or newer), WORKERS=%s, PIP_FLAGS, PYTEST_FLAGS: extra options of pip, of pytest\n' \
	  '$(PYTHON)' '$(WORKERS)'

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) not found; install Python 3.11 or newer, or: make PYTHON=/path/to/python"; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1), needed is 3.11 or newer; try: make PYTHON=python3.11"; \
	  exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "error: no venv module; on Debian: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) \
	  -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

setup: $(STAMP) ## make .venv with the pinned versions

demo: $(STAMP) ## the main job: quantize the embedded network, generate, prove
	$(BIN)/stepscale demo

test: $(STAMP) ## tests that a change must pass
	$(BIN)/python -m pytest -n $(WORKERS) -m "not long" $(PYTEST_FLAGS)

test-long: $(STAMP) ## the slow ones: large arrays, the demo in small
	$(BIN)/python -m pytest -n $(WORKERS) -m long $(PYTEST_FLAGS)

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)

verilog: $(STAMP) ## Verilog of the 16x16 datapath into out/verilog
	$(BIN)/stepscale verilog --block datapath --rows 16 --cols 16 --out out/verilog

formal: $(STAMP) ## proofs of the RTL blocks by a solver
	$(BIN)/stepscale formal --json out/formal.json

mutation: $(STAMP) ## random faults in every block: how many its bench finds
	$(BIN)/stepscale mutation --json out/mutation.json

coverage: $(STAMP) ## what the benches exercise: functional bins, lines, branches, toggles
	$(BIN)/stepscale coverage --json out/coverage.json

synth: $(STAMP) ## area and clock of the small blocks on an ECP5, and what moved since the stored figures
	$(BIN)/stepscale synth --block requantizer --block silu_quantizer --block processing_element \
	  --rows 1 --cols 1 --baseline docs/data/synth_ecp5.json --tolerance 0.05 --json out/synth.json

docs: $(STAMP) ## the documentation as a site, into out/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

doctor: $(STAMP) ## what this machine lacks, with the line that mends it
	$(BIN)/stepscale doctor

release: $(STAMP) ## sdist, wheel and SBOM of the last commit into out/dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) \
	  -c constraints.txt -e '.[dev,release]'
	$(BIN)/python .ci/release.py --pip-flags '$(PIP_FLAGS)'

clean: ## remove builds, output and caches, and .venv
	rm -rf build out $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
