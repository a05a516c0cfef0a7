# SPDX-License-Identifier: Apache-2.0
"""From the text that a model writes to what it means: reasoning, tool calls and the answer itself."""
