# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI as an engine, on any CPU."""
