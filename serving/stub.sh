#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tritonserver starts this in place of the Python backend's stub. It becomes the stub, without the variables that are
# meant for tritonserver only, with the GPUs that tritonserver does not see, and for the engine stage with the engine's
# Python first on PATH (server_environment.py).
# Name and process stay the same: health.py finds stubs in /proc.
case $1 in
  */tensorrt_llm/[0-9]/model.py) [ -z "$ENGINE_STAGE_BIN" ] || PATH=$ENGINE_STAGE_BIN:$PATH ;;
esac
unset $TRITONSERVER_ONLY TRITONSERVER_ONLY ENGINE_STAGE_BIN
[ -z "${STUBS_CUDA_VISIBLE_DEVICES+set}" ] || export CUDA_VISIBLE_DEVICES="$STUBS_CUDA_VISIBLE_DEVICES"
unset STUBS_CUDA_VISIBLE_DEVICES
exec "${0%/*}/real/${0##*/}" "$@"
