# SPDX-License-Identifier: Apache-2.0
"""Guides: what a completion must match, in one of the forms that NVIDIA's ensemble names."""

from __future__ import annotations

import msgspec

from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.errors import RequestError

TYPE, GUIDE = "guided_decoding_guide_type", "guided_decoding_guide"
JSON = "json"  # any JSON object; the one type without a guide
TYPES = (JSON, "json_schema", "regex", "ebnf_grammar", "choice")


class Guide(msgspec.Struct, frozen=True):
    """kind: of TYPES. text: a JSON schema, a regular expression, a grammar, or a JSON array of strings.
    field: the input that asks for it, for messages to the client."""

    kind: str
    text: str = ""
    field: str = TYPE

    def refusal(self, problem: str) -> RequestError:
        """Return the error for a guide that is wrong, or cannot be compiled."""
        return RequestError(GUIDE if self.field == TYPE else self.field, problem)


def read_guide(fields: RequestFields) -> Guide | None:
    """Return the guide of a request, None if it has none. Raise RequestError if a half of it is missing."""
    kind, text = fields.guided_decoding_guide_type, fields.guided_decoding_guide
    if not kind and not text:
        return None
    if not kind:
        raise RequestError(TYPE, f"missing; send with the guide what it is: {', '.join(TYPES)}")
    if kind not in TYPES:
        raise RequestError(TYPE, f"got {kind[:40]!r}, must be one of {', '.join(TYPES)}")
    if (kind == JSON) == bool(text):
        problem = f"does not belong to {JSON}; send json_schema, or leave it out" if text else "missing"
        raise RequestError(GUIDE, problem)
    return Guide(kind, text)
