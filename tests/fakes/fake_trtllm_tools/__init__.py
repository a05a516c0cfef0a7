# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for TensorRT-LLM's build commands: the fact sheet's flags, files in its layout, no engine."""
