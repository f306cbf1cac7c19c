# Everything a developer does, by name. `make` alone lists it.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

# operator/ and tests/ are source roots; nothing is installed into the virtualenv but the dependencies.
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/tests
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help venv binaries cluster test test-unit test-e2e test-deep lint lint-python lint-chart format dashboard demo bench bench-audit lock clean

help: ## List what there is to make
	@printf 'Residency: keeps classified workloads on nodes that may hold their data.\n\n'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nNeeds Python 3.11 or newer, Go 1.26 and make. PYTHON=... chooses another Python.\n'

venv: $(STAMP) ## Install the pinned dependencies into .venv
	@:

$(STAMP): requirements/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
		sys.exit(0 if v >= (3, 11) else "Python %d.%d is too old: 3.11 or newer is needed. Name one: make PYTHON=python3.11" % v[:2])'
	@printf 'Installing the pinned dependencies into $(VENV) (once; about a minute) ...\n'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@touch $@
	@printf 'Dependencies are in place.\n'

binaries: $(STAMP) ## Build or find the control plane's programs and Prometheus (the first build takes about 12 minutes)
	@$(PY) -m controlplane build

cluster: $(STAMP) ## Run a real control plane with simulated nodes until Ctrl-C
	@$(PY) -m controlplane up

test: ## Run all checks: lint, test-unit, test-e2e
	@start=$$(date +%s); \
	for section in lint test-unit test-e2e; do \
		printf '\n=== make %s\n' $$section; \
		$(MAKE) --no-print-directory $$section || exit 1; \
	done; \
	printf '\nEverything passed in %d seconds.\n' $$(( $$(date +%s) - start ))

test-unit: $(STAMP) ## Run the pure tests (about a minute)
	@$(PY) -m pytest tests/unit

test-e2e: $(STAMP) ## Run the tests on a real control plane
	@$(PY) -m controlplane build
	@$(PY) -m pytest tests/e2e

test-deep: $(STAMP) ## 100,000 generated workloads for the judge, 100,000 changes for the picture of the cluster (1.5 hours)
	@$(PY) -m controlplane build
	@RESIDENCY_JUDGE_PODS=$${RESIDENCY_JUDGE_PODS:-64000} RESIDENCY_JUDGE_WORKLOADS=$${RESIDENCY_JUDGE_WORKLOADS:-28000} \
		RESIDENCY_JUDGE_CLAIMS=$${RESIDENCY_JUDGE_CLAIMS:-8000} $(PY) -m pytest tests/e2e/test_one_judge.py
	@RESIDENCY_REFLECTOR_EVENTS=100000 RESIDENCY_REFLECTOR_SECONDS=1800 $(PY) -m pytest -s \
		tests/e2e/test_reflector.py tests/e2e/test_audit_faults.py

lint: lint-python lint-chart ## Check style, types, import layers and the chart

lint-python: $(STAMP)
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy operator tests
	@$(VENV)/bin/lint-imports

lint-chart: $(STAMP)
	@$$($(PY) -c 'from controlplane.build import ensure; print(ensure()["helm"])') lint --strict charts/residency

format: $(STAMP) ## Bring the code into the project's format
	@$(PY) -m ruff check --fix-only --quiet
	@$(PY) -m ruff format

dashboard: $(STAMP) ## Write the chart's Grafana dashboard anew from tests/dashboard
	@$(PY) -m dashboard

demo: $(STAMP) ## Show it on a real control plane; KEEP=1 leaves the cluster up
	@KEEP='$(KEEP)' $(PY) -m demo

bench: $(STAMP) ## Measure what Residency adds to the creation of a pod; ROUNDS=2 is quicker
	@$(PY) -m bench $(if $(ROUNDS),--rounds $(ROUNDS))

bench-audit: $(STAMP) ## Measure the audit as a cluster grows to 150,000 pods; PODS=20000 NODES=700 is smaller
	@$(PY) -m bench.scale $(if $(PODS),--pods $(PODS)) $(if $(NODES),--nodes $(NODES)) $(if $(OUT),--out '$(OUT)')

lock: $(STAMP) ## Pin the dependencies again from requirements/*.in; UPGRADE=1 takes newer ones
	@for set in runtime dev; do \
		printf 'Pinning requirements/%s.txt ...\n' $$set; \
		$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --no-header --no-annotate $(if $(UPGRADE),--upgrade) \
			$$( [ $$set = runtime ] || printf '%s' '--constraint requirements/runtime.txt' ) \
			requirements/$$set.in --output-file requirements/$$set.txt || exit 1; \
	done

clean: ## Remove what was made in this folder (the control plane's programs are elsewhere and stay)
	@rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .residency-differences *.tgz
	@find operator tests -name __pycache__ -type d -prune -exec rm -rf {} +
