# SPDX-License-Identifier: Apache-2.0
"""Guides with vLLM: as its parameters, and tried before it gets them."""
