# SPDX-License-Identifier: Apache-2.0
"""The errors that end a command of this package. Each message is one line that says what to do."""

from __future__ import annotations


class PreflightError(Exception):
    """Serving would fail."""


class TritonError(Exception):
    """tritonserver cannot be started here, or has ended unexpectedly."""


class ServingFailed(TritonError):
    """A server that was ready has ended, or one of its stages died or hangs."""
