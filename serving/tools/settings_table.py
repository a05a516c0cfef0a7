# SPDX-License-Identifier: Apache-2.0
"""Write docs/settings.md from the declarations of the settings.

python -m serving.tools.settings_table > docs/settings.md
"""

from __future__ import annotations

import sys
from typing import Any

from llm_ensemble.engines.kinds import KINDS, engine_kind
from llm_ensemble.settings import Settings, declared
from openai_frontend.settings import FrontendSettings
from serving.settings import ImageSettings, ServerSettings

HEAD = """# Settings

Environment variables of a server (`make serve`, `docker run -e`), read once when it starts. Everything else
comes from the engine directory's manifest. A malformed value is refused at the start, in one line that names
the variable.
`python -m serving.tools.settings_table` wrote this page.
"""
COLUMNS = "| variable | default | values | meaning |\n|---|---|---|---|\n"


def document() -> str:
    """Return the page: a table of the settings of every engine kind, and one a kind that has some."""
    parts = [HEAD, "\n## Every engine kind\n\n", table(Settings), table(ServerSettings, head="")]
    for name in KINDS:
        if declared(engine_kind(name).settings):
            parts += [f"\n## {name} alone\n\n", table(engine_kind(name).settings)]
    parts += ["\n## OpenAI's API\n\n", table(FrontendSettings)]
    parts += ["\n## Images alone\n\n", table(ImageSettings)]
    return "".join(parts)


def table(settings: type, head: str = COLUMNS) -> str:
    """Return the table of a settings type; without its head, as rows of the table before."""
    return head + "".join(
        f"| `{field.name.upper()}` | {shown(field.default)} | {field.metadata['values'].words} "
        f"| {field.metadata['meaning']} |\n"
        for field in declared(settings)
    )


def shown(default: Any) -> str:
    """Return a default as its variable would be written; empty for one that is none."""
    if isinstance(default, bool):
        default = int(default)
    return f"`{default}`" if default not in (None, "", ()) else ""


if __name__ == "__main__":
    sys.stdout.write(document())
