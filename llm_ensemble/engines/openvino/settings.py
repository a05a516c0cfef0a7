# SPDX-License-Identifier: Apache-2.0
"""The settings of the openvino engine kind."""

from __future__ import annotations

from dataclasses import dataclass

from llm_ensemble.engines.draft import DraftSettings


@dataclass(frozen=True)
class OpenVinoSettings(DraftSettings):
    """Names that other kinds have too mean the same there."""


PLAIN = OpenVinoSettings()  # the defaults: a token a step
