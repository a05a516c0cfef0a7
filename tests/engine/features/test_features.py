# SPDX-License-Identifier: Apache-2.0
"""What each engine declares to lack is refused so, and whatever it does not lack has an effect.

vLLM is in an environment of its own, in which this module is run again (test_vllm.py).
"""

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.features import FEATURES
from llm_ensemble.engines.kinds import engine_kind
from llm_ensemble.errors import RequestError
from tests.engine.features.effects import (
    EFFECTS,
    ELSEWHERE,
    OTHER_EFFECTS,
    PASSED_ON,
    USES,
    Seen,
    is_passed_on,
)
from tests.engine.submitted import KINDS, Submitted

# By the kinds of conftest.py: what a manifest calls the engine, and its backend.
ENGINES = {
    "openvino": ("openvino", ""),
    "vllm": ("vllm", ""),
    "tensorrt_llm": ("tensorrt_llm", "tensorrt"),
    "tensorrt_llm pytorch": ("tensorrt_llm", "pytorch"),
}
FAKES = ("tensorrt_llm", "tensorrt_llm pytorch")
HERE = {kind: engine for kind, engine in ENGINES.items() if engine[0] in KINDS}
LACKS = {kind: engine_kind(name).lacks[backend] for kind, (name, backend) in HERE.items()}
LACKING = [(kind, feature) for kind in HERE for feature in USES if feature in LACKS[kind]]
HAVING = [
    (kind, feature)
    for kind in HERE
    for feature in FEATURES
    if feature not in LACKS[kind] and feature not in ELSEWHERE
]


@pytest.mark.parametrize(("kind", "feature"), LACKING, indirect=["kind"], scope="module")
def test_what_an_engine_lacks_is_refused_with_its_reason(engine, kind, feature):
    sampling = Sampling(max_tokens=1, **USES[feature])
    field_of = FEATURES[feature].field_of
    with pytest.raises(RequestError) as refused:
        Submitted(engine, 1, **{"max_tokens": 1, **USES[feature]})
    assert refused.value.field == (field_of(sampling) if field_of else feature)
    assert refused.value.problem == LACKS[kind][feature]
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


@pytest.mark.parametrize(("kind", "feature"), HAVING, indirect=["kind"], scope="module")
def test_what_an_engine_does_not_lack_has_an_effect(engine, engine_dir, manifest, kind, feature):
    if kind in FAKES and feature in PASSED_ON:
        is_passed_on(feature)
    else:
        see = OTHER_EFFECTS.get((kind, feature)) or EFFECTS[feature]
        see(Seen(engine, engine_dir, manifest))
