# Every target sets up what it needs; nothing has to be run first.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
FRAMEWORKS := cubeloop cubepi
SEPARATE := $(FRAMEWORKS) bench docs
FOLDERS := $(shell find app models repositories migrations -type d -not -name __pycache__)
URL ?= sqlite:///demo.db
# Tests run in processes side by side, each with servers of its own; not where some are picked,
# since -s would show nothing, nor on one server for all, which counts everybody's statements.
ONE_FOR_ALL = $(THREADLOG_TEST_MYSQL_URL)$(THREADLOG_TEST_MARIADB_URL)$(THREADLOG_TEST_POSTGRES_URL)
JOBS ?= $(if $(ARGS)$(ONE_FOR_ALL),1,auto)
PYTEST = -m pytest $(if $(filter-out 1,$(JOBS)),--numprocesses $(JOBS) --maxprocesses 4 --dist loadfile)

define install-packages
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "threadlog needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
@echo "Setting up $(@D) (once) ..."
@$(PYTHON) -m venv $(@D) || \
	{ echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
@$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
@touch $@
endef

# The editable install links file by file, so it is made anew when a file comes or goes,
# which is when a folder's time changes.
define install-threadlog
@$(@D)/bin/pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=strict --editable .
@touch $@
endef

$(VENV)/installed: $(VENV)/packages pyproject.toml $(FOLDERS)
	$(install-threadlog)

$(VENV)/packages: requirements/dev.txt
	$(install-packages)

# One environment for each agent framework, with the framework's own backend, one for all that
# threadlog is measured against, and one for the documentation.
$(SEPARATE:%=.venv-%/installed): .venv-%/installed: .venv-%/packages pyproject.toml $(FOLDERS)
	$(install-threadlog)

$(SEPARATE:%=.venv-%/packages): .venv-%/packages: requirements/%.txt
	$(install-packages)

# The oldest SQLAlchemy that is supported, everything else as pinned.
$(OLDEST)/installed: $(VENV)/installed
	@echo "Setting up $(OLDEST) ..."
	@$(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --no-deps sqlalchemy==2.0.43
	@$(OLDEST)/bin/pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=strict --editable .
	@touch $@

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/installed  ## Two writers, a crash, and a conversation that is complete (SQLite)
	@$(BIN)/python examples/demo.py $(URL)

.PHONY: example-agent
example-agent: $(VENV)/installed  ## An agent is killed, carries on, and waits for a person (SQLite)
	@$(BIN)/python -m examples.killed_agent $(URL)

.PHONY: example-shop
example-shop: $(VENV)/installed  ## A FastAPI shop is killed in an order: it is kept and said, or neither
	@$(BIN)/python -m examples.shop.killed $(URL)

.PHONY: test test-all
test:  ## Run all tests on SQLite and on a real MySQL, which is set up too
test-all: ON = THREADLOG_TEST_DATABASES=sqlite,mysql,postgres,mariadb
test-all:  ## The same on SQLite and on real MySQL, PostgreSQL and MariaDB servers
test test-all: $(VENV)/installed
	@$(ON) $(BIN)/python $(PYTEST) $(ARGS)
	@$(if $(ARGS),echo "Left out because of ARGS: make $(FRAMEWORKS:%=test-%)",$(ON) $(MAKE) --no-print-directory $(FRAMEWORKS:%=test-%))

.PHONY: $(FRAMEWORKS:%=test-%)
test-cubeloop:  ## Run agents of cubeloop, and its own backend beside ours
test-cubepi:  ## The same with cubepi, the framework's former name
$(FRAMEWORKS:%=test-%): test-%: .venv-%/installed
	@THREADLOG_TEST_FRAMEWORK=$* .venv-$*/bin/python -m pytest tests/frameworks $(ARGS)

.PHONY: test-oldest
test-oldest: $(OLDEST)/installed  ## The same tests on the oldest SQLAlchemy that is supported
	@$(OLDEST)/bin/python $(PYTEST) $(ARGS)

.PHONY: chaos-nodes
chaos-nodes: $(VENV)/installed  ## Kill the primary of three real servers under writers; SEED repeats a run
	@$(if $(SEED),THREADLOG_SEED=$(SEED)) $(BIN)/python -m pytest tests/nodes -s $(ARGS)

.PHONY: check
check: $(VENV)/installed  ## Lint, formatting, types and the architecture test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet tests/unit/test_architecture.py

.PHONY: format
format: $(VENV)/installed  ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .

.PHONY: mysql postgres mariadb
mysql:  ## Start a private MySQL, print its URL, stop it with Ctrl-C
postgres:  ## The same with PostgreSQL
mariadb:  ## The same with MariaDB
mysql postgres mariadb: $(VENV)/installed
	@$(BIN)/python -m tests.support.servers.$@

.PHONY: bench
bench: .venv-bench/installed  ## Measure threadlog beside others, about ten minutes; QUICK=1, ROUNDS=7
	@.venv-bench/bin/python -m benchmarks --scale $(if $(QUICK),quick,full) $(if $(ROUNDS),--rounds $(ROUNDS))
	@.venv-bench/bin/python -m benchmarks.graph

.PHONY: bench-check
bench-check: .venv-bench/installed  ## Test the benchmark, and count an agent's statements beside cubeloop's own
	@THREADLOG_TEST_DATABASES=sqlite,mysql,postgres .venv-bench/bin/python -m pytest tests/benchmarks $(ARGS)

.PHONY: chaos
chaos: $(VENV)/installed  ## Break connections, servers, clients and disks, and count; SEED= QUICK=1 ONLY= DATABASE=
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(QUICK),--quick) $(if $(DATABASE),--database $(DATABASE)) $(ONLY)

.PHONY: docs
docs: .venv-docs/installed  ## Build the documentation into site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict --clean
	@echo "The documentation is in site: open site/index.html"

.PHONY: wheel
wheel: $(VENV)/installed  ## Build a wheel into dist
	@rm -rf build/lib build/bdist.*
	@$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# The frameworks are left out of the extras: they are in groups, one at a time.
COMPILE_GROUP = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --quiet $(UPGRADE)
COMPILE = $(COMPILE_GROUP) pyproject.toml --extra mysql --extra mysql-sync --extra sqlite --extra migrations

.PHONY: lock
lock: UPGRADE ?= --upgrade
lock: $(VENV)/installed  ## Resolve requirements/*.txt again, with hashes; UPGRADE= keeps versions
	@$(BIN)/pip install --quiet uv
	@$(COMPILE) --extra mariadb --extra postgres --extra cli --extra langgraph --extra skeino --group dev --output-file requirements/dev.txt
	@for framework in $(FRAMEWORKS); do \
		$(COMPILE) --extra postgres --group $$framework --output-file requirements/$$framework.txt || exit 1; \
	done
	@$(COMPILE) --extra langgraph --extra postgres --group bench --output-file requirements/bench.txt
	@$(COMPILE_GROUP) --group docs --output-file requirements/docs.txt

.PHONY: clean
clean:  ## Remove what make has made, but for the downloaded servers
	@rm -rf $(VENV) $(OLDEST) $(SEPARATE:%=.venv-%) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis demo.db*
