# SPDX-License-Identifier: Apache-2.0
"""The stages of a build for NVIDIA GPUs, served by TensorRT-LLM."""
