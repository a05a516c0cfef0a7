# SPDX-License-Identifier: Apache-2.0
"""A command's argparse parser, made from the fact sheet."""

import argparse
import json
import re
from pathlib import Path

SHEET = Path(__file__).parents[1] / "tensorrt-llm-1.2.json"
WORDS = {"int": int, "float": float, "str": str, "path": str, "dir": str, "deprecated": str}
# Defaults that are descriptions; the commands compute the values.
WORKED_OUT = ("max_batch_size*max_beam_width", "RENORMALIZE")


def parser_of(command: str) -> argparse.ArgumentParser:
    """No abbreviations: argparse would take --max_batch for --max_batch_size."""
    parser = argparse.ArgumentParser(prog=Path(command).name, allow_abbrev=False)
    for name, fact in json.loads(SHEET.read_text())["cli"][command].items():
        names = [name.split()[0], *re.findall(r"\((-\w+)\)", name)]
        names += re.findall(r"alias (--\w+)", fact["type"])
        parser.add_argument(*names, dest=names[0].lstrip("-"), **_options(fact))
    return parser


def _options(fact: dict) -> dict:
    text = re.sub(r" \(.*\)", "", fact["type"])
    if text == "flag":
        return {"action": "store_true"}
    default = None if fact["default"] in WORKED_OUT else fact["default"]
    if text in ("path...", "19 module names"):
        return {"nargs": "+", "default": default}
    if text == "float 0..1":
        return {"type": _part, "default": default}
    choices = text.split("|")
    if len(choices) == 1:
        return {"type": WORDS.get(text, str), "default": default}
    if all(choice.isdecimal() for choice in choices):
        return {"type": int, "choices": [int(choice) for choice in choices], "default": default}
    return {"choices": [choice for choice in choices if choice != "None"], "default": default}


def _part(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)
