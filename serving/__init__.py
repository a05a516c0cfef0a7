# SPDX-License-Identifier: Apache-2.0
"""Serving an engine directory on the real tritonserver: checks, start, watchdog, draining."""
