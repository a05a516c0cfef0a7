# SPDX-License-Identifier: Apache-2.0
"""The engines, a folder each, behind one protocol."""
