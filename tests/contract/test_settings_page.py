# SPDX-License-Identifier: Apache-2.0
"""docs/settings.md is what the declarations of the settings say."""

from serving.tools.settings_table import document
from serving.tritonserver import ROOT


def test_the_page_is_up_to_date():
    """If not: python -m serving.tools.settings_table > docs/settings.md."""
    assert (ROOT / "docs/settings.md").read_text() == document()
