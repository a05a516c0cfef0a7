# SPDX-License-Identifier: Apache-2.0
"""Fakes of TensorRT-LLM's build commands: the fact sheet's flags and file layout, without an engine."""
