# Every way into this checkout. `make` alone lists the targets.
#
# From the environment or the command line:
#   REQUIRE  tiers that must not skip: unit,local,images,cluster,attacks,failures
#            or all
#   PYTEST_FLAGS  more for pytest: -n0 for one test at a time, -k WORDS, --durations=9
#   MPI      the row of images/images.toml (image, sif, size)
#   MPI_VERSION, MPI_SOURCE  another MPI than the row's (images/README.md)
#   N, SEED  how many random kills, and the seed of the first (test-random-kills)
#   RANKS, WORKERS, BENCH_FLAGS  sizes and more for bench (ci/bench --help)
#   REQUIREMENTS  a file of more Python packages for an image of your own (image, sif)
#   REGISTRY, REGISTRY_USER, SIGN_KEY ...  where images go (images/README.md)
#   ROW      the only image of a release, to try it (release)
#   DOCS_SOURCE, DOCS_SWITCHER, DOCS_VERSION  of a site that is published (docs/conf.py)
#   TWINE_REPOSITORY_URL, TWINE_USERNAME, TWINE_PASSWORD  where wheels go (upload)
#   PYTHON   the interpreter to make .venv with
#   PIP_*, DEBIAN_MIRROR, CA_BUNDLE, *_proxy  where a site's packages come from

MPI ?= openmpi
BIN := .venv/bin
# Several tests at once, in the order of the tiers. Each goes to the next free worker;
# tests that share something made once (xdist_group) go to the same one.
PYTEST = $(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder \
    $(PYTEST_FLAGS)
export REQUIRE PYTHON REQUIREMENTS
export REGISTRY REGISTRY_USER REGISTRY_PASSWORD TAG SIGN_KEY VERIFY_KEY
export MPI_VERSION MPI_SOURCE MPI_URL MPI_SHA256 MPI_CONFIGURE

.DEFAULT_GOAL := help
.PHONY: help venv run test test-unit test-local test-images test-cluster lint \
    test-local-all \
    test-images-all test-cluster-all docs docs-tables docs-pictures test-browser test-attacks test-abi test-failures test-random-kills image sif images size \
    sbom push pull cluster down bench bench-failures dist release upload lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' \
	    $(firstword $(MAKEFILE_LIST))

venv: .venv/developer ## Make .venv, with all that tests and lint need

run: .venv/user ## Run an example on 4 local ranks
	$(BIN)/dask-runner -n 4 examples/pi.py

test: .venv/developer ## Run all tests, cheap tiers first (REQUIRE=all: skip nothing)
	$(PYTEST) --ahead tests/unit tests/local tests/attacks tests/images \
	    tests/cluster tests/failures

test-unit: .venv/developer ## Run the tests of single modules
	$(PYTEST) tests/unit

test-local: .venv/developer ## Run the tests with real processes and MPI launchers
	$(PYTEST) tests/local

test-local-all: .venv/developer ## Run the long local tests: hundreds of workers
	$(PYTEST) -m heavy tests/local

test-images: .venv/developer ## Run the tests of the images in a container engine
	$(PYTEST) tests/images

test-images-all: .venv/developer ## Run the long tests of the images: all rows, MPI's wheels
	$(PYTEST) -m heavy tests/images

test-cluster: .venv/developer ## Run the tests on a Slurm cluster in containers
	$(PYTEST) tests/cluster

test-cluster-all: .venv/developer ## Run the long tests of it: all systems that are replayed
	$(PYTEST) -m heavy tests/cluster

test-browser: .venv/developer ## Run those of them that look at JupyterLab in a browser
	$(PYTEST) tests/cluster/test_jupyter.py

test-attacks: .venv/developer ## Try what another account of the machine could do
	$(PYTEST) tests/attacks

test-abi: images ## Run each launcher with each MPI and compare with check (an hour)
	ci/abi_matrix

test-failures: .venv/developer ## Run the whole matrix of failures, and print its table
	$(PYTEST) -m 'heavy or not heavy' tests/failures

test-random-kills: N ?= 64
test-random-kills: SEED := $(or $(SEED),$(shell od -An -N3 -tu4 /dev/urandom | tr -d ' '))
test-random-kills: .venv/developer ## Kill a process at any moment, N=64 times, from SEED=…
	@echo "make test-random-kills N=$(N) SEED=$(SEED) repeats these"
	N=$(N) SEED=$(SEED) $(BIN)/python -m pytest -m heavy $(PYTEST_FLAGS) \
	    tests/failures/test_random_kills.py

bench-failures: .venv/developer ## Compare how peers and dask-runner end after failures
	ci/peers
	ci/bench_failures

docs: .venv/developer ## Make the site, build/docs/index.html, and check its links
	$(BIN)/python -m sphinx -q -n -W --keep-going -d build/docs.cache docs build/docs

docs-tables: .venv/developer ## Write anew what the pages have from the code
	$(BIN)/python -m tests.docs.tables

docs-pictures: .venv/developer ## Make the pages' pictures anew: a run's figure, JupyterLab
	$(BIN)/dask-runner -n 4 --nthreads 1 --memory-limit 512MiB \
	    --report docs/images/report.svg docs/images/report.py
	SCREENSHOTS=docs/images $(BIN)/python -m pytest $(PYTEST_FLAGS) \
	    tests/cluster/test_jupyter.py

lint: .venv/developer ## Check style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

image: .venv/developer ## Build the Docker image of MPI=openmpi
	$(BIN)/python images/build image $(MPI)

sif: .venv/developer ## Build build/dask-runner.sif from that image
	$(BIN)/python images/build sif $(MPI)

images: .venv/developer ## Build the Docker image and the SIF of every row
	$(BIN)/python images/build all

size: .venv/developer ## Show what takes the space in the image of MPI=openmpi
	$(BIN)/python images/build size $(MPI)

sbom: .venv/developer ## Write the bill of materials, build/dask-runner-openmpi.cdx.json
	$(BIN)/python images/build sbom $(MPI)

push: .venv/developer ## Publish image and SIF of MPI=openmpi in REGISTRY=host/path
	$(BIN)/python images/build push $(MPI)

pull: .venv/developer ## Fetch image and SIF from REGISTRY=host/path
	$(BIN)/python images/build pull $(MPI)

cluster: .venv/developer ## Bring the Slurm cluster in containers up (ci/cluster)
	ci/cluster up

down: .venv/developer ## Take the cluster down, and the engine if it was started here
	ci/cluster down
	ci/engine stop

bench: .venv/bench sif ## Compare start, end and data with peers (RANKS=4,8 WORKERS=8)
	$(BIN)/python ci/bench $(if $(RANKS),--ranks $(RANKS)) \
	    $(if $(WORKERS),--workers $(WORKERS)) $(BENCH_FLAGS)

dist: .venv/dist ## Build wheel and sdist in dist/, check them, and write SHA256SUMS
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	cd dist && sha256sum -- * > SHA256SUMS

release: dist ## Make all of a release in dist/, signed with SIGN_KEY, and push it to REGISTRY
	$(BIN)/python images/build release $(ROW)

upload: dist ## Publish wheel and sdist on a package index (TWINE_PASSWORD=token)
	$(BIN)/python -m twine upload --non-interactive dist/*.whl dist/*.tar.gz

lock: .venv/developer ## Update the locked requirements of the images and the docs
	PATH="$(CURDIR)/$(BIN):$$PATH" images/scripts/lock-requirements.sh

clean: ## Remove what make has made: .venv, build/, caches
	rm -rf .venv build dist .cache/mpi .mypy_cache .pytest_cache .ruff_cache \
	    .hypothesis
	find runner containers images ci tests -name __pycache__ -prune -exec rm -r {} +

.venv/user: ci/venv pyproject.toml
	ci/venv --editable .
	@touch $@

# Dependency groups came with pip 25.1 (PEP 735).
.venv/developer: .venv/user docs/requirements.txt
	ci/venv 'pip>=25.1'
	ci/venv --require-hashes --requirement docs/requirements.txt
	ci/venv --editable '.[dashboard,metrics,mpi]' --group dev --group docs
	@touch $@

.venv/bench: .venv/developer
	ci/venv --group bench
	@touch $@

.venv/dist: .venv/developer
	ci/venv --group dist
	@touch $@
