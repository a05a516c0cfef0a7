# SPDX-License-Identifier: Apache-2.0
"""Every ✔ of the table of features has a test that looks for its effect."""

import ast

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.features import FEATURES
from serving.tools.feature_table import COLUMNS
from serving.tritonserver import ROOT
from tests.engine.features.effects import EFFECTS, ELSEWHERE, NOT_YET, USES

USED = {name: feature.is_used for name, feature in FEATURES.items() if feature.is_used}

TOGETHER = {"top_log_probs": ["return_log_probs"], "beam_width": ["num_return_sequences"]}


def test_every_feature_has_an_effect_test_or_no_engine_has_it():
    assert EFFECTS.keys() | ELSEWHERE.keys() | NOT_YET == FEATURES.keys()
    assert not EFFECTS.keys() & ELSEWHERE.keys()
    for column in COLUMNS:
        assert column.lacks.keys() >= NOT_YET, "move its line to EFFECTS or ELSEWHERE of effects.py"


@pytest.mark.parametrize("feature", USED)
def test_a_request_that_uses_a_feature_is_seen_to_use_it(feature):
    plain, using = Sampling(max_tokens=1), Sampling(**{"max_tokens": 1, **USES[feature]})
    assert not any(is_used(plain) for is_used in USED.values())
    assert {name for name, is_used in USED.items() if is_used(using)} == {feature, *TOGETHER.get(feature, ())}


def test_the_tests_that_the_effects_name_are_there():
    for test in ELSEWHERE.values():
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if hasattr(node, "name")}, test
