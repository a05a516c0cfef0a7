# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters in PEFT's format: reading, checks against the model, names; the same for every engine."""
