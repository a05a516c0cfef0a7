# SPDX-License-Identifier: Apache-2.0
"""The real vLLM as an engine, in an environment of its own: what every engine does, and what is its own."""

import os
import re

from tests.vllm_environment import run_in_vllm_environment

# vLLM's imports warn of much that is deprecated.
PYTEST = ("-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider")
# Each loads vLLM again, for half a minute; with ALL_OF_VLLM set (make vllm-test) they run too.
SLOW = (
    "-k",
    "not counted_in_sequences and not refused_at_once and not closing_ends_every and not dies_without "
    "and not (in_fewer_steps and draft)",
)
MODULES = (
    *("tests/engine/test_every_engine.py", "tests/engine/features/test_features.py"),
    *("tests/engine/test_engine_guides.py", "tests/engine/test_lora.py"),
    "tests/engine/in_vllm_environment.py",  # last, since it closes the engine
)


def test_vllm_does_what_every_engine_does_and_what_is_its_own(vllm_engine, lora):
    slow = () if os.environ.get("ALL_OF_VLLM") else SLOW
    tested = {"TESTED_ENGINE_DIR": str(vllm_engine), "TESTED_LORA": str(lora.folder)}
    done = run_in_vllm_environment(*PYTEST, *slow, *MODULES, **tested)
    assert done.returncode == 0, done.stdout[-20_000:]
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 30
