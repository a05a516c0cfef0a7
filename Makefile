# Everything a person does here, by name. `make help` lists it.

PYTHON ?= python3
MODEL ?= models/demo
OUTPUT ?= engines/$(notdir $(MODEL))
ENGINE_DIR ?= engines/demo
HOST ?= 127.0.0.1
HTTP_PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002

# Two environments: building needs torch, serving must not have it.
SERVE = .venv/bin/python
BUILD = .venv-build/bin/python
BUILD_DEMO = $(BUILD) -m build_scripts.build --model models/demo --engine openvino --precision int8 --output engines/demo
# Only 1 lets a checkpoint's own code run.
TRUST = $(if $(filter 1,$(TRUST_REMOTE_CODE)),--trust-remote-code)
# What build is told only when it was given here; build.py knows what is usual.
given = $(if $($(1)),--$(2) '$($(1))')
FOR_BUILD = $(call given,ENGINE,engine) $(call given,BACKEND,backend) $(call given,PRECISION,precision) \
  $(call given,MAX_SEQ_LEN,max-seq-len) $(call given,MAX_BATCH_SIZE,max-batch-size) \
  $(call given,MAX_INPUT_LEN,max-input-len) $(call given,MAX_NUM_TOKENS,max-num-tokens) \
  $(call given,MAX_BEAM_WIDTH,max-beam-width) $(call given,TENSOR_PARALLEL,tensor-parallel) \
  $(call given,CALIB_DATASET,calib-dataset) $(if $(filter 1,$(LOG_PROBS)),--log-probs) $(TRUST)
PORTS = --host $(HOST) --http-port $(HTTP_PORT) --grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT)
# Where pip would otherwise tell of its own new version on every call.
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo build serve test image-test soak load bench check fix clean

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.serve .venv-build/.build ## set up, build the demo engine, serve it, ask it over HTTP and gRPC, stop
	$(BUILD_DEMO)
	$(SERVE) -m build_scripts.demo --engine-dir engines/demo

build: .venv-build/.build ## MODEL=hub/name or folder, OUTPUT=engines/name, PRECISION=int8, ENGINE, BACKEND, MAX_BATCH_SIZE ...
	$(BUILD) -m build_scripts.build --model $(MODEL) --output $(OUTPUT) $(FOR_BUILD)

serve: .venv/.serve ## ENGINE_DIR=engines/name, HTTP_PORT=8000 GRPC_PORT=8001 METRICS_PORT=8002, until Ctrl-C
	@$(SERVE) -m build_scripts.serve --engine-dir $(ENGINE_DIR) $(PORTS)

test: .venv/.test .venv-build/.build ## every test: units, builds, the contract, the real server
	$(SERVE) -m pytest $(PYTEST)

image-test: .venv/.test ## build the cpu image with buildah, start, ask and stop it; minutes, needs root
	$(SERVE) -m tests.image

soak: .venv/.test engines/demo/manifest.json ## 20,000 short requests, a third of them left: all end, nothing is left
	$(SERVE) -m tests.soak --engine-dir engines/demo

load: .venv/.test ## 500 streams at once for ten minutes: all texts whole, memory flat; STREAMS=, SECONDS=
	$(SERVE) -m tests.load $(call given,STREAMS,streams) $(call given,SECONDS,seconds)

bench: .venv/.bench engines/opt-125m-random/manifest.json ## raw engine, ensemble, ensemble streamed at 1, 8, 32, 64 requests; a quarter of an hour
	$(SERVE) -m client.bench --serve engines/opt-125m-random --mode both --baseline engine \
	  --concurrency 1,8,32,64 --input-tokens 32 --output-tokens 128 \
	  --title "Random weights in OPT-125m's shape, INT8" --json build/bench.json --picture build/bench.png $(BENCH)

check: .venv/.test ## ruff and mypy
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

fix: .venv/.test ## what ruff can repair by itself
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

engines/demo/manifest.json: .venv-build/.build
	$(BUILD_DEMO)

engines/opt-125m-random/manifest.json: .venv-build/.build
	$(BUILD) benchmarks/opt_checkpoint.py build/opt-125m-random
	$(BUILD) -m build_scripts.build --model build/opt-125m-random --engine openvino --precision int8 \
	  --max-batch-size 64 --output engines/opt-125m-random

clean: ## remove the environments and the engines
	rm -rf .venv .venv-build engines

.venv/.serve: pyproject.toml
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or sys.exit(f"make: $(PYTHON) is Python {sys.version.split()[0]}, this needs 3.10 to 3.13: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import shutil, sys; sys.version_info < (3, 13) or shutil.which("c++") or sys.exit("make: Python 3.13 has no wheel of numpy 1.26 and must compile it: apt install g++, or make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -e '.[openvino,client]'
# Only the tritonserver/ folder of this wheel is wanted: its dependencies serve a Python API we do not use.
# Pinned: it carries tritonserver 2.51.0, on which everything here was seen.
	.venv/bin/pip install -q --no-deps nvidia-pytriton==0.7.0
	@touch $@

.venv/.test: .venv/.serve
	.venv/bin/pip install -q -e '.[test,check]'
	@touch $@

.venv/.bench: .venv/.serve
	.venv/bin/pip install -q -e '.[bench]'
	@touch $@

.venv-build/.build: requirements/build.txt requirements/build-nodeps.txt | .venv/.serve
	$(PYTHON) -m venv .venv-build
	.venv-build/bin/pip install -q -r requirements/build.txt
	.venv-build/bin/pip install -q --no-deps -r requirements/build-nodeps.txt
	@touch $@
