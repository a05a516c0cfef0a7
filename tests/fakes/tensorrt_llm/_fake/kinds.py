# SPDX-License-Identifier: Apache-2.0
"""Types of the fact sheet's fields, parsed from the sheet."""

import functools
import re
from typing import NamedTuple

RANGES = {"[0,1]": (0, 1), ">=0": (0, None), ">=1": (1, None)}
NUMBERS = {"int": (int,), "float": (int, float)}
PLAIN = {"bool": bool, "str": str, "dict": dict}


class Kind(NamedTuple):
    """alternatives: names of the types a value may have. choices: the only strings allowed instead."""

    text: str
    alternatives: tuple[str, ...]
    choices: tuple[str, ...]
    least: float | None
    most: float | None


@functools.cache
def parse(text: str) -> Kind:
    least, most = next((limits for words, limits in RANGES.items() if words in text), (None, None))
    bare = re.sub(r"\s*(\([^)]*\)|\[0,1\]|>=0)", "", text)
    if match := re.match(r"(?:Literal|str:? (?=\w))(.*)", bare):
        words = re.findall(r"\w+", match[1])
        optional = ("None",) if "None" in words else ()
        return Kind(text, optional, tuple(word for word in words if word != "None"), least, most)
    alternatives = re.findall(r"[^|\[]+(?:\[[^|]*\])?", bare)
    return Kind(text, tuple(alternatives), (), least, most)


def check(name: str, text: str, value: object, classes: dict[str, type], error: type[Exception]) -> None:
    """Raise `error` unless the value is of the kind; ValueError if it is, but out of range."""
    kind = parse(text)
    if kind.choices and isinstance(value, str) and value in kind.choices:
        return
    if not any(_is(value, alternative, classes) for alternative in kind.alternatives):
        raise error(f"{name} must be {text}, not {value!r}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        too_small = kind.least is not None and value < kind.least
        if too_small or (kind.most is not None and value > kind.most):
            raise ValueError(f"{name} must be {text}, not {value!r}")


def _is(value: object, alternative: str, classes: dict[str, type]) -> bool:
    """Numpy's numbers are not Python's, True is not 1; a class that the sheet only names matches nothing."""
    if alternative == "None":
        return value is None
    if match := re.fullmatch(r"torch\.Tensor\[(\w+), vocab\]", alternative):
        return (
            type(value).__module__ == "torch" and str(value.dtype) == f"torch.{match[1]}" and value.ndim == 1
        )
    if alternative in NUMBERS:
        return type(value) in NUMBERS[alternative]
    if match := re.fullmatch(r"list\[(.+)\]", alternative):
        return isinstance(value, list) and all(_is(item, match[1], classes) for item in value)
    if alternative == "Path":
        return hasattr(value, "__fspath__")
    kind = PLAIN.get("dict" if alternative.startswith("dict[") else alternative, classes.get(alternative))
    return kind is not None and isinstance(value, kind)
