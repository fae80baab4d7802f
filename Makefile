# `make train`, `make test` and `make check` need Python 3.11 or later and a package index; they make .venv themselves.

PYTHON ?= python3
CONFIG ?= configs/digits.py
WORKDIR ?= runs/digits
VENV := .venv
BIN := $(VENV)/bin

# The locks are installed by uv, several times as fast as by pip: the one on your PATH, or one that pip installs into
# .venv first. INSTALLER=pip does without. pip reads your pip.conf, uv does not.
INSTALLER ?= uv
UV := $(or $(shell command -v uv),$(BIN)/uv)
needed_by_pip := $(BIN)/python
needed_by_uv := $(BIN)/python $(filter $(BIN)/uv,$(UV))
install_with_pip = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement=$(1)
install_with_uv = UV_SYSTEM_CERTS=true $(UV) pip install --quiet --python=$(BIN)/python --require-hashes --requirement=$(1)

ENGINE ?= docker
IMAGE ?= mnist_jax
ACCELERATOR ?= cuda

# Some containers set it. Each start of Python would compile all modules again, which takes 2 s.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

.PHONY: train test test-all test-avx2 check lint format docs pictures lock image test-image clean

train: $(VENV)/.train
	$(BIN)/python main.py --config=$(CONFIG) --workdir=$(WORKDIR)

test: $(VENV)/.test
	$(PYTEST)

# Also the fault campaign, the benchmark's programs and further cases.
test-all: $(VENV)/.test
	$(PYTEST) -m ""

# The tests whose results depend on the CPU's instructions, compiled for AVX2 only, with all optimizations.
test-avx2: $(VENV)/.test
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS="$$XLA_FLAGS --xla_cpu_max_isa=AVX2" $(PYTEST) -m "rounding and not long"

# Lint, types, and the tests that start no whole run.
check: lint
	$(PYTEST) -m "not whole and not long"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=scripts/benchmark $(BIN)/mypy scripts/benchmark scripts/reference.py scripts/pictures.py
	MYPYPATH=scripts/torture $(BIN)/mypy scripts/torture
	$(BIN)/hadolint Dockerfile.gpu
	$(BIN)/shellcheck scripts/*.sh scripts/slurm.sbatch .ci/run
	$(BIN)/check-jsonschema --quiet --builtin-schema=vendor.github-workflows .github/workflows/*.yml

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# configs/default.py, docs/config.md and docs/run-json.md from tables in the code, the results in README.md and
# docs/benchmarks.md from docs/benchmarks.json; then the pages, in site/.
docs: $(VENV)/.test
	$(BIN)/python scripts/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The pictures of README and docs, from real runs, by Chromium or Chrome.
pictures: $(VENV)/.test
	$(BIN)/python scripts/pictures.py

# Exact versions for every platform and Python, the newest that each Python has, with the sha256 of each file.
LOCK := uv pip compile pyproject.toml --universal --python-version=3.11 --fork-strategy=requires-python --generate-hashes \
	--no-header --no-annotate --upgrade --quiet
lock: $(VENV)/.test
	$(BIN)/$(LOCK) --output-file=requirements.lock
	$(BIN)/$(LOCK) --extra=cuda --constraint=requirements.lock --output-file=requirements-cuda.lock
	$(BIN)/$(LOCK) --extra=test --constraint=requirements.lock --output-file=requirements-test.lock

# `docker build -f Dockerfile.gpu .` gives the same image, without the labels of commit, version and source.
image:
	commit=$$(scripts/git_commit.sh) && $(ENGINE) build --file=Dockerfile.gpu --tag=$(IMAGE) \
		--build-arg ACCELERATOR=$(ACCELERATOR) --build-arg GIT_COMMIT="$$commit" \
		--build-arg VERSION="$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' mnist_jax/__init__.py)" \
		--build-arg SOURCE="$$($(PYTHON) -m mnist_jax.storage.git)" .

# Builds the image for CPUs, runs and stops it, and looks for keys in its layers.
test-image: $(VENV)/.test
	CONTAINER_ENGINE="$(ENGINE)" $(BIN)/python -m pytest tests/whole/test_image.py

# Each mark file stands for its installed lock; a newer lock is installed again.
$(VENV)/.train: requirements.lock | $(needed_by_$(INSTALLER))
	$(call install_with_$(INSTALLER),$<)
	touch $@

$(VENV)/.test: requirements-test.lock | $(needed_by_$(INSTALLER))
	$(call install_with_$(INSTALLER),$<)
	touch $@

# The lock has one version of uv, with its hashes, and uv needs no other package.
$(BIN)/uv: | $(BIN)/python
	sed -n '/^uv==/,/[^\\]$$/p' requirements-test.lock > $(VENV)/uv.lock
	$(call install_with_pip,$(VENV)/uv.lock)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mnist_jax needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV)
