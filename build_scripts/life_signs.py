# SPDX-License-Identifier: Apache-2.0
"""What proves a server's steps alive: numbers that grow while they work, and an answer when we ask."""

from __future__ import annotations

import enum
import http.client
import json
import re
from dataclasses import dataclass

from build_scripts.tritonserver import Ports
from client.errors import ClientError, InvalidRequest, Overloaded, Unreachable
from client.http_wire import INFER, infer_answer, infer_body

ENGINE = "tensorrt_llm"
STEPS = ("ensemble_unary", "preprocessing", ENGINE, "postprocessing")  # as a plain request meets them
PROBE_ID = "watchdog"  # its name in logs
# Successes alone: requests that a dead process fails are counted, too.
SUCCESSES = re.compile(r'^nv_inference_request_success\{[^}]*model="(\w+)"[^}]*\} (\S+)$', re.MULTILINE)
# Triton's counters know the engine step's requests by their end. Between, tokens prove that it computes, and
# its cache where a beam search gives none before its end; empty chunks come of a clock and prove nothing.
TOKENS = re.compile(r"^(llm_generation_tokens_total\b\S*) (\S+)$", re.MULTILINE)
# No part of it is also what an engine shows that has no request: nothing to be told from that.
CACHE = re.compile(r"^(llm_kv_cache_usage_ratio\b\S*) (\S*[1-9]\S*)$", re.MULTILINE)
SCRAPE_SECONDS = 5


Signs = dict[str, dict[str, str]]  # by step: its numbers by their names


def read_signs(ports: Ports) -> Signs:
    """The steps' numbers, from Triton's metrics: one that changes shows work. Empty if they do not come."""
    connection = http.client.HTTPConnection(ports.host, ports.metrics, timeout=SCRAPE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    signs = {model: {"answered": count} for model, count in SUCCESSES.findall(text)}
    return signs | {ENGINE: dict(TOKENS.findall(text) + CACHE.findall(text))}


class Outcome(enum.Enum):
    """How a probe went."""

    SERVED = "made its token"
    WAITED = "answered in time, but without a token: others were before it, or the engine hangs"
    FAILED = "answered with an error of the server's"
    SILENT = "not answered"


@dataclass(frozen=True)
class Answer:
    """A probe's outcome, and the server's words if it has an error."""

    outcome: Outcome
    words: str = ""


def probe(ports: Ports, deadline_seconds: float, timeout_seconds: float) -> Answer:
    """Ask for one token through all steps.

    deadline_seconds: after which the steps are to answer without it. timeout_seconds: how long to wait.
    """
    fields = {"text_input": "a", "max_tokens": 1, "deadline_ms": int(deadline_seconds * 1000)}
    body = json.dumps({"id": PROBE_ID, **json.loads(infer_body(fields))})
    connection = http.client.HTTPConnection(ports.host, ports.http, timeout=timeout_seconds)
    try:
        connection.request("POST", INFER, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        response = infer_answer(answer.status, answer.read())
    except Overloaded as error:
        return Answer(Outcome.WAITED, str(error))
    except InvalidRequest as error:  # a model that cannot take this one prompt is none that is dead
        return Answer(Outcome.SERVED, str(error))
    except (Unreachable, OSError, http.client.HTTPException) as error:
        return Answer(Outcome.SILENT, str(error))
    except ClientError as error:
        return Answer(Outcome.FAILED, str(error))
    finally:
        connection.close()
    return Answer(Outcome.WAITED if "timeout" in response.finish_reasons else Outcome.SERVED)
