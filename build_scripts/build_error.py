# SPDX-License-Identifier: Apache-2.0
"""The one error a build raises on purpose."""

from __future__ import annotations


class BuildError(Exception):
    """A build that cannot go on; the message is one line that says what is wrong and what to do."""
