# SPDX-License-Identifier: Apache-2.0
"""Triton's side of the stages: tensors to values and back, and one place that makes error responses.

Only this module, byte_tensors.py and streams.py import pb_utils. Seen on tritonserver 2.51.0:
BYTES tensors arrive as object arrays of bytes, parameters as a JSON text.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from llm_ensemble.contract.fields import check_field, refuse_unknown
from llm_ensemble.contract.request import Request, request_from_wire, to_wire
from llm_ensemble.contract.request_fields import RequestFields, request_fields
from llm_ensemble.contract.unserved import UNSERVED, check_unserved
from llm_ensemble.errors import INTERNAL_ERROR, EngineError, Overloaded, RequestError
from llm_ensemble.preprocessing.preprocessor import Prepared
from llm_ensemble.triton.byte_tensors import read_array

log = logging.getLogger(__name__)
OnError = Callable[[Exception, str], None]

# Request parameters that are Triton's own, not a misspelled field. /generate takes "id" for the request's,
# and passes it on as a parameter too.
TRITON_PARAMETERS = {"id", "sequence_id", "sequence_start", "sequence_end", "binary_data_output"}


def read_fields(request: Any) -> RequestFields:
    """Return a request's inputs, checked. Raise RequestError."""
    check_envelope(request)
    values = {}
    for tensor in request.inputs():
        name = tensor.name()
        if name in UNSERVED:
            check_unserved(name, tensor.as_numpy().flat)
        else:
            values[name] = check_field(name, _values(tensor))
    return request_fields(values)


def check_envelope(request: Any) -> None:
    """Check what comes beside the inputs. Raise RequestError.

    /generate makes a parameter of every key that is not an input: a misspelled field is one.
    """
    _utf8("id", request.request_id)
    for name in json.loads(_utf8("parameters", request.parameters) or "{}"):
        if name not in TRITON_PARAMETERS and not name.startswith("triton_"):
            raise refuse_unknown(name)


def _utf8(name: str, read: Callable[[], str]) -> str:
    """Return what `read` returns. Triton's HTTP server accepts any bytes as text; reading them fails."""
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
    requests: Sequence[Any], work: Callable[[Sequence[RequestFields]], list[Any]], on_error: OnError
) -> list[Any]:
    """Return a response for each request of a batch; an error of one does not affect the others."""
    fields = [_attempt(read_fields, request) for request in requests]
    results = iter(_work_on([value for value in fields if not isinstance(value, Exception)], work))
    return [
        _prepared_response(request, value if isinstance(value, Exception) else next(results), on_error)
        for request, value in zip(requests, fields)
    ]


def _work_on(
    batch: Sequence[RequestFields], work: Callable[[Sequence[RequestFields]], list[Any]]
) -> list[Any]:
    """Do the work for all at once; if that fails, for each by itself, so that only the faulty one fails."""
    try:
        return work(batch)
    except Exception:
        return [_attempt(lambda one: work([one])[0], fields) for fields in batch]


def _attempt(work: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return work(argument)
    except Exception as error:
        return error


def _prepared_response(request: Any, result: Prepared | Exception, on_error: OnError) -> Any:
    if isinstance(result, Exception):
        return error_response(request, result, on_error)
    input_ids, record = result
    tensors = [
        pb_utils.Tensor("prompt_ids", np.array([input_ids], dtype=np.int32)),
        pb_utils.Tensor("request", to_wire(record)),
    ]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def error_response(request: Any, error: Exception, on_error: OnError | None = None) -> Any:
    """Return the response for an exception: its message if the request caused it, else one line, logged.

    on_error: takes the error and the request id.
    """
    if on_error:
        on_error(error, request_id(request))
    if isinstance(error, RequestError):
        return make_error(str(error), pb_utils.TritonError.INVALID_ARG)
    if isinstance(error, Overloaded):
        return make_error(str(error), pb_utils.TritonError.UNAVAILABLE)
    # The message of an EngineError is enough; any other exception needs its traceback.
    name = request_id(request) or "without an id"
    log.error(
        "request %s failed: %s", name, error, exc_info=None if isinstance(error, EngineError) else error
    )
    return make_error(INTERNAL_ERROR, pb_utils.TritonError.INTERNAL)


def make_error(message: str, code: int) -> Any:
    """Return an error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def read_engine_request(request: Any) -> tuple[list[int], Request]:
    """Return the input of the engine stage: token ids and their record. Raise RequestError."""
    tensors = {tensor.name(): read_array(tensor) for tensor in request.inputs()}
    if not {"prompt_ids", "request"} <= tensors.keys():
        raise RequestError("input_ids", "this model is a stage of the ensemble; ask 'ensemble' instead of it")
    return tensors["prompt_ids"][0].tolist(), request_from_wire(tensors["request"])


def instance_number(args: dict[str, str]) -> int:
    """Return the number of this instance of a model. Triton names them tensorrt_llm_0_0, tensorrt_llm_0_1."""
    return int(args["model_instance_name"].rpartition("_")[2])


def metric_family(kind: str, name: str, description: str) -> Any:
    """Return a new metric family of Triton's. kind: COUNTER, GAUGE or HISTOGRAM."""
    family = pb_utils.MetricFamily
    return family(name=name, description=description, kind=getattr(family, kind))


def give_up() -> None:
    """End this process, whose engine has died, so that Triton knows; newer servers are then not ready."""
    log.error("the engine is dead; this process ends")
    time.sleep(LAST_WORDS_SECONDS)
    os._exit(1)


def request_id(request: Any) -> str:
    """Return the request id of the client; "" if it cannot be read, since no response may fail for it."""
    try:
        return str(request.request_id())
    except UnicodeDecodeError:
        return ""


def end(request: Any, response: Any | None = None) -> None:
    """End a decoupled request, with a final response if there is one."""
    sender = request.get_response_sender()
    if response is None:
        sender.send(flags=FINAL)
    else:
        sender.send(response, flags=FINAL)


def require_no_queue(args: dict[str, str]) -> None:
    """Raise EngineError for a config that hides client disconnects: a queue drops what is cancelled."""
    if "dynamic_batching" in json.loads(args["model_config"]):
        raise EngineError(f"{args['model_name']}/config.pbtxt must have no dynamic_batching")


LAST_WORDS_SECONDS = 1.0  # for responses and log lines on their way out
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class _TritonLog(logging.Handler):
    """Writes Python's log records to Triton's log."""

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
