# Two commands are enough on a fresh machine: `make demo` and `make test`.
# Each makes .venv where it is missing, and installs only what has changed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# More threads than cores make matrix products many times slower.
export OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN)
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test check nightly calibration lint types installed docs links unit every-unit wheel smoke-newest smoke-oldest tutorial tutorials chromium format benchmarks gallery clean

# The main job, end to end: fetch the offline model once, generate, attribute, write a report.
demo: $(VENV)/.runtime
	$(BIN)/ecco-captum demo

# What continuous integration runs for each change: under a quarter of an hour on two cores.
test: check
check: lint types docs unit tutorial smoke-newest demo

# What takes longer: every architecture, every tutorial, the oldest dependencies.
nightly: lint types docs every-unit tutorials smoke-newest smoke-oldest demo calibration

lint: installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd build/check && PYTHONPATH=. ../../$(BIN)/lint-imports --no-cache ../../pyproject.toml

types: installed
	cd build/check && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p ecco_captum

# Tools that walk folders do not find widgets/ as ecco_captum.widgets: they check an installed tree.
installed: $(VENV)/.dev
	rm -rf build/check build/lib
	$(BIN)/pip install --quiet --no-deps --target build/check .

# Into build/docs, without network; warnings and links that lead nowhere are errors.
docs: $(VENV)/.dev
	rm -rf build/docs
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going --nitpicky \
		--doctree-dir build/doctrees docs build/docs
	$(BIN)/python docs/check_links.py build/docs

# Every verdict's false-positive rate and power; an error if one does not hold.
calibration: $(VENV)/.dev
	$(BIN)/python benchmarks/calibration.py --quick

# The addresses outside, visited: this one needs the network.
links: $(VENV)/.dev
	$(BIN)/sphinx-build --quiet --builder linkcheck --doctree-dir build/doctrees docs build/links

# Executed again, outputs kept; a number of a text that its cell no longer prints is an error.
tutorials: $(VENV)/.dev
	$(BIN)/python tutorials/execute.py

tutorial: $(VENV)/.dev
	$(BIN)/python tutorials/execute.py --check 2

WORKERS ?= 2

# One thread for each worker.
unit every-unit: export OMP_NUM_THREADS = 1
unit: $(VENV)/.dev chromium
	$(BIN)/pytest -n $(WORKERS)

every-unit: $(VENV)/.dev chromium
	$(BIN)/pytest -n $(WORKERS) -m ""

# The wheel in build/dist is made from the sdist, the one in build/direct from the checkout.
wheel: $(VENV)/.dev
	rm -rf build/dist build/direct build/lib build/bdist.*
	$(BIN)/python -m build --quiet --outdir build/dist
	$(BIN)/python -m build --quiet --wheel --outdir build/direct
	$(BIN)/twine check --strict build/dist/*
	$(BIN)/python tests/project/check_wheel.py build/dist build/direct

# The wheel with what it asks for and nothing else: the newest of it, then the oldest that setup.cfg
# accepts. Except for torch, whose oldest is a CUDA build of gigabytes: there it is the newest, too.
# `make smoke-oldest OLDEST_TORCH=2.6.0` is the whole, on another Python with PYTHON=python3.10;
# `make smoke-newest UNPINNED=1` takes what is newest today, not what constraints.txt says.
OLDEST_TORCH ?= $(shell sed -n 's/^torch==//p' constraints.txt)

smoke-newest: wheel
	$(call environment,newest)
	build/smoke-newest/bin/pip $(INSTALL) $(if $(UNPINNED),,--constraint constraints.txt) build/dist/*.whl
	$(call try,newest)

smoke-oldest: wheel
	$(call environment,oldest)
	$(BIN)/python tests/project/oldest_versions.py --torch $(OLDEST_TORCH) > build/smoke-oldest/oldest.txt
	build/smoke-oldest/bin/pip $(INSTALL) --constraint build/smoke-oldest/oldest.txt build/dist/*.whl
	$(call try,oldest)

# Compiling what will be imported, and not all there is, saves half a minute.
INSTALL := install --quiet --no-compile
environment = rm -rf build/smoke-$(1) && $(PYTHON) -m venv build/smoke-$(1) && mkdir build/smoke-$(1)/empty
try = cd build/smoke-$(1)/empty && ../bin/python -I ../../../tests/project/smoke.py

# The browser tests use Debian's Chromium; elsewhere, install one yourself, or they are skipped.
chromium:
	@if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
			chromium fonts-noto-cjk fonts-noto-color-emoji >/dev/null; fi

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(VENV)/.dev
	$(BIN)/python benchmarks/architectures.py
	$(BIN)/python benchmarks/methods.py
	$(BIN)/python benchmarks/lens.py
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/factors.py
	$(BIN)/python benchmarks/similarity.py
	$(BIN)/python benchmarks/saliency.py
	$(BIN)/python benchmarks/products.py
	$(BIN)/python benchmarks/saliency.py --method integrated_gradients
	$(BIN)/python benchmarks/coming_from.py

# The README's pictures and one of every explorer, made from real output.
gallery: $(VENV)/.dev chromium
	$(BIN)/python benchmarks/picture.py
	$(BIN)/python benchmarks/gallery.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python setup.cfg constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
