# SPDX-License-Identifier: Apache-2.0
"""The errors that a build raises."""

from __future__ import annotations


class BuildError(Exception):
    """The build cannot continue; the message is one line: what is wrong, and what to do."""


class CommandFailed(BuildError):
    """An external command failed; the build's log, with its output, is kept."""
