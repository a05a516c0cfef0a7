# SPDX-License-Identifier: Apache-2.0
"""The settings of the frontend. Its address and port are options of `serve`, as Triton's are."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from llm_ensemble.errors import SettingError
from llm_ensemble.settings import Values, one_of, setting, whole_number
from openai_frontend.parsers.formats import AUTO, FORMATS, OFF, TAGS
from openai_frontend.tls import TlsError, server_context

KEY = re.compile(r"[!-+\--~]+")  # what a header can carry, without the comma that separates keys
KEY_WORDS = "API keys of visible ASCII characters without a comma, separated by commas"
ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.\[\]:-]+")
MEBIBYTE = 2**20
# What is imported beside the standard library and the client; `openai` in pyproject.toml brings them.
PACKAGES = ("fastapi", "httptools", "prometheus_client", "pydantic", "uvicorn", "uvloop", "tritonclient")


def comma_separated(pattern: re.Pattern[str], words: str, *, secret: bool = False) -> Values:
    """Return the values of a list whose items match a pattern. An empty text is an empty list."""

    def read(text: str) -> tuple[str, ...]:
        items = tuple(item for item in map(str.strip, text.split(",")) if item)
        if not all(map(pattern.fullmatch, items)):
            raise ValueError
        return items

    return Values(words, read, secret)


@dataclass(frozen=True)
class FrontendSettings:
    """Who may ask, from where, and how much. An empty text is the same as none."""

    openai_model_name: str = setting(
        "",
        Values("a name, or several separated by commas", str),
        "The name by which requests name the model, in place of the checkpoint's; of several any will do.",
    )
    tool_parser: str = setting(
        AUTO,
        one_of(AUTO, OFF, *FORMATS),
        "The format in which the model calls tools; `auto` knows it by the chat template, with `none` "
        "answers are as the model writes them.",
    )
    reasoning_parser: str = setting(
        AUTO,
        one_of(AUTO, OFF, TAGS),
        "Whether reasoning in `<think>` tags is apart from the answer; with `auto` it is if the chat "
        "template or the tokenizer has these tags.",
    )
    openai_api_keys: tuple[str, ...] = setting(
        (),
        comma_separated(KEY, KEY_WORDS, secret=True),
        "Keys of which a request must carry one, as `Authorization: Bearer KEY` or as the password of HTTP "
        "Basic; `/health` alone needs none. Without keys every client is answered.",
    )
    openai_api_keys_file: str = setting(
        "",
        Values("the path of a file", str),
        "A file of further keys, one a line; lines that begin with `#` are comments.",
    )
    openai_cors_origins: tuple[str, ...] = setting(
        (),
        comma_separated(ORIGIN, "origins like https://example.com separated by commas, or *"),
        "The websites whose scripts may ask from a browser; by default none but the frontend's own page.",
    )
    openai_max_body: int = setting(
        8 * MEBIBYTE, whole_number("bytes", least=1), "The longest body of a request; a longer one gets 413."
    )
    openai_max_connections: int = setting(
        2048,
        whole_number("connections", least=1),
        "How many connections may be open; requests on those beyond get 503.",
    )
    openai_tls_cert: str = setting(
        "",
        Values("the path of a PEM file", str),
        "The certificate, with those between it and its root. With it and `OPENAI_TLS_KEY` the frontend "
        "speaks HTTPS alone.",
    )
    openai_tls_key: str = setting(
        "", Values("the path of a PEM file", str), "The certificate's private key, without a passphrase."
    )

    @property
    def has_tls(self) -> bool:
        """Whether clients connect by HTTPS."""
        return bool(self.openai_tls_cert)


def read_api_keys(settings: FrontendSettings) -> tuple[str, ...]:
    """Return the keys of the setting and of the file. Raise SettingError for a file without keys.

    Such a file is a mistake: it would leave open what its operator wants closed.
    """
    if not settings.openai_api_keys_file:
        return settings.openai_api_keys
    path = Path(settings.openai_api_keys_file)
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingError(f"OPENAI_API_KEYS_FILE: {path} cannot be read ({reason})") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise SettingError(f"OPENAI_API_KEYS_FILE: {path} has no key: write one a line, or unset it")
    for number, line in enumerate(lines, 1):
        if line in keys and not KEY.fullmatch(line):
            raise SettingError(
                f"OPENAI_API_KEYS_FILE: line {number} of {path} must be a key of visible ASCII characters "
                "without a comma"
            )
    return (*settings.openai_api_keys, *keys)


def check(settings: FrontendSettings) -> None:
    """Check what the frontend would fail on when it starts. Raise SettingError."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingError(
            f"OpenAI's API needs {missing[0]}, which is not installed: pip install '.[openai,client]', "
            "or turn it off with OPENAI_PORT=0"
        )
    read_api_keys(settings)
    check_tls(settings)


def check_tls(settings: FrontendSettings) -> None:
    """Check that certificate and key are there and belong together. Raise SettingError."""
    if bool(settings.openai_tls_cert) != bool(settings.openai_tls_key):
        raise SettingError("OPENAI_TLS_CERT and OPENAI_TLS_KEY belong together: set both, or neither")
    try:
        if settings.has_tls:
            server_context(settings.openai_tls_cert, settings.openai_tls_key)
    except TlsError as error:
        raise SettingError(f"OPENAI_TLS_CERT, OPENAI_TLS_KEY: {error}") from error
