# SPDX-License-Identifier: Apache-2.0
"""The health of a server's stages: their stubs, counters that change while they work, and a probe.

tritonserver 2.51.0 does not restart a stub that died, does not collect it, and goes on saying that it is
ready. 26.07 collects it when asked for its readiness, and then says no. So stubs are looked up in /proc,
where one that has died is a zombie or gone.
"""

from __future__ import annotations

import contextlib
import enum
import http.client
import json
import re
from dataclasses import dataclass
from pathlib import Path

from llm_ensemble.telemetry import names
from llm_ensemble.telemetry.request_metrics import WATCHDOG
from llm_ensemble_client.errors import ClientError, InvalidRequest, Overloaded, ServerError, Unreachable
from llm_ensemble_client.response import Response
from llm_ensemble_client.transports.http_wire import (
    INFER,
    STREAM,
    EventParser,
    error_from_http,
    infer_answer,
    infer_body,
)
from serving.installation import STUB
from serving.listening import Ports
from serving.server_environment import ENGINE_STAGE

STAGES = ("ensemble_unary", "preprocessing", ENGINE_STAGE, "postprocessing")
# The two ways of a request, by their paths, and the stages on each.
WAYS = {INFER: ("ensemble_unary", ENGINE_STAGE), STREAM: ("preprocessing", ENGINE_STAGE, "postprocessing")}
# Successes only: requests that fail because a stub is dead are counted by Triton, too.
SUCCESSES = re.compile(r'^nv_inference_request_success\{[^}]*model="(\w+)"[^}]*\} (\S+)$', re.MULTILINE)
# Triton counts a request of the engine stage when it ends. Before that, tokens prove that the engine
# computes, and so does its cache during a beam search, which gives no token before its end. Empty chunks are
# sent by a timer and prove nothing.
TOKENS = re.compile(rf"^({names.GENERATION_TOKENS}\b\S*) (\S+)$", re.MULTILINE)
# Values above 0 only: 0 is also what an engine without requests reports.
CACHE = re.compile(rf"^({names.KV_CACHE_USAGE}\b\S*) (\S*[1-9]\S*)$", re.MULTILINE)
SCRAPE_SECONDS = 5
DEAD_STATES = "ZX"  # zombie, dead
NAME_LENGTH = 15  # the kernel keeps this much of a process's name

Counters = dict[str, dict[str, str]]  # by stage: values by metric, as text


@dataclass(frozen=True)
class Stub:
    """The process of a stage; a stage of several instances has several."""

    stage: str
    pid: int

    @property
    def is_alive(self) -> bool:
        """Whether it runs or is stopped: a process that hangs is alive."""
        return _name_and_state(self.pid)[1] not in DEAD_STATES


def find_stubs(pid: int) -> list[Stub]:
    """Return the stubs of the tritonserver with this process id; once it is ready, they are complete."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            for child in map(int, (task / "children").read_text().split()):
                if _name_and_state(child)[0] == STUB[:NAME_LENGTH]:
                    found.append(Stub(_stage_of(child), child))
    return found


def _stage_of(pid: int) -> str:
    """Return a stub's stage, by its first argument, STAGE/VERSION/model.py; a dead one has no arguments."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return Path(words[1].decode()).parent.parent.name if len(words) > 1 else "a stage"


def _name_and_state(pid: int) -> tuple[str, str]:
    """Return a process's name and state, see proc(5); "" and a dead state if there is no such process."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", DEAD_STATES
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name, rest.split()[0]


def read_counters(ports: Ports) -> Counters:
    """Return the stages' counters, from Triton's metrics; empty if they cannot be read."""
    if not (text := read_metrics(ports)):
        return {}
    counters = {model: {"successes": count} for model, count in SUCCESSES.findall(text)}
    return counters | {ENGINE_STAGE: dict(TOKENS.findall(text) + CACHE.findall(text))}


def read_metrics(ports: Ports) -> str:
    """Return Triton's metrics as text, "" if they cannot be read."""
    connection = http.client.HTTPConnection(ports.host, ports.metrics, timeout=SCRAPE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


class Outcome(enum.Enum):
    """How a probe ended."""

    SERVED = "a token was generated"
    NO_TOKEN = "a response in time, but without a token: the queue is long, or the engine hangs"
    FAILED = "an error of the server's"
    NO_RESPONSE = "no response in time"


@dataclass(frozen=True)
class ProbeResult:
    """A probe's outcome, and the message of the error if there was one."""

    outcome: Outcome
    message: str = ""


def liveness_probe(ports: Ports, way: str, deadline_seconds: float, timeout_seconds: float) -> ProbeResult:
    """Request one token through the stages of a way.

    deadline_seconds: the request's deadline, by which the stages respond even without a token.
    timeout_seconds: how long to wait for the response.
    """
    fields = {"text_input": "a", "max_tokens": 1, "deadline_ms": int(deadline_seconds * 1000)}
    body = json.dumps({"id": WATCHDOG, **(json.loads(infer_body(fields)) if way == INFER else fields)})
    connection = http.client.HTTPConnection(ports.host, ports.http, timeout=timeout_seconds)
    try:
        connection.request("POST", way, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        response = _response(way, answer.status, answer.read())
    except Overloaded as error:
        return ProbeResult(Outcome.NO_TOKEN, str(error))
    except InvalidRequest as error:  # a model that cannot take this prompt is not dead
        return ProbeResult(Outcome.SERVED, str(error))
    except (Unreachable, OSError, http.client.HTTPException) as error:
        return ProbeResult(Outcome.NO_RESPONSE, str(error))
    except ClientError as error:
        return ProbeResult(Outcome.FAILED, str(error))
    finally:
        connection.close()
    return ProbeResult(Outcome.NO_TOKEN if "timeout" in response.finish_reasons else Outcome.SERVED)


def _response(way: str, status: int, body: bytes) -> Response:
    """Return the one response of a way. Raise ClientError."""
    if way == INFER:
        return infer_answer(status, body)
    if status != 200:
        raise error_from_http(status, body, streamed=True)
    responses = EventParser().feed(body)
    if len(responses) != 1:
        raise ServerError(f"{len(responses)} responses to a request that does not stream")
    return responses[0]
