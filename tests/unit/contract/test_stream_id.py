# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from llm_ensemble.contract.stream_id import StreamId


def test_instances_count_in_ranges_of_their_own():
    ids = [list(itertools.islice(StreamId.of_instance(instance), 3)) for instance in range(2)]
    assert len({*ids[0], *ids[1]}) == 6
    assert [[one.instance for one in some] for some in ids] == [[0] * 3, [1] * 3]
    assert not any(one.is_unary for some in ids for one in some)


def test_an_id_of_ensemble_unary_belongs_to_no_instance_and_does_not_come_again():
    ids = {StreamId.for_unary() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(one.is_unary and one.instance is None for one in ids)


@pytest.mark.parametrize("value", [0, -1, 2**64])
def test_any_other_integer_is_refused(value):
    with pytest.raises(ValueError, match="is no stream id"):
        StreamId(value)


def test_its_bytes_are_read_back():
    for value in (1, 2**63 - 1, 2**63, 2**64 - 1):
        assert StreamId.from_bytes(StreamId(value).to_bytes(8, "big"), "big") == value
    with pytest.raises(ValueError, match="0 is no stream id"):
        StreamId.from_bytes(bytes(8), "big")
