# SPDX-License-Identifier: Apache-2.0
"""What effects.py finds is told as a test's own assertions are."""

import pytest

pytest.register_assert_rewrite("tests.engine.features.effects")
