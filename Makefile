# `make` alone lists what can be made. Needs Python 3.11 or newer, make and a C compiler; everything else is
# installed into .venv, at the versions of constraints.txt.

.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: help demo demo-check test check format bench docs docs-serve ci clean clean-venv
.PHONY: install-test fuzz chaos-local system-packages proto kube kube-peers test-gateway test-kube kind-like scale-kube

# Set PYTHON to use another interpreter: make test PYTHON=python3.13
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt
PORT ?= 8080
DEMO := examples/01-kserve-iris/iris.yaml examples/02-seldon-iris/iris-deployment.yaml examples/03-bentoml-iris
BENCH_PIP := $(VENV)-bench/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt
# What is installed is kept in stamp files, so that the second time is quick.
STAMPS := $(VENV)/stamps

help: ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMPS)/run models ## Serve the iris examples of KServe, Seldon and BentoML behind one gateway, until Ctrl-C
	$(BIN)/tiffin build -t iris-image:v0.1 examples/02-seldon-iris
	$(BIN)/tiffin up $(DEMO) --port $(PORT)

demo-check: $(STAMPS)/run models $(STAMPS)/clients ## Run the demo, ask it with five clients, stop it; fails if an answer was wrong
	@$(BIN)/python demo/check.py

test: install-test models ## Run every test
	@$(BIN)/python -m pytest

system-packages: ## Install the Debian packages that optional tests use (as root; `make test` skips those tests without)
	@bash tests/system-packages.sh

kube: ## Build a Kubernetes API server, etcd, kubectl, kwok and helm with Go, once, outside the checkout (10 to 20 minutes)
	@$(if $(PYTHON),$(PYTHON),python3) tests/kube/servers/build.py $(KUBE)

kube-peers: ## Build Contour beside them, with Go: the gateway that tests of routes ask (5 minutes)
	@$(if $(PYTHON),$(PYTHON),python3) tests/kube/servers/build.py --peers $(KUBE)

test-gateway: kube kube-peers install-test models ## Run the tests that need a real gateway, as root: Contour and Envoy
	@TIFFIN_KUBE=required TIFFIN_GATEWAY=1 $(BIN)/python -m pytest tests/kube/test_kube_gateway.py

test-kube: kube install-test models ## Run the tests that need a Kubernetes API server; fails if it is missing
	@TIFFIN_KUBE=required $(BIN)/python -m pytest tests/kube

scale-kube: kube install-test ## Measure the operator with 100 and with 1000 InferenceServices on played nodes
	@$(BIN)/python tests/kube/scale.py $(COUNTS)

RUNTIME_ARCHIVE := build/runtime.tar
$(RUNTIME_ARCHIVE): $(STAMPS)/test $(shell find src -name '*.py')
	@mkdir -p $(@D)
	@$(BIN)/tiffin image --runtime --base scratch-from-host --tag tiffin/runtime:0.1.0 --output $@

kind-like: kube install-test models $(RUNTIME_ARCHIVE) ## Run Tiffin's image on a real node: kubelet and containerd of this machine (as root)
	@TIFFIN_KUBE=required TIFFIN_RUNTIME_ARCHIVE=$(CURDIR)/$(RUNTIME_ARCHIVE) $(BIN)/python -m pytest -v tests/kube/test_kube_live*.py

check: $(STAMPS)/test $(STAMPS)/check ## Lint, types, layers, spelling; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(STAMPS)/check ## Put the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: install-test ## Fuzz the protocols with atheris, SECONDS=60 for each target
	@$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60)

PROTO := src/tiffin/protocol/proto
proto: $(STAMPS)/test ## Write the descriptors of the gRPC services anew, from src/tiffin/protocol/proto/*.proto
	$(BIN)/python -m grpc_tools.protoc -I$(PROTO) --descriptor_set_out=$(PROTO)/descriptors.binpb \
		inference.proto health.proto reflection.proto

bench: $(STAMPS)/bench ## Measure Tiffin against a hand-written FastAPI server
	@$(VENV)-bench/bin/python bench/run.py

chaos-local: $(STAMPS)/run models ## Change and break a local platform under load; QUICK=1 for a tenth of it
	@$(BIN)/python chaos/local.py $(if $(QUICK),--quick) $(if $(WRITE),--write)

docs: $(STAMPS)/docs ## Build the documentation into build/site; fails on a broken link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

docs-serve: $(STAMPS)/docs ## Show the documentation on 127.0.0.1:8001 and follow changes
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8001

ci: ## What .ci/run runs: check, docs, then the tests; all of them, even when one fails
	@status=0; $(MAKE) check || status=1; $(MAKE) docs || status=1; $(MAKE) test || status=1; exit $$status

clean: ## Remove what was built; keeps .venv
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f $(MODELS)
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

clean-venv: ## Remove .venv and the environments of the demo's clients and the benchmark
	rm -rf .venv .venv-bench .venv-bench-bentoml .venv-kserve .venv-bentoml

# --- the examples' models, trained once with the scikit-learn that will open them

MODELS := examples/01-kserve-iris/model/model.joblib examples/02-seldon-iris/iris.joblib examples/03-bentoml-iris/iris.joblib \
	examples/04-kserve-transformer/model/model.joblib examples/05-canary/v1/model.joblib
.PHONY: models
models: $(MODELS)

examples/01-kserve-iris/model/model.joblib: examples/01-kserve-iris/train.py $(STAMPS)/run
	@$(BIN)/python $<
examples/02-seldon-iris/iris.joblib: examples/02-seldon-iris/train.py $(STAMPS)/run
	@$(BIN)/python $<
examples/03-bentoml-iris/iris.joblib: examples/03-bentoml-iris/train.py $(STAMPS)/run
	@$(BIN)/python $<

examples/04-kserve-transformer/model/model.joblib: examples/04-kserve-transformer/train.py $(STAMPS)/run
	@$(BIN)/python $<
examples/05-canary/v1/model.joblib: examples/05-canary/train.py $(STAMPS)/run
	@$(BIN)/python $<

# --- environments

$(STAMPS)/venv:
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or newer was found" >&2; \
		echo "hint: install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Tiffin needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)" >&2; \
		echo "hint: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make a virtual environment" >&2; \
		echo "hint: on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv pyproject.toml constraints.txt
	@echo "installing Tiffin with the gateway and scikit-learn (about 130 MB to download the first time)"
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[gateway,sklearn]'
	@touch $@

$(STAMPS)/test: $(STAMPS)/run requirements/test.txt
	@echo "installing what the tests need"
	@$(PIP) --no-build-isolation --editable '.[all]' --requirement requirements/test.txt
	@touch $@

# One by one and best effort: a test that wants what is missing says so and is skipped.
$(STAMPS)/optional: $(STAMPS)/test requirements/optional.txt
	@while read -r line; do case "$$line" in ''|'#'*) continue;; esac; \
		$(PIP) --only-binary :all: "$$line" || echo "warning: $$line could not be installed; tests that use it are skipped" >&2; \
		done < requirements/optional.txt
	@touch $@

install-test: $(STAMPS)/test $(STAMPS)/optional $(STAMPS)/docs $(STAMPS)/check

$(STAMPS)/check: $(STAMPS)/venv requirements/check.txt constraints.txt
	@$(PIP) --requirement requirements/check.txt
	@touch $@

$(STAMPS)/docs: $(STAMPS)/venv requirements/docs.txt constraints.txt
	@$(PIP) --requirement requirements/docs.txt
	@touch $@

# An environment of its own, with no more than is measured: frameworks import what they find installed, and pandas
# alone would add 30 MB to every server.
$(STAMPS)/bench: $(STAMPS)/venv bench/requirements.txt bench/requirements-bentoml.txt pyproject.toml constraints.txt
	@$(BIN)/python -m venv $(VENV)-bench
	@$(BENCH_PIP) hatchling editables
	@$(BENCH_PIP) --no-build-isolation --editable '.[sklearn,onnx]' --requirement bench/requirements.txt
	@$(BIN)/python -m venv $(VENV)-bench-bentoml
	@$(VENV)-bench-bentoml/bin/python -m pip --disable-pip-version-check install --requirement bench/requirements-bentoml.txt || \
		{ rm -rf $(VENV)-bench-bentoml; echo "warning: bentoml could not be installed; its cases are left out" >&2; }
	@touch $@

# The clients that others wrote, for demo-check only. Two of them pin versions that clash with ours or with each
# other, so they have environments of their own. A client that cannot be installed is reported by demo-check.
$(STAMPS)/clients: $(STAMPS)/run requirements/client-tritonclient.txt requirements/client-kserve.txt requirements/client-bentoml.txt
	@echo "installing the clients that demo-check asks with"
	@$(PIP) --requirement requirements/client-tritonclient.txt || echo "warning: tritonclient could not be installed" >&2
	@for name in kserve bentoml; do \
		$(BIN)/python -m venv $(VENV)-$$name && \
		$(VENV)-$$name/bin/python -m pip --disable-pip-version-check install --requirement requirements/client-$$name.txt || \
		echo "warning: the $$name client could not be installed" >&2; done
	@touch $@
