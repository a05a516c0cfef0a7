# SPDX-License-Identifier: Apache-2.0
"""A frontend of an engine that has guides: OpenVINO's, or vLLM's with ALL_OF_VLLM (make vllm-test)."""

import os

import pytest

from llm_ensemble.engines.kinds import engine_kind
from tests.openai.frontend import TEMPLATE, frontend_of
from tests.server.conftest import with_chat_template
from tests.vllm_environment import ENVIRON


@pytest.fixture(scope="session")
def guided(request, tmp_path_factory):
    """The frontend."""
    kind = "vllm" if os.environ.get("ALL_OF_VLLM") else "openvino"
    if "guide json_schema" in engine_kind(kind).lacks[""]:
        pytest.skip(f"the {kind} engine lacks guides")
    plain = request.getfixturevalue("vllm_engine" if kind == "vllm" else "demo_engine")
    engine = with_chat_template(plain, tmp_path_factory.mktemp("guided-engine") / "engine", TEMPLATE)
    environ = ENVIRON if kind == "vllm" else {}
    with frontend_of(engine, tmp_path_factory.mktemp("guided"), **environ) as frontend:
        yield frontend
