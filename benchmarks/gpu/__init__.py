# SPDX-License-Identifier: Apache-2.0
"""The table of vLLM on a GPU: this project's server beside `vllm serve` and the bare engine."""
