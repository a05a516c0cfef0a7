#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes from a site-packages folder what serving OpenVINO engines on CPUs never loads. Half of what pip installs.
set -eu
cd "$1"
# Of pytriton only tritonserver is used: its Python API is not, nor the stubs for other Pythons.
find pytriton -mindepth 1 -maxdepth 1 ! -name tritonserver ! -name __init__.py -exec rm -r {} +
: > pytriton/__init__.py
python=$(basename "$(dirname "$PWD")")
find pytriton/tritonserver/python_backend_stubs -mindepth 1 -maxdepth 1 ! -name "${python#python}" -exec rm -r {} +
[ "$python" = python3.13 ] || rm nvidia_pytriton.libs/libpython3-*
# OpenVINO: other devices, other models' file formats (ours are IR), C headers, command line tools.
rm -r openvino/include openvino/cmake openvino/tools openvino/libs/cache.json \
    openvino/libs/libopenvino_intel_gpu_plugin.so openvino/libs/libopenvino_intel_npu*
for format in onnx tensorflow tensorflow_lite pytorch paddle gguf jax; do
    rm -f openvino/libs/libopenvino_${format}_frontend.so*
done
find . -type d -name tests -prune -exec rm -r {} +
