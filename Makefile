# Everything a developer runs. Each target installs what it needs first.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
REAL := .real
PROTOS := $(shell find protos -name "*.proto")
PROTOC_GEN_GO := v1.36.11
PROTOC_GEN_GO_GRPC := v1.6.2
POSTGRES_15 := /usr/lib/postgresql/15/bin

SCHEMA ?= examples/messenger/schema.sql
SHARDS ?= 3
LISTEN ?= 127.0.0.1:7400
DATA ?= .crosskey
SECONDS ?= 60
SOAK_SECONDS ?= 60
AGAINST ?= HEAD~1

# Tests start many servers, which should not compile the same modules each time.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install lock generate generate-go format lint trace test test-processes test-pg15 test-real soak-names soak-differential soak-races soak-copies soak-crashes up demo bench bench-quick clean

help: ## Show this list.
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(INSTALLED) ## Make .venv with everything pinned, and the command .venv/bin/crosskey.

$(INSTALLED): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit("Crosskey needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lock: ## Choose the newest versions that pyproject.toml allows, and pin them. Needs uv on the PATH.
	uv pip compile pyproject.toml --upgrade $(LOCK_FLAGS) --output-file requirements.lock \
		--extra cli --extra server --extra publisher
	uv pip compile pyproject.toml --upgrade $(LOCK_FLAGS) --output-file requirements-dev.lock \
		--extra cli --extra server --extra publisher --extra local --extra advice --extra dev \
		--constraint requirements.lock
	uv pip compile pyproject.toml --upgrade $(LOCK_FLAGS) --output-file requirements-real.lock --extra real

LOCK_FLAGS := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

generate: $(INSTALLED) ## Regenerate the stubs in clients/crosskey from protos/.
	$(call protoc,clients)

generate-go: $(INSTALLED) ## Regenerate the stubs in clients/go from the public protos. Needs Go.
	GOBIN=$(CURDIR)/build/go go install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO)
	GOBIN=$(CURDIR)/build/go go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC)
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos \
		--plugin=build/go/protoc-gen-go --plugin=build/go/protoc-gen-go-grpc \
		--go_out=clients/go --go_opt=module=crosskey/clients/go \
		--go-grpc_out=clients/go --go-grpc_opt=module=crosskey/clients/go protos/crosskey/v1/*.proto

# $(call protoc,FOLDER): writes the stubs of all protos to FOLDER.
define protoc
$(BIN)/python -m grpc_tools.protoc --proto_path=protos \
	--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=$(1) --mypy_grpc_out=$(1) $(PROTOS)
endef

format: $(INSTALLED) ## Format Python and protos in place.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write

lint: $(INSTALLED) ## Style, types, import floors, protos, and that the stubs are up to date.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy clients/crosskey tests bench examples
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	rm -rf build/stubs && mkdir -p build/stubs
	$(call protoc,build/stubs)
	diff -r --exclude=__pycache__ --exclude=__init__.py build/stubs/crosskey/v1 clients/crosskey/v1
	diff -r --exclude=__pycache__ --exclude=__init__.py build/stubs/crosskey/internal/v1 clients/crosskey/internal/v1

IN_TWO_PROCESSES := --numprocesses=2 --dist=loadfile

test: $(INSTALLED) ## Run the main suite, on the embedded PostgreSQL.
	$(BIN)/pytest $(IN_TWO_PROCESSES) -m "not (processes or searches or restarts_postgres or real)"

test-processes: $(INSTALLED) ## Run the tests that take long: whole processes, crashes, restarts, races, searches.
	$(BIN)/pytest $(IN_TWO_PROCESSES) -m "(processes or searches) and not restarts_postgres"
	$(BIN)/pytest $(IN_TWO_PROCESSES) -m restarts_postgres

test-pg15: $(INSTALLED) ## Run the service-level tests of both on Debian's PostgreSQL 15.
	CROSSKEY_TEST_POSTGRES_BIN=$(POSTGRES_15) $(BIN)/pytest $(IN_TWO_PROCESSES) -m "service and not (restarts_postgres or real)"
	CROSSKEY_TEST_POSTGRES_BIN=$(POSTGRES_15) $(BIN)/pytest $(IN_TWO_PROCESSES) -m "service and restarts_postgres"

test-real: $(INSTALLED) $(REAL)/.installed $(REAL)/node/.installed ## Bring schemas of published applications into a cluster; installs these in .real first.
	$(BIN)/pytest $(IN_TWO_PROCESSES) -m real tests/real_schemas

$(REAL)/.installed: requirements-real.lock
	$(PYTHON) -m venv $(REAL)
	$(REAL)/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements-real.lock
	touch $@

# Without npm, the tests of its packages are skipped, and say so.
$(REAL)/node/.installed: $(REAL)/.installed $(wildcard tests/real_schemas/applications/package*.json)
	mkdir -p $(REAL)/node
	cp tests/real_schemas/applications/package*.json $(REAL)/node
	if command -v npm >/dev/null; then npm ci --silent --ignore-scripts --prefix $(REAL)/node; fi
	touch $@

soak-races: $(INSTALLED) ## Let clients race for the same rows: SOAK_SECONDS for each ON DELETE action, and for moving parents.
	CROSSKEY_SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s --timeout=0 tests/service/test_races.py tests/service/test_anchored_tables.py

soak-copies: $(INSTALLED) ## Let names of hot parents change while rows copy them, for SOAK_SECONDS.
	CROSSKEY_SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s --timeout=0 tests/service/test_copy_races.py

soak-crashes: $(INSTALLED) ## Kill servers under load again and again: SOAK_SECONDS for each kind of server.
	CROSSKEY_SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s --timeout=0 tests/crashes/test_servers_die.py

soak-names: $(INSTALLED) ## Try every name that SQL of ours uses, and every reserved word, as that of a table and in keys.
	CROSSKEY_EVERY_NAME=1 $(BIN)/pytest --timeout=0 tests/oracle/test_every_name.py

soak-differential: $(INSTALLED) ## Compare a cluster with one PostgreSQL, on random schemas, for SECONDS or OPERATIONS; SEED repeats a run.
	$(BIN)/python -m tests.oracle.differential.soak $(if $(OPERATIONS),--operations $(OPERATIONS),--seconds $(SECONDS)) \
		$(if $(SEED),--seed $(SEED))

up: $(INSTALLED) ## Serve a cluster until Ctrl-C: SCHEMA, SHARDS, LISTEN, DATA.
	$(BIN)/crosskey up --schema $(SCHEMA) --shards $(SHARDS) --listen $(LISTEN) --data $(DATA)

demo: $(INSTALLED) ## Start a cluster with real data, tell the story, stop it.
	$(BIN)/crosskey demo

trace: $(INSTALLED) ## Count the functions, files, calls and statements that each kind of request takes.
	$(BIN)/python -m bench.trace

bench-quick: $(INSTALLED) ## Compare the processor time of requests with that of another build, AGAINST, in a minute.
	$(BIN)/python -m bench.quick $(AGAINST)

bench: $(INSTALLED) ## Measure Crosskey against plain PostgreSQL.
	$(BIN)/python -m bench

clean: ## Remove what the other targets made, but for the data of `make up`.
	rm -rf .venv .real build dist clients/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
