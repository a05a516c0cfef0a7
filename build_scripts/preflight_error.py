# SPDX-License-Identifier: Apache-2.0
"""The one error of preflight."""

from __future__ import annotations


class PreflightError(Exception):
    """Serving would fail; one line that says what to do."""
