# SPDX-License-Identifier: Apache-2.0
"""Guides as grammars: every kind becomes one EBNF grammar, or is refused with the place of what is wrong."""
