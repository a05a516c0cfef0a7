# SPDX-License-Identifier: Apache-2.0
"""Write the table of docs/contract.md that says which engine can do what, from what each engine declares.

python -m serving.tools.feature_table
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from llm_ensemble.engines.features import FEATURES, Lacks
from llm_ensemble.engines.kinds import engine_kind

PAGE = Path(__file__).resolve().parents[2] / "docs/contract.md"
BEGIN, END = "<!-- written by python -m serving.tools.feature_table -->\n", "<!-- end -->\n"
YES, NO = "✔", "–"


class Column(NamedTuple):
    """An engine kind with one of its backends, "" for a kind without any."""

    title: str
    kind: str
    backend: str

    @property
    def lacks(self) -> Lacks:
        """What it lacks."""
        return engine_kind(self.kind).lacks[self.backend]


COLUMNS = (
    Column("OpenVINO", "openvino", ""),
    Column("vLLM", "vllm", ""),
    Column("TensorRT-LLM 1.2.1, engine", "tensorrt_llm", "tensorrt"),
    Column("TensorRT-LLM 1.2.1, PyTorch", "tensorrt_llm", "pytorch"),
)
# What holds on a condition: by feature and backend, or kind without any, the number of one of NOTES.
CONDITIONS: Mapping[tuple[str, str], int] = {
    ("beam_width", "openvino"): 1,
    ("beam_width", "tensorrt"): 2,
    ("bad_words", "openvino"): 3,
    ("logit_bias", "openvino"): 4,
    ("return_log_probs", "tensorrt"): 5,
    ("top_log_probs", "tensorrt"): 5,
    ("return_log_probs", "pytorch"): 6,
    **{
        (feature, "pytorch"): 7
        for feature in ("min_p", "seed", "repetition_penalty", "presence_penalty", "frequency_penalty")
    },
}
NOTES = (
    "without sampling and `repetition_penalty`",
    "without sampling and log probabilities",
    "words of one token, with and without a leading space; not in a beam search; with `min_tokens` or with "
    "several sequences only where no token ends the text (`ignore_eos`)",
    "-100 alone, which forbids a token; otherwise like `bad_words`",
    "if the engine was built with `--log-probs`",
    "of greedy requests; from TensorRT-LLM 1.3.0rc24 on of all",
    "from TensorRT-LLM 1.3.0rc24 on",
)


def table() -> str:
    """Return the table and its notes, as Markdown."""
    lines = [
        f"| | {' | '.join(column.title for column in COLUMNS)} |",
        "|---|" + ":-:|" * len(COLUMNS),
    ]
    group = ""
    for name, feature in FEATURES.items():
        if feature.group != group:
            group = feature.group
            lines.append(f"| **{group}** |" + " |" * len(COLUMNS))
        lines.append(f"| {feature.label} | {' | '.join(_cell(name, column) for column in COLUMNS)} |")
    notes = "; ".join(f"{_raised(number)} {note}" for number, note in enumerate(NOTES, start=1))
    return "\n".join([*lines, "", f"{notes}.", ""])


def document(page: str) -> str:
    """Return the page with the table in its place."""
    before, begin, rest = page.partition(BEGIN)
    return f"{before}{begin}\n{table()}\n{END}{rest.partition(END)[2]}"


def _cell(name: str, column: Column) -> str:
    number = CONDITIONS.get((name, column.backend or column.kind))
    mark = NO if name in column.lacks else YES
    return f"{mark} {_raised(number)}" if number else mark


def _raised(number: int) -> str:
    return f"<sup>{number}</sup>"


if __name__ == "__main__":
    PAGE.write_text(document(PAGE.read_text()))
