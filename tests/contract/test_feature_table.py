# SPDX-License-Identifier: Apache-2.0
"""The table of docs/contract.md is what the engines declare."""

from llm_ensemble.engines.features import FEATURES
from llm_ensemble.engines.kinds import KINDS, engine_kind
from llm_ensemble.engines.tensorrt_llm.features import pytorch_lacks
from serving.tools.feature_table import COLUMNS, CONDITIONS, NOTES, PAGE, document, table
from tests.fakes import NEWER


def test_the_page_is_up_to_date():
    """If not: python -m serving.tools.feature_table."""
    page = PAGE.read_text()
    assert table() in page
    assert document(page) == page


def test_every_engine_and_backend_has_a_column():
    declared = {(kind, backend) for kind in KINDS for backend in engine_kind(kind).lacks}
    assert {(column.kind, column.backend) for column in COLUMNS} == declared


def test_an_engine_declares_known_features_alone():
    for column in COLUMNS:
        assert column.lacks.keys() <= FEATURES.keys()
        assert all(column.lacks.values())


def test_every_note_has_its_mark_and_is_of_a_column_and_a_feature():
    places = {(feature, column.backend or column.kind) for feature in FEATURES for column in COLUMNS}
    assert CONDITIONS.keys() <= places
    assert {*CONDITIONS.values()} == {*range(1, len(NOTES) + 1)}


def test_what_newer_releases_of_tensorrt_llm_have_is_noted():
    (pytorch,) = (column.lacks for column in COLUMNS if column.backend == "pytorch")
    noted = {feature for (feature, column), number in CONDITIONS.items() if number == len(NOTES)}
    assert noted == pytorch.keys() - pytorch_lacks(NEWER).keys()
