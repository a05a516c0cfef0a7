# SPDX-License-Identifier: Apache-2.0
"""The frontend of tests/openai."""

from tests.openai.conftest import chat_engine, frontend

__all__ = ["chat_engine", "frontend"]
