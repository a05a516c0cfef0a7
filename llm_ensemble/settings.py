# SPDX-License-Identifier: Apache-2.0
"""Settings: environment variables, read once. Everything else comes from the manifest.

A settings type is a frozen dataclass. Each of its fields is the variable of that name in capitals, declared
by `setting`; docs/settings.md is made from these declarations.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llm_ensemble.errors import SettingError

SettingsType = TypeVar("SettingsType")


@dataclass(frozen=True)
class Values:
    """The values of a variable: in words, after "must be", and the function that reads them.

    read: raises ValueError for a malformed text; with a message, if that says more than the words do.
    secret: whether messages must not repeat a malformed text.
    """

    words: str
    read: Callable[[str], Any]
    secret: bool = False


def setting(default: Any, values: Values, meaning: str) -> Any:
    """Declare a field of a settings type. meaning: one or two sentences, for the documentation."""
    return dataclasses.field(default=default, metadata={"values": values, "meaning": meaning})


def whole_number(unit: str, least: int) -> Values:
    """Return the values of a count, at least `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError
        return int(text)

    return Values(f"a whole number of {unit}, at least {least}", read)


def one_of(*allowed: str) -> Values:
    """Return the values of a choice."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError
        return text

    return Values(" or ".join(allowed), read)


def switch() -> Values:
    """Return the values of what is on (1) or off (0)."""
    choice = one_of("0", "1")
    return Values(choice.words, lambda text: choice.read(text) == "1")


def number(words: str, is_valid: Callable[[float], bool]) -> Values:
    """Return the values of a number within a range, which `words` names."""

    def read(text: str) -> float:
        value = float(text)
        if not is_valid(value):
            raise ValueError
        return value

    return Values(words, read)


@dataclass(frozen=True)
class EngineSettings:
    """The settings of one engine kind; the base, for a kind that has none."""

    @property
    def instances(self) -> int:
        """Instances of the engine stage."""
        return 1


@dataclass(frozen=True)
class Settings:
    """The settings of every engine kind. engine: those of the kind that is served."""

    engine_dir: Path = setting(
        Path("/engine"), Values("a path", Path), "The engine directory; an image mounts it at the default."
    )
    max_waiting: int = setting(
        256,
        whole_number("sequences", least=0),
        "Sequences that may wait for a slot; a request beyond them is rejected as overloaded.",
    )
    deadline_ms: int = setting(
        600_000,
        whole_number("milliseconds", least=1),
        "The deadline of a request that sets no `deadline_ms`. It also ends a unary HTTP request after its "
        "client has disconnected, which Triton does not notice.",
    )
    hang_seconds: int = setting(
        60,
        whole_number("seconds", least=5),
        "For how long a stage may make no progress, although probed, before the watchdog ends the server. A "
        "slow machine may take tens of seconds for the prefill of a long prompt.",
    )
    on_dead: str = setting(
        "exit",
        one_of("exit", "restart"),
        "What `serve` does when a stage has died or hangs: exit with status 3, or restart tritonserver.",
    )
    log_format: str = setting(
        "text", one_of("text", "json"), "The format of the log's line about each request."
    )
    log_text: bool = setting(
        False, switch(), "Whether the log's line about a request has its prompt and its completion."
    )
    lora_dir: Path | None = setting(
        None,
        Values("a folder", lambda text: Path(text) if text else None),
        "A folder of LoRA adapters, a subfolder each, as PEFT saves them (docs/lora.md).",
    )
    max_loras: int = setting(
        0,
        whole_number("adapters", least=0),
        "Adapters in memory at a time; one more takes the place of that used least recently. 0: those of "
        "`LORA_DIR`, at most 8, and with the openvino engine no more than fit in half of the memory.",
    )
    engine: EngineSettings = EngineSettings()


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of every engine kind. Raise SettingError for a malformed variable."""
    return read(Settings, environ)


def read(settings: type[SettingsType], environ: Mapping[str, str]) -> SettingsType:
    """Return a settings type read from the environment. Raise SettingError, which names the variable."""
    given = {
        field.name: _read_one(field.name.upper(), field.metadata["values"], environ[field.name.upper()])
        for field in declared(settings)
        if field.name.upper() in environ
    }
    return settings(**given)


def declared(settings: type) -> list[dataclasses.Field[Any]]:
    """Return the fields of a settings type that are variables."""
    return [field for field in dataclasses.fields(settings) if "values" in field.metadata]


def _read_one(name: str, values: Values, text: str) -> Any:
    try:
        return values.read(text)
    except ValueError as error:
        # float()'s own message is not meant for an operator.
        words = str(error) if str(error).startswith("must ") else f"must be {values.words}"
        got = "" if values.secret else f", not {text!r}"
        raise SettingError(f"{name} {words}{got}") from None
