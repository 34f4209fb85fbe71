PYTHON := .venv/bin/python
BENCHMARKS := $(filter-out __init__,$(basename $(notdir $(wildcard tests/benchmarks/*.py))))

.DEFAULT_GOAL := help
.PHONY: help setup test lint simulate handover demo docs deb bench clean

help:  ## this list
	@sed -n 's/^\([a-z%-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup:  ## install what the other targets need (they call it); says what and why
	@tests/lab/setup.sh

test: setup  ## every test, kernel and cluster ones included; ARGS="…" go to pytest
	@tests/lab/test.sh $(ARGS)

lint: setup  ## format, lint, strict types, import rules; changes nothing
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/lint-imports

simulate: setup  ## seeded scenarios of the decision cores: SEEDS=20000; ARGS="--seed 7" tells one
	@$(PYTHON) -m tests.simulation $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

handover: setup  ## standby and takeover back and forth, MOVES=100 times, under 200 connections a second; build/reports/
	@HEARTBUS_HANDOVERS=$(or $(MOVES),100) $(PYTHON) -m pytest -q tests/system/test_handover.py
	@HEARTBUS_HANDOVERS=$(or $(MOVES),100) $(PYTHON) -m tests.lab.run -- \
		$(PYTHON) -m pytest -q tests/system/test_handover_traffic.py

demo:  ## the classic cluster, live, with failovers; TIMERS=classic|lan|fast, ARGS="…"
	@tests/lab/setup.sh demo
	@$(PYTHON) -m tests.lab.run -- $(PYTHON) -m tests.lab.demo $(if $(TIMERS),--timers $(TIMERS)) $(ARGS)

docs: setup  ## write the generated pages anew: docs/asyncapi.yaml and those beside it
	@$(PYTHON) -m tests.docs

deb: setup  ## a Debian package with all it needs: build/deb/heartbus_VERSION_ARCH.deb
	@deploy/debian/build.sh

bench: $(addprefix bench-,$(subst _,-,$(BENCHMARKS)))  ## every benchmark

bench-%: setup  ## one benchmark: a table, and build/bench/NAME.json
	@test -e tests/benchmarks/$(subst -,_,$*).py || \
		{ echo "no benchmark $*; there are: $(or $(subst _,-,$(BENCHMARKS)),none yet)" >&2; exit 2; }
	@$(PYTHON) -m tests.benchmarks.$(subst -,_,$*) $(ARGS)

clean:  ## remove what make made: .venv, build, caches
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find services tests -name __pycache__ -type d -prune -exec rm -rf {} +
