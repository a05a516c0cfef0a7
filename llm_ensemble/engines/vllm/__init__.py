# SPDX-License-Identifier: Apache-2.0
"""The engine kind vllm: vLLM's AsyncLLM on NVIDIA GPUs, or on a CPU."""
