# SPDX-License-Identifier: Apache-2.0
"""Triton's side of the stages: tensors, responses and errors."""
