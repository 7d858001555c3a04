# Every target sets up what it needs; nothing has to be run first.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
FRAMEWORKS := cubeloop cubepi
SEPARATE := $(FRAMEWORKS) bench docs
# Named by the list of the sources: another list is another file.
SOURCES := build/sources-$(shell find app models repositories migrations -type f -not -path '*/__pycache__/*' | sort | cksum | cut -d ' ' -f 1)
URL ?= sqlite:///demo.db
# Tests start many processes, which load the sources faster from bytecode.
unexport PYTHONDONTWRITEBYTECODE
SERVERS := mysql postgres mariadb
WITHOUT_SQL := mongodb redis
COMMA := ,
# Tests run in processes side by side, each with servers of its own: one more than there are cores,
# since tests wait for servers. Not where some are picked, since -s would show nothing, nor on one
# server for all, which counts everybody's statements.
ONE_FOR_ALL = $(THREADLOG_TEST_MYSQL_URL)$(THREADLOG_TEST_MARIADB_URL)$(THREADLOG_TEST_POSTGRES_URL)$(THREADLOG_TEST_MONGODB_URL)$(THREADLOG_TEST_REDIS_URL)
JOBS ?= $(if $(ARGS)$(ONE_FOR_ALL),1,$(shell expr 1 + $$(getconf _NPROCESSORS_ONLN)))
SIDE_BY_SIDE = $(filter-out 1,$(JOBS))
PYTEST = $(if $(FULL),THREADLOG_TEST_FULL=1) $(if $(SHORT),THREADLOG_TEST_SHORT=1) $(BIN)/python -m pytest $(if $(SIDE_BY_SIDE),--numprocesses $(JOBS) --maxprocesses 4 --dist worksteal)

define install-packages
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "threadlog needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
@echo "Setting up $(@D) (once) ..."
@$(PYTHON) -m venv $(@D) || \
	{ echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
@$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
@touch $@
endef

# The editable install links file by file, so it is made anew when a file comes or goes. All
# environments share its folder, which is missing for a moment: none may be set up while another
# is used.
define install-threadlog
@$(@D)/bin/pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=strict --editable .
@touch $@
endef

$(SOURCES):
	@mkdir -p $(@D) && rm -f $(@D)/sources-* && touch $@

$(VENV)/installed: $(VENV)/packages pyproject.toml $(SOURCES)
	$(install-threadlog)

$(VENV)/packages: requirements/dev.txt
	$(install-packages)

# One environment for each agent framework, with the framework's own backend, one for all that
# threadlog is measured against, and one for the documentation.
$(SEPARATE:%=.venv-%/installed): .venv-%/installed: .venv-%/packages pyproject.toml $(SOURCES)
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
	@awk -F ':.*## ' '/^## / {printf "\n%s\n", substr($$0, 4)} \
		/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Every day
.PHONY: demo
demo: $(VENV)/installed  ## Two writers, a crash, and a conversation that is complete (SQLite)
	@$(BIN)/python examples/demo.py $(URL)

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

# All ways on all databases are for test-all, and for the tests that are picked.
.PHONY: test-fast
test test-fast: SHORT = $(if $(ARGS),,1)
test-fast: $(VENV)/installed  ## The tests that need no server and no other processes, on SQLite
	@THREADLOG_TEST_DATABASES=sqlite $(PYTEST) -m "not server and not processes" $(ARGS)

# The frameworks' tests run whatever became of the others. In variables, or make -n would run it
# all. Those of cubepi, which is cubeloop's former name, only in test-all.
MAKE_ALL = $(MAKE) --no-print-directory --keep-going
SET_UP_FRAMEWORKS = $(MAKE_ALL) $(TESTED:%=.venv-%/installed)
TEST_FRAMEWORKS = $(MAKE_ALL) $(if $(SIDE_BY_SIDE),$(IN_TWO)) $(TESTED:%=test-%)

.PHONY: test test-all
test:  ## All tests, on SQLite or a real MySQL, which is set up too; ARGS="-k load -x" picks
test: TESTED = cubeloop
test: IN_TWO = ARGS="--numprocesses 2 --dist worksteal"
test-all: TESTED = $(FRAMEWORKS)
test-all: IN_TWO = -j2 --output-sync=target
test-all: ON = THREADLOG_TEST_DATABASES=sqlite,mysql,postgres,mariadb,mongodb,redis

## More tests
test-all:  ## The same on PostgreSQL, MariaDB, MongoDB and Redis too; FULL=1 for all ways on all
test test-all: $(VENV)/installed
	@status=0; $(ON) $(PYTEST) $(ARGS) || status=1; \
	$(if $(ARGS),echo "Left out because of ARGS: make $(TESTED:%=test-%)",$(SET_UP_FRAMEWORKS) || status=1; $(ON) $(TEST_FRAMEWORKS) || status=1); \
	exit $$status

.PHONY: $(SERVERS:%=test-%) $(WITHOUT_SQL:%=test-%)
test-mysql:  ## The tests that use MySQL
test-postgres:  ## The tests that use PostgreSQL
test-mariadb:  ## The tests that use MariaDB
test-mongodb:  ## The tests that use MongoDB
test-redis:  ## The tests that use Redis
$(SERVERS:%=test-%) $(WITHOUT_SQL:%=test-%): test-%: $(VENV)/installed
	@THREADLOG_TEST_DATABASES=sqlite,$* $(PYTEST) -m $* $(ARGS)

.PHONY: $(FRAMEWORKS:%=test-%)
test-cubeloop:  ## Run agents of cubeloop, and its own backend beside ours
test-cubepi:  ## The same with cubepi, its former name, on SQLite and MySQL; FULL=1 on all
$(FRAMEWORKS:%=test-%): test-%: .venv-%/installed
	@$(if $(FULL),THREADLOG_TEST_FULL=1) THREADLOG_TEST_FRAMEWORK=$* .venv-$*/bin/python -m pytest tests/frameworks $(ARGS)

.PHONY: test-oldest
test-oldest: $(OLDEST)/installed  ## The same tests on the oldest SQLAlchemy that is supported
	@$(PYTEST:$(BIN)/%=$(OLDEST)/bin/%) $(ARGS)

# Where settings change what SQL means, in another event loop, a forked process, and behind a
# pooler; see tests/support/surroundings.py. QUICK=1 runs two minutes' worth of them.
ODD_SETTINGS := berlin-spring berlin-autumn ansi-quotes autocommit-off safe-updates
ODD := $(ODD_SETTINGS) second-loop forked-child pgbouncer
ODD_FILES = tests/log/test_runs.py tests/log/test_threads.py $(if $(QUICK),,tests/log/test_checkpointer.py \
	tests/log/test_application_sessions.py tests/graph/saver/test_conformance.py tests/persistence tests/schema/migrations)
ODD_DATABASES = mysql$(if $(QUICK),,$(COMMA)mariadb)
.PHONY: test-odd $(ODD:%=test-odd-%)
test-odd:  ## Tests in odd time zones, settings, loops, processes, behind a pooler; QUICK=1
	@$(MAKE_ALL) $(ODD:%=test-odd-%)
$(if $(QUICK),$(ODD_SETTINGS:%=test-odd-%)): ODD_WAYS = -k engine
test-odd-second-loop test-odd-forked-child test-odd-pgbouncer: ODD_FILES = tests/log/test_checkpointer.py \
	tests/log/test_runs.py tests/log/test_threads.py $(if $(QUICK),,tests/graph/saver/test_conformance.py)
test-odd-second-loop: ODD_WAYS = -k own
test-odd-forked-child: ODD_WAYS = -k "sync and not joined and not own_sync and not engine_sync"
test-odd-pgbouncer: ODD_WAYS = -k "own or (sync and not joined and not engine_sync)"
test-odd-pgbouncer: ODD_DATABASES = postgres
test-odd-second-loop: ODD_DATABASES = sqlite,mysql
$(ODD:%=test-odd-%): test-odd-%: $(VENV)/installed
	@THREADLOG_TEST_SURROUNDINGS=$* THREADLOG_TEST_DATABASES=$(ODD_DATABASES) $(PYTEST) --quiet $(or $(ARGS),$(ODD_WAYS) $(ODD_FILES))

.PHONY: chaos $(SERVERS:%=chaos-%)
DATABASE ?= mysql
chaos: chaos-$(DATABASE)  ## Break connections, servers, clients and disks, and count; SEED= QUICK=1 ONLY= DATABASE=
$(SERVERS:%=chaos-%): chaos-%: $(VENV)/installed
	@$(BIN)/python -m tests.chaos --database $* $(if $(SEED),--seed $(SEED)) $(if $(QUICK),--quick) $(ONLY)

.PHONY: chaos-nodes
chaos-nodes: $(VENV)/installed  ## Kill the primary of three real servers under writers; SEED repeats a run
	@$(if $(SEED),THREADLOG_SEED=$(SEED)) $(BIN)/python -m pytest tests/nodes -s $(ARGS)

## Servers and examples to look at
.PHONY: $(SERVERS) $(WITHOUT_SQL)
mysql:  ## Start a private MySQL, print its URL, stop it with Ctrl-C
postgres:  ## The same with PostgreSQL
mariadb:  ## The same with MariaDB
mongodb:  ## The same with MongoDB
redis:  ## The same with Redis
$(SERVERS) $(WITHOUT_SQL): $(VENV)/installed
	@$(BIN)/python -m tests.support.servers.$@

.PHONY: example-agent
example-agent: $(VENV)/installed  ## An agent is killed, carries on, and waits for a person (SQLite)
	@$(BIN)/python -m examples.killed_agent $(URL)

.PHONY: example-shop
example-shop: $(VENV)/installed  ## A FastAPI shop is killed in an order: the order and the message are stored, or neither
	@$(BIN)/python -m examples.shop.killed $(URL)

## Measure
.PHONY: bench
bench: .venv-bench/installed  ## Measure threadlog beside others, about ten minutes; QUICK=1, ROUNDS=7
	@.venv-bench/bin/python -m benchmarks --scale $(if $(QUICK),quick,full) $(if $(ROUNDS),--rounds $(ROUNDS))
	@.venv-bench/bin/python -m benchmarks.graph

.PHONY: call-path
call-path: $(VENV)/installed  ## Count the functions that a call passes through; URL= names a server
	@$(BIN)/python -m benchmarks.call_path $(if $(filter command line,$(origin URL)),$(URL)) $(ARGS)

.PHONY: bench-check
bench-check: .venv-bench/installed  ## Test the benchmark, and count an agent's statements beside cubeloop's own
	@THREADLOG_TEST_DATABASES=sqlite,mysql,postgres .venv-bench/bin/python -m pytest tests/benchmarks $(ARGS)

## Build
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
	@$(COMPILE) --extra mariadb --extra postgres --extra cli --extra langgraph --extra skeino \
		--extra mongodb --extra redis --extra encryption --group dev --output-file requirements/dev.txt
	@for framework in $(FRAMEWORKS); do \
		$(COMPILE) --extra postgres --extra encryption --group $$framework --output-file requirements/$$framework.txt || exit 1; \
	done
	@$(COMPILE) --extra langgraph --extra postgres --group bench --output-file requirements/bench.txt
	@for group in docs $(WITHOUT_SQL:%=%-server); do \
		$(COMPILE_GROUP) --group $$group --output-file requirements/$$group.txt || exit 1; \
	done

.PHONY: clean
clean:  ## Remove what make has made, but for the downloaded servers
	@rm -rf $(VENV) $(OLDEST) $(SEPARATE:%=.venv-%) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis demo.db*
