# Everything a newcomer, a developer and CI type. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
LOCK := requirements.lock
STAMP := $(VENV)/.ready
KAFKA_CACHE ?= .cache/kafka
OUT ?= demo-out
BENCH_OUT ?= bench-out
QUIX := .cache/quix/.ready
NATIVE := $(wildcard runtime/native/*.c runtime/native/*.toml runtime/native/*/*.py)

export ORT_DISABLE_TELEMETRY := 1
export PYTHONDONTWRITEBYTECODE :=
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export EDGE_RNN_KAFKA_CACHE := $(abspath $(KAFKA_CACHE))

.PHONY: help venv native demo demo-kafka test test-fast lint types contracts check wheel bench bench-quick bench-docs voice chaos soak fuzz engines gpu imports kafka recipes containers fleet lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 14

venv: $(STAMP) ## Create .venv and install the locked dependencies and this project

$(STAMP): $(LOCK) pyproject.toml $(NATIVE)
	@echo "== creating $(VENV) with the locked dependencies (about 5 GB: torch brings CUDA's libraries)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(UV) pip sync --quiet $(LOCK)
	@$(UV) pip install --quiet --no-deps --editable .
	@if command -v cc >/dev/null; then $(UV) pip install --quiet --no-deps ./runtime/native; \
	else echo "== no C compiler: --client confluent does without its native part, and is slower"; fi
	@touch $@

native: $(STAMP) ## Build the optional native wheel of --client confluent (a C compiler); dist/
	@$(UV) build --quiet --wheel --out-dir dist runtime/native

demo: $(STAMP) ## Train, export, verify, stream, kill, recover; ends with a page to look at (OUT=demo-out)
	@$(BIN)/edge-rnn demo --out $(OUT)

demo-kafka: $(STAMP) kafka ## The same on Apache Kafka, which it starts itself (Java and Maven)
	@$(BIN)/python -m tests.kafka.broker -- $(BIN)/edge-rnn demo --out $(OUT)-kafka --broker {broker} --client confluent

kafka: $(STAMP) ## Fetch Apache Kafka by Maven, for tests and benchmarks
	@echo "== Apache Kafka in $(KAFKA_CACHE)"
	@$(BIN)/python -m tests.kafka.broker --fetch

test: $(STAMP) ## All tests; those on Kafka skip without Java and Maven (in CI they fail)
	@echo "== tests"
	@$(BIN)/python -m pytest -q -m "not chaos and not fleet" -n 2 --dist loadfile

containers: $(STAMP) ## What tests of images and devices stand on: podman, a registry, root file systems (root, Debian)
	@echo "== containers"
	@$(BIN)/python -m tests.deploy.containers

fleet: $(STAMP) kafka containers ## Images, eight devices with sshd and systemd, fifty killed at random points, 20 seeds (half an hour)
	@EDGE_RNN_FLEET_SEEDS=20 EDGE_RNN_FLEET_DEVICES=50 EDGE_RNN_TOWN_DEVICES=8 $(BIN)/python -m pytest -q -s -m "" tests/deploy

test-fast: $(STAMP) ## Tests that need no broker
	@$(BIN)/python -m pytest -q -m "not kafka and not slow and not chaos and not fleet"

chaos: $(STAMP) kafka ## Faults from a seed on SQLite and Kafka, every output compared (about 4 minutes)
	@$(BIN)/python -m pytest -q tests/chaos

soak: $(STAMP) kafka ## Half an hour of faults on three nodes of Kafka (root: with network partitions), then 500 random modules exported
	@$(BIN)/python -m tests.chaos --transport confluent --nodes 3 --network --seconds 1800 --faults 1000 --quick 4 --seed 1 --daemon-argument=--background-records=8 --json chaos-out/soak.json --logs chaos-out/logs
	@$(MAKE) --no-print-directory fuzz

fuzz: $(STAMP) ## 500 random causal modules exported and compared, and every kind of the zoo (about 10 minutes)
	@EDGE_RNN_FUZZ=500 $(BIN)/python -m pytest -q -s -o faulthandler_timeout=20000 tests/exporters/test_fuzz.py
	@$(BIN)/python -m tests.exporters.zoo

engines: $(STAMP) ## TensorRT engines of every model for four GPUs in four precisions, inspected; renews docs/gpu.md (about 20 minutes)
	@$(BIN)/python -m tests.exporters.tensorrt --write docs/gpu.md

gpu: $(STAMP) ## What only a GPU can show: tests and benchmark; OUT=gpu-out for the report
	@$(BIN)/python -m tests.gpu

imports: $(STAMP) ## ONNX files out of PyPI packages imported and compared with a plain loop; renews docs/import.md
	@$(BIN)/python -m tests.exporters.foreign --write docs/import.md

lint: $(STAMP) ## ruff: lint and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

contracts: $(STAMP) ## import-linter: who may import whom
	@$(BIN)/lint-imports

check: lint types contracts ## All that reads the code without running it

wheel: $(STAMP) ## Build the wheel into dist/
	@rm -rf dist build && $(UV) build --quiet --wheel --out-dir dist .

bench: $(STAMP) kafka $(QUIX) ## Every ratio beside the peers, in one run (about 25 minutes; Java, Maven); bench-out/
	@echo "== about 25 minutes; leave the machine alone meanwhile"
	@$(BIN)/python -m tests.benchmarks --out $(BENCH_OUT)

bench-quick: $(STAMP) kafka ## The same on ratios that a regression would show, under generous thresholds (a minute)
	@$(BIN)/python -m tests.benchmarks --quick --out $(BENCH_OUT)-quick

voice: $(STAMP) kafka ## Live streams of sound that this machine carries, and a frame's cost beside the model alone (3 minutes)
	@$(BIN)/python -m tests.benchmarks.voice

bench-docs: $(STAMP) ## Write the tables of docs/performance.md and docs/scale.md from the last report of make bench
	@$(BIN)/python -m tests.benchmarks.report $(BENCH_OUT)/report.json docs/performance.md
	@$(BIN)/python -m tests.benchmarks.scale $(BENCH_OUT)/report.json docs/scale.md

$(QUIX): tests/benchmarks/peers/quix.lock | $(STAMP)
	@echo "== Quix Streams in an environment of its own"
	@$(UV) venv --quiet --clear --python $(BIN)/python .cache/quix
	@$(UV) pip sync --quiet --python .cache/quix/bin/python tests/benchmarks/peers/quix.lock
	@touch $@

recipes: $(STAMP) ## Train every recipe with five seeds and write docs/recipes.md (about a quarter of an hour)
	@$(BIN)/python -m tests.recipes.measure

CONSTRAINTS := deploy/images/locks/constraints.in

lock: ## Resolve the dependencies anew (writes requirements.lock, no registry addresses)
	@test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	@$(UV) pip compile --quiet --universal --no-emit-index-url --no-annotate --constraint $(CONSTRAINTS) --extra dev -o $(LOCK) pyproject.toml
	@$(UV) pip compile --quiet --universal --no-emit-index-url --no-annotate --python-version 3.11 -o tests/benchmarks/peers/quix.lock tests/benchmarks/peers/quix.in
	@$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --generate-hashes \
		--constraint $(CONSTRAINTS) --extra cpu --extra fast -o deploy/images/locks/cpu.lock pyproject.toml
	@echo 'onnxruntime-gpu[cuda,cudnn]>=1.20' | $(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--no-annotate --no-header --generate-hashes --constraint $(CONSTRAINTS) --extra fast -o deploy/images/locks/cuda.lock pyproject.toml -

clean: ## Remove what was built, not the environment
	@rm -rf build dist *.egg-info demo-out demo-out-kafka bench-out bench-out-quick chaos-out gpu-out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
