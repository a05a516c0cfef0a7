# SPDX-License-Identifier: Apache-2.0
"""Triton's side of the three steps. Only this module and triton_unary.py know pb_utils.

Tensors to values and back, and one place where an exception becomes an error response. Seen on
tritonserver 2.51.0: BYTES tensors arrive as object arrays of bytes, parameters as a JSON text.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from llm_ensemble.completion import Text
from llm_ensemble.errors import EngineError, Overloaded, RequestError
from llm_ensemble.fields import Fields, check_field, refuse_unknown
from llm_ensemble.prompt import Prepared
from llm_ensemble.request import Chunk, Request, chunk_from_wire, request_from_wire, to_wire

log = logging.getLogger(__name__)
TellError = Callable[[Exception, str], None]

# Request parameters that are Triton's own, not a misspelt field of ours. /generate takes "id" for the
# request's and hands it on as a parameter, too.
TRITON_PARAMETERS = {"id", "sequence_id", "sequence_start", "sequence_end", "binary_data_output"}


def read_fields(request: Any) -> Fields:
    """A request's inputs as checked Python values, by field name; raises RequestError."""
    check_envelope(request)
    return {tensor.name(): check_field(tensor.name(), _values(tensor)) for tensor in request.inputs()}


def check_envelope(request: Any) -> None:
    """What comes beside the inputs; raises RequestError.

    /generate makes a parameter of every key that is no input, so this is where misspelt fields show.
    """
    _utf8("id", request.request_id)
    for name in json.loads(_utf8("parameters", request.parameters) or "{}"):
        if name not in TRITON_PARAMETERS and not name.startswith("triton_"):
            raise refuse_unknown(name)


def _utf8(name: str, read: Callable[[], str]) -> str:
    """Triton's HTTP front takes any bytes for a text; reading them is what fails."""
    try:
        return read()
    except UnicodeDecodeError as error:
        raise RequestError(name, "not UTF-8; send UTF-8") from error


def _values(tensor: Any) -> list[Any]:
    array = tensor.as_numpy()
    if array.shape[0] != 1:
        raise RequestError(
            tensor.name(),
            f"a batch of {array.shape[0]} in one request; send one request each, "
            "the engine batches them in flight",
        )
    return list(array[0].tolist())


def respond_each(
    requests: Sequence[Any], work: Callable[[Sequence[Fields]], list[Any]], tell: TellError
) -> list[Any]:
    """Answer requests that are worked on together; an error of one leaves its neighbours alone."""
    fields = [_attempt(read_fields, request) for request in requests]
    results = iter(_work_on([value for value in fields if not isinstance(value, Exception)], work))
    return [
        _prepared_response(request, value if isinstance(value, Exception) else next(results), tell)
        for request, value in zip(requests, fields)
    ]


def _work_on(batch: Sequence[Fields], work: Callable[[Sequence[Fields]], list[Any]]) -> list[Any]:
    """Do the work for all at once; if that fails, for each alone, to find whose fault it is."""
    try:
        return work(batch)
    except Exception:
        return [_attempt(lambda one: work([one])[0], fields) for fields in batch]


def _attempt(work: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return work(argument)
    except Exception as error:
        return error


def _prepared_response(request: Any, result: Prepared | Exception, tell: TellError) -> Any:
    if isinstance(result, Exception):
        return error_response(request, result, tell)
    input_ids, record = result
    tensors = [
        pb_utils.Tensor("input_ids", np.array([input_ids], dtype=np.int32)),
        pb_utils.Tensor("request", to_wire(record)),
    ]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def error_response(request: Any, error: Exception, tell: TellError | None = None) -> Any:
    """The response for an exception: the caller's fault in full; ours in one neutral line, and logged.

    tell: takes note of the error, and whose request it was.
    """
    if tell:
        tell(error, _request_id(request))
    if isinstance(error, RequestError):
        return make_error(str(error), pb_utils.TritonError.INVALID_ARG)
    if isinstance(error, Overloaded):
        return make_error(str(error), pb_utils.TritonError.UNAVAILABLE)
    # An EngineError says all there is to say; the traceback of anything else tells where it came from.
    name = _request_id(request) or "without an id"
    log.error(
        "request %s failed: %s", name, error, exc_info=None if isinstance(error, EngineError) else error
    )
    return make_error("internal error; the server's log has the details", pb_utils.TritonError.INTERNAL)


def _request_id(request: Any) -> str:
    """The client's name for the request, none if it cannot be read: no answer may fail for it."""
    try:
        return str(request.request_id())
    except UnicodeDecodeError:
        return ""


def make_error(message: str, code: int) -> Any:
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def read_engine_request(request: Any) -> tuple[list[int], Request]:
    """What the engine step is asked: token ids and their record."""
    tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    if not {"input_ids", "request"} <= tensors.keys():
        raise RequestError("input_ids", "this model is a step of the ensemble; ask 'ensemble' instead of it")
    return tensors["input_ids"][0].tolist(), request_from_wire(tensors["request"])


def stream_identity(request: Any) -> dict[str, Any]:
    """The stream's number, if ensemble_unary chose one, else 0, and the client's name for it."""
    # 19 digits, the first a 9: at least CHOSEN, and no more than 64 bits hold.
    found = re.fullmatch(CORRELATION.format(r"(9\d{18})"), str(request.correlation_id()))
    return {"number": int(found[1]) if found else 0, "label": _request_id(request)}


def instance_number(args: dict[str, str]) -> int:
    """Which of a model's instances this is, from 0: Triton calls them tensorrt_llm_0_0, tensorrt_llm_0_1."""
    return int(args["model_instance_name"].rpartition("_")[2])


def metric_family(kind: str, name: str, description: str) -> Any:
    """One of Triton's metrics; kind: COUNTER, GAUGE or HISTOGRAM."""
    family = pb_utils.MetricFamily
    return family(name=name, description=description, kind=getattr(family, kind))


def give_up() -> None:
    """End this process, whose engine is dead: Triton then knows, and newer servers say they are not ready."""
    log.error("the engine is dead; this process ends")
    time.sleep(LAST_WORDS_SECONDS)
    os._exit(1)


def chunk_sender(request: Any) -> Callable[[Chunk], None]:
    """A function that sends a request's chunks and, with the last, Triton's final flag."""
    sender = request.get_response_sender()

    def send(chunk: Chunk) -> None:
        response = pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("chunk", to_wire(chunk))])
        sender.send(response, flags=FINAL if chunk.last else 0)

    return send


def read_chunk(request: Any) -> tuple[Chunk, Callable[[], bool], Callable[[], str]]:
    """A postprocessing request: a stream's next chunk, and what tells if its client left, and its name."""
    (tensor,) = request.inputs()
    return chunk_from_wire(tensor.as_numpy()), request.is_cancelled, partial(_request_id, request)


def end(request: Any, response: Any | None = None) -> None:
    """End a decoupled request, with a last response if there is one."""
    sender = request.get_response_sender()
    if response is None:
        sender.send(flags=FINAL)
    else:
        sender.send(response, flags=FINAL)


def require_order(args: dict[str, str]) -> None:
    """Refuse to load a step that could not keep a stream's chunks in order, or see who left."""
    config = json.loads(args["model_config"])
    count = sum(group["count"] for group in config["instance_group"])
    if count != 1 or "dynamic_batching" in config:
        raise EngineError(f"{args['model_name']}/config.pbtxt must have one instance and no dynamic_batching")


def text_response(text: Text) -> Any:
    """A Text as the ensemble's outputs, of shape [1, sequences] or [1, 1].

    Log probabilities come only where they were asked for; output_log_probs has shape [1, sequences, tokens],
    a sequence with fewer tokens than another filled up with 0.
    """
    shares = text.sequences
    outputs = {
        "text_output": np.array([[share.text.encode() for share in shares]], dtype=np.object_),
        "finish_reason": np.array([[share.finish.encode() for share in shares]], dtype=np.object_),
        "num_input_tokens": np.array([[text.num_input_tokens]], dtype=np.int32),
        "num_output_tokens": np.array([[sum(share.num_tokens for share in shares)]], dtype=np.int32),
    }
    if text.log_probs:
        outputs["cum_log_probs"] = np.array([[share.cum_log_prob for share in shares]], dtype=np.float32)
        outputs["output_log_probs"] = _filled_up([share.log_probs for share in shares])
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(*output) for output in outputs.items()])


def _filled_up(rows: list[list[float]]) -> np.ndarray[Any, Any]:
    array = np.zeros((1, len(rows), max(map(len, rows))), dtype=np.float32)
    for i, row in enumerate(rows):
        array[0, i, : len(row)] = row
    return array


LAST_WORDS_SECONDS = 1.0  # for responses and log lines on their way out
CORRELATION = "ensemble_unary:{}"  # the correlation id of what ensemble_unary forwards
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class _TritonLog(logging.Handler):
    """Python's log records, in Triton's log."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = pb_utils.Logger
        write = logger.log_info
        if record.levelno >= logging.ERROR:
            write = logger.log_error
        elif record.levelno >= logging.WARNING:
            write = logger.log_warn
        write(self.format(record))


def start_log() -> None:
    """Send this process's log records to Triton's log, from INFO on."""
    logging.basicConfig(
        level=logging.INFO, handlers=[_TritonLog()], format="%(name)s: %(message)s", force=True
    )
