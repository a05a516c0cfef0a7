# SPDX-License-Identifier: Apache-2.0
"""Classes made from the fact sheet: exactly its fields, defaults and types."""

import copy
import enum
import json
from pathlib import Path

from tensorrt_llm._fake import newer
from tensorrt_llm._fake.kinds import check
from tensorrt_llm._fake.version import NEWER

SHEET = Path(__file__).resolve().parents[2] / "tensorrt-llm-1.2.json"
FACTS = json.loads(SHEET.read_text())
if NEWER:
    newer.change(FACTS["classes"])
CLASSES: dict[str, type] = {}


class Record:
    """A dataclass: an unknown field is TypeError when passed, AttributeError when set."""

    __slots__ = ()
    _facts: dict[str, dict] = {}
    _unknown: type[Exception] = TypeError
    _wrong: type[Exception] = TypeError

    def __init__(self, **given):
        for name in given:
            if name not in self._facts or name.startswith("_"):
                raise self._unknown(f"{type(self).__name__} has no field {name!r}")
        for name, fact in self._facts.items():
            if name not in given and fact["default"] == "required":
                raise self._unknown(f"{type(self).__name__} needs {name}")
            value = given[name] if name in given else default_of(fact)
            if name in given:
                setattr(self, name, value)
            else:
                object.__setattr__(self, name, value)
        self._finish()

    def _finish(self):
        """Check and complete the fields, once all are set."""

    def __setattr__(self, name, value):
        fact = self._facts.get(name)
        if fact and not (value is None and fact["default"] is None):  # which some types do not mention
            check(f"{type(self).__name__}.{name}", fact["type"], value, CLASSES, self._wrong)
        object.__setattr__(self, name, value)

    def __eq__(self, other):
        return type(self) is type(other) and self._values() == other._values()

    __hash__ = None

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._values().items())})"

    def _values(self):
        return {name: getattr(self, name) for name in self._facts}


class Model(Record):
    """A pydantic model that forbids extra fields: all errors are ValueError."""

    __slots__ = ()
    _unknown = ValueError
    _wrong = ValueError

    def __setattr__(self, name, value):
        if name not in self._facts:
            raise ValueError(f"{type(self).__name__} has no field {name!r}")
        super().__setattr__(name, value)


def default_of(fact: dict):
    """A class that the sheet only names (MoeConfig) leaves its name as the default."""
    value = fact["default"]
    if not isinstance(value, str):
        return copy.deepcopy(value)
    if value.startswith("{}"):
        return {}
    if value.endswith("()") and value[:-2] in CLASSES:
        return CLASSES[value[:-2]]()
    kind = CLASSES.get(fact["type"].split("|")[0])
    return kind(value) if kind and issubclass(kind, enum.Enum) else value


def make_class(sheet_name: str, base: type = Model, more_facts: dict | None = None) -> type:
    """Make the class of that name and register it for the types of other fields."""
    name = sheet_name.split("(")[0]
    facts = {**(more_facts or {}), **FACTS["classes"][sheet_name]}
    members = {"__slots__": tuple(facts), "_facts": facts, "__module__": "tensorrt_llm"}
    CLASSES[name] = type(name, (base,), members)
    return CLASSES[name]


def make_enum(name: str) -> type:
    values = {value: value for value in FACTS["classes"][name]["values"]}
    CLASSES[name] = enum.Enum(name, values, type=str, module="tensorrt_llm")
    return CLASSES[name]
