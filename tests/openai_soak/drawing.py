# SPDX-License-Identifier: Apache-2.0
"""All of our own requests, always the same ones."""

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.openai_soak.bodies import broken, deep, edges, fields_with_any_value, large, odd_messages
from tests.openai_soak.torn import chunks, odd_paths, other_kinds, pipelined, torn

EVERY_KIND = st.one_of(
    *(
        fields_with_any_value(),
        edges(),
        odd_messages(),
        deep(),
        large(),
        broken(),
        other_kinds(),
        odd_paths(),
    ),
    *(chunks(), pipelined(), torn()),
)


def drawn(number):
    """Return so many of them."""
    return drawn_of(EVERY_KIND, number)


def drawn_of(strategy, number):
    """Return so many values of a strategy, always the same ones."""
    found = []

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(strategy)
    def draw(one):
        found.append(one)

    draw()
    return found
