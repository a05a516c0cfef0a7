# SPDX-License-Identifier: Apache-2.0
"""The errors a build raises on purpose."""

from __future__ import annotations


class BuildError(Exception):
    """A build that cannot go on; the message is one line that says what is wrong and what to do."""


class CommandFailed(BuildError):
    """A command of others failed; its output is in the build's log, which therefore stays."""
