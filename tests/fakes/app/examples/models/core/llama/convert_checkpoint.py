#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for Llama's convert_checkpoint.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[5]))

from fake_trtllm_tools.convert import convert_llama

convert_llama()
