# Every command this project has. `make` alone explains them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PORT   ?= 8000
LONG   := -o faulthandler_timeout=7200

.DEFAULT_GOAL := help
.PHONY: help install fast run test check fmt fuzz soak soak-sessions chaos stream bench dashboards

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.run  ## put the BFF's libraries, pinned, into .venv

fast: $(VENV)/.run  ## compile what makes it faster and may be missing: takes a C compiler
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-fast.txt

run: $(VENV)/.run  ## serve everything on embedded defaults at http://127.0.0.1:8000
	PORT=$(PORT) $(BIN)/gunicorn -c gunicorn.conf.py wsgi:app

test: $(VENV)/.dev  ## run the whole test suite, in three processes if there are two cores
	$(BIN)/pytest -n auto $(ARGS)

check: $(VENV)/.dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(VENV)/.dev  ## try 25 times as many inputs as `make test` does
	FUZZ_TIMES=5 $(BIN)/pytest $(LONG) -n auto -m hypothesis tests/unit tests/flows
	FUZZ_TIMES=5 $(BIN)/pytest $(LONG) tests/contract/test_kv_model.py tests/contract/test_kv_window.py \
	  tests/unit/test_multiprocess_history.py tests/flows/test_one_grant.py

soak: $(VENV)/.dev  ## kill and recycle workers under load for a minute, revoke 1000 sessions, and count
	SOAK_SECONDS=60 SOAK_WORKERS=8 SOAK_REVOCATIONS=1000 SOAK_SERIES=10000 $(BIN)/pytest $(LONG) -s \
	  tests/e2e/test_metrics_exact.py tests/e2e/test_prometheus.py tests/e2e/test_workers.py tests/flows/test_beacon.py

soak-sessions: $(VENV)/.dev  ## 1000 people and every fault for ten minutes: no session ends without a cause
	SOAK_SESSIONS_SECONDS=600 SOAK_PEOPLE=1000 $(BIN)/pytest $(LONG) -s tests/chaos/test_soak_sessions.py

chaos: $(VENV)/.dev  ## race for tokens 1000 times, take the provider, the policy decision point and Kafka away for a minute
	CHAOS_ROUNDS=1000 CHAOS_OUTAGE=60 $(BIN)/pytest $(LONG) -s tests/chaos/test_refresh_races.py tests/chaos/test_provider_outage.py \
	  tests/chaos/test_pdp_outage.py tests/chaos/test_kafka_outage.py
	CHAOS_RESTARTS=2 CHAOS_ROTATIONS=1 CHAOS_BURSTS=3 CHAOS_REQUESTS=10000 $(BIN)/pytest $(LONG) -s \
	  tests/chaos/test_rolling_restart.py tests/chaos/test_rotation.py tests/chaos/test_burst.py tests/chaos/test_max_requests.py

stream: $(VENV)/.dev  ## send a gibibyte each way through one worker, and watch its memory
	STREAM_MIB=$${STREAM_MIB:-1024} $(BIN)/pytest $(LONG) -s tests/e2e/test_proxy_memory.py

bench: $(VENV)/.dev  ## measure speed against named references in one run
	$(BIN)/python -m benchmarks

dashboards: $(VENV)/.dev  ## write deploy/grafana/dashboards from deploy/dashboards
	$(BIN)/python -m deploy.dashboards

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
