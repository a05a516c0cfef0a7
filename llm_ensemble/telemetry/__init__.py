# SPDX-License-Identifier: Apache-2.0
"""Metrics, and the log's lines about requests."""
