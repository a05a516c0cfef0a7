# SPDX-License-Identifier: Apache-2.0
"""Guides of OpenVINO GenAI: the vocabulary it needs for them, and their compilation away from its steps."""
