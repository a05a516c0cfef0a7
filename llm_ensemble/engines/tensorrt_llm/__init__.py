# SPDX-License-Identifier: Apache-2.0
"""TensorRT-LLM as an engine, on NVIDIA GPUs."""
