# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from serving.server_environment import lay_repository, postprocessing_instances
from serving.tritonserver import MODEL_REPOSITORY


@pytest.mark.parametrize(
    ("engines", "cores", "instances"),
    [(1, 1, 1), (1, 2, 1), (1, 8, 2), (1, 16, 4), (1, 128, 4), (2, 2, 2), (2, 32, 4), (8, 32, 8)],
)
def test_postprocessing_has_an_instance_an_engine_and_more_where_there_are_cores(
    monkeypatch, engines, cores, instances
):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(cores))
    assert postprocessing_instances(engines) == instances


def test_a_repository_for_several_instances_says_how_many_of_which(tmp_path):
    counts = {"tensorrt_llm": 2, "postprocessing": 4}
    copy = lay_repository(MODEL_REPOSITORY, tmp_path / "models", counts)
    for config in copy.glob("*/config.pbtxt"):
        stage = config.parent.name
        found = [int(count) for count in re.findall(r"count: (\d+)", config.read_text())]
        assert found == ([] if stage == "ensemble" else [counts.get(stage, 1)]), stage


def test_one_instance_of_each_needs_no_copy(tmp_path):
    counts = {"tensorrt_llm": 1, "postprocessing": 1}
    assert lay_repository(MODEL_REPOSITORY, tmp_path / "models", counts).samefile(MODEL_REPOSITORY)
