# make demo    the main job on real data: a table and demo.png
# make test    the test suite
# make lint    style and types
# make docs    the documentation, its gallery run, into doc/_build/html
# make docs-quick   the same without running the examples
# make bench   the benchmarks against peers (installs them in environments of their own)
# make wheel   build a wheel and try it in a fresh environment
# make test-interop   the tests beside released packages, in an environment of their own
# make test-oldest   the test suite with the oldest dependencies that setup.cfg allows

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP_INSTALL = install --quiet --disable-pip-version-check
# Tests run in one process per core: more threads than that would only get in the way.
# Each takes a run of neighbours, which share fits, and what is left is dealt anew.
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test lint docs docs-quick bench wheel test-interop test-oldest clean

demo: $(VENV)/.demo
	$(BIN)/python examples/weighting/plot_covariate_shift_breast_cancer.py --save demo.png

test: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A warning fails: a link to nowhere, a name that does not exist, an example that breaks.
docs: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m sphinx -q -W --keep-going -b html doc doc/_build/html

docs-quick: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m sphinx -q -W --keep-going -b html \
	  -D plot_gallery=0 doc doc/_build/quick

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/peers.py install
	$(BIN)/python benchmarks/kmm.py
	$(BIN)/python benchmarks/kmm_scaling.py
	$(BIN)/python benchmarks/direct.py
	$(BIN)/python benchmarks/flow_batches.py

wheel: $(VENV)/.dev
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	rm -rf .venv-wheel
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip $(PIP_INSTALL) -c constraints.txt dist/*.whl
	cd dist && ../.venv-wheel/bin/python -W error -c "import skdre; assert 'site-packages' in skdre.__file__; skdre.KMMRatio().fit([[0.], [1.], [2.]], [0, 0, 1])"

test-interop: .venv-interop/.dev
	$(ONE_THREAD) .venv-interop/bin/python -m pytest tests/interoperation

test-oldest: .venv-oldest/.dev
	$(ONE_THREAD) .venv-oldest/bin/python -m pytest -n auto --dist worksteal

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "skdre needs Python >= 3.11; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip $(PIP_INSTALL) -c constraints.txt -e ".[plot]"
	touch $@

$(VENV)/.dev: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip $(PIP_INSTALL) -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.demo

.venv-interop/.dev: setup.cfg constraints.txt tests/interoperation/requirements.txt
	$(PYTHON) -m venv .venv-interop
	.venv-interop/bin/python -m pip $(PIP_INSTALL) -c constraints.txt -e ".[test]" \
	  -r tests/interoperation/requirements.txt
	touch $@

.venv-oldest/.dev: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip $(PIP_INSTALL) -c constraints-oldest.txt -e ".[test]"
	touch $@

clean:
	rm -rf .venv .venv-wheel .venv-interop .venv-oldest build dist *.egg-info
