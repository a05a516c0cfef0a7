# SPDX-License-Identifier: Apache-2.0
"""The model.py files, imported as the stub imports them, over a strict fake of what the stub binds."""

import importlib
import importlib.util
import logging
import sys

import numpy as np
import pytest

from build_scripts.tritonserver import MODEL_REPOSITORY
from llm_ensemble.errors import Overloaded
from llm_ensemble.request import Chunk, TextOptions, request_from_wire, to_wire
from tests import fake_pb_utils
from tests.fake_pb_utils import Request, Tensor


@pytest.fixture
def load(monkeypatch, unit_engine_dir):
    """Load a step's model.py as `1.model` and initialize it."""
    monkeypatch.setenv("ENGINE_DIR", str(unit_engine_dir))
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake_pb_utils)
    monkeypatch.delitem(sys.modules, "llm_ensemble.triton", raising=False)
    fake_pb_utils.InferenceRequest.calls.clear()
    fake_pb_utils.Logger.lines.clear()

    def load(step):
        path = MODEL_REPOSITORY / step / "1/model.py"
        spec = importlib.util.spec_from_file_location("1.model", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # Log records go where pytest looks for them, not to the handler of a stub process.
        monkeypatch.setattr(module.triton, "start_log", lambda: None)
        model = module.TritonPythonModel()
        model.initialize({})
        return model

    return load


def text(name, *values):
    return Tensor(
        name, np.array([[v if isinstance(v, bytes) else v.encode() for v in values]], dtype=np.object_)
    )


def number(name, value, dtype):
    return Tensor(name, np.array([[value]], dtype=dtype))


def outputs(response):
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def test_preprocessing_turns_tensors_into_ids_and_a_record(load, byte_tokenizer):
    tensors = [text("text_input", "hé"), number("max_tokens", 5, np.int32), text("stop_words", "a", "")]
    (response,) = load("preprocessing").execute([Request([*tensors, number("top_p", 0.5, np.float32)])])
    out = outputs(response)
    assert out["input_ids"].dtype == np.int32
    assert out["input_ids"][0].tolist() == byte_tokenizer.encode("hé").ids
    record = request_from_wire(out["request"])
    assert (record.sampling.max_tokens, record.sampling.top_p, record.sampling.greedy) == (5, 0.5, False)
    assert record.text.stop_words == ["a", ""]


def test_preprocessing_answers_each_request_of_a_batch_for_itself(load):
    good = [Request([text("text_input", "a")]) for _ in range(2)]
    bad = [
        Request([text("text_input", b"\xff")]),
        Request([text("text_input", "a")], parameters={"tempratur": 1}),
        Request([Tensor("text_input", np.array([[b"a"], [b"b"]], dtype=np.object_))]),
    ]
    responses = load("preprocessing").execute([good[0], *bad, good[1]])
    assert [r.has_error() for r in responses] == [False, True, True, True, False]
    messages = [r.error().message() for r in responses[1:4]]
    assert messages[0].startswith("text_input: not UTF-8")
    assert messages[1] == "tempratur: unknown field; did you mean temperature?"
    assert messages[2].startswith("text_input: a batch of 2 in one request")
    assert {r.error().code() for r in responses[1:4]} == {fake_pb_utils.TritonError.INVALID_ARG}


def test_triton_s_own_parameters_are_no_unknown_fields(load):
    request = Request([text("text_input", "a")], parameters={"triton_enable_empty_final_response": True})
    (response,) = load("preprocessing").execute([request])
    assert not response.has_error()


def test_a_fault_of_ours_is_one_neutral_line_and_the_traceback_is_logged(load, caplog):
    model = load("preprocessing")
    model._preprocessor._tokenizer = None  # as broken as can be
    (response,) = model.execute([Request([text("text_input", "a")])])
    assert response.error().message() == "internal error; the server's log has the details"
    assert response.error().code() == fake_pb_utils.TritonError.INTERNAL
    assert "AttributeError" in caplog.text


def chunk(byte_tokenizer, sequence, words, finish="", *, cancelled=False):
    options = TextOptions(True, ["END"], "", 3) if sequence == 0 else None
    ids = byte_tokenizer.encode(words, add_special_tokens=False).ids
    tensor = Tensor("chunk", to_wire(Chunk(9, sequence, ids, finish, "", options)))
    return Request([tensor], cancelled=cancelled)


def test_postprocessing_answers_a_chunk_with_its_text_and_the_final_flag(load, byte_tokenizer):
    request = chunk(byte_tokenizer, 0, "hé", "length")
    load("postprocessing").execute([request])
    (response,) = request.get_response_sender().sent
    out = outputs(response)
    assert out["text_output"].tolist() == [["hé".encode()]]
    assert out["finish_reason"].tolist() == [[b"length"]]
    assert (out["num_input_tokens"].tolist(), out["num_output_tokens"].tolist()) == ([[3]], [[3]])
    assert request.get_response_sender()._closed


def test_postprocessing_aborts_the_stream_of_a_client_that_left(load, byte_tokenizer):
    model = load("postprocessing")
    model.execute([chunk(byte_tokenizer, 0, "a")])
    left = chunk(byte_tokenizer, 1, "b", cancelled=True)
    model.execute([left, chunk(byte_tokenizer, 2, "c", cancelled=True)])
    assert left.get_response_sender().sent == []
    (call,) = fake_pb_utils.InferenceRequest.calls
    assert call.model_name == "tensorrt_llm"
    assert [(t.name(), t.as_numpy().tolist()) for t in call.tensors] == [("abort", [[9]])]


def test_postprocessing_answers_a_broken_order_with_internal(load, byte_tokenizer, caplog):
    model = load("postprocessing")
    model.execute([chunk(byte_tokenizer, 0, "a")])
    swapped = chunk(byte_tokenizer, 2, "c")
    model.execute([swapped])
    (response,) = swapped.get_response_sender().sent
    assert response.error().code() == fake_pb_utils.TritonError.INTERNAL
    assert "chunk 2 came, 1 was due" in caplog.text


def test_overload_is_unavailable_in_triton_s_words(load):
    load("postprocessing")
    triton = importlib.import_module("llm_ensemble.triton")
    response = triton.error_response(Overloaded("Exceeds maximum queue size"))
    assert response.error().code() == fake_pb_utils.TritonError.UNAVAILABLE
    assert response.error().message() == "Exceeds maximum queue size"


@pytest.mark.parametrize(("level", "as_what"), [("INFO", "info"), ("WARNING", "warn"), ("ERROR", "error")])
def test_every_level_of_our_log_reaches_triton_s(load, level, as_what):
    load("postprocessing")
    triton = importlib.import_module("llm_ensemble.triton")
    triton._TritonLog().handle(
        logging.LogRecord("ours", logging.getLevelName(level), "", 0, "said", (), None)
    )
    assert fake_pb_utils.Logger.lines == [(as_what, "said")]
