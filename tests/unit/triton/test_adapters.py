# SPDX-License-Identifier: Apache-2.0
"""The model.py files, imported as the stub imports them, over a strict fake of what the stub binds."""

import importlib
import importlib.util
import json
import logging
import queue
import sys

import numpy as np
import pytest

from llm_ensemble.contract.request import Chunk, Part, Pulse, TextOptions, request_from_wire, to_wire
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.errors import Overloaded
from llm_ensemble.ipc.aborts import receive_aborts
from llm_ensemble.ipc.chunks import receive_claims
from llm_ensemble.ipc.unary_results import UnaryResultSender
from llm_ensemble.postprocessing.postprocessor import Text
from llm_ensemble.postprocessing.sequence import Scores, SequenceText
from serving.tritonserver import MODEL_REPOSITORY
from tests import fake_pb_utils
from tests.fake_pb_utils import InferenceRequest, InferenceResponse, Request, Tensor, TritonError
from tests.waiting import SECONDS, wait_for


@pytest.fixture
def load(monkeypatch, unit_engine_dir, own_mailboxes):
    """Load a step's model.py as `1.model` and initialize it."""
    monkeypatch.setenv("ENGINE_DIR", str(unit_engine_dir))
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake_pb_utils)
    for name in ("stages", "streams", "unary_stage"):
        monkeypatch.delitem(sys.modules, f"llm_ensemble.triton.{name}", raising=False)
        monkeypatch.delattr(f"llm_ensemble.triton.{name}", raising=False)
    InferenceRequest.calls.clear()
    InferenceRequest.answers.clear()
    fake_pb_utils.Logger.lines.clear()
    loaded = []

    def load(step):
        path = MODEL_REPOSITORY / step / "1/model.py"
        spec = importlib.util.spec_from_file_location("1.model", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # Log records go where pytest looks for them, not to the handler of a stub process.
        monkeypatch.setattr(module.stages, "start_log", lambda: None)
        model = module.TritonPythonModel()
        config = {"instance_group": [{"count": 1}]}
        name = {"model_name": step, "model_instance_name": f"{step}_0_0"}
        model.initialize({**name, "model_config": json.dumps(config)})
        loaded.append(model)
        return model

    yield load
    for model in loaded:
        model._metrics.close()


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
    assert out["prompt_ids"].dtype == np.int32
    assert out["prompt_ids"][0].tolist() == byte_tokenizer.encode("hé").ids
    record = request_from_wire(out["request"])
    assert (record.sampling.max_tokens, record.sampling.top_p, record.sampling.greedy) == (5, 0.5, False)
    assert record.text.stop_words == ["a"]


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


@pytest.mark.parametrize("name", ["triton_enable_empty_final_response", "id", "sequence_start"])
def test_triton_s_own_parameters_are_no_unknown_fields(load, name):
    request = Request([text("text_input", "a")], parameters={name: True})
    (response,) = load("preprocessing").execute([request])
    assert not response.has_error()


def test_a_text_beside_the_inputs_that_is_not_utf_8_is_refused(load):
    """Over HTTP Triton takes any bytes, and reading them is what fails."""
    bad = [
        Request([text("text_input", "a")], parameters=b'{"\xff": 1}'),
        Request([text("text_input", "a")], request_id=b"\xff"),
    ]
    responses = load("preprocessing").execute([*bad, Request([text("text_input", "a")])])
    assert [r.has_error() for r in responses] == [True, True, False]
    messages = [r.error().message() for r in responses[:2]]
    assert messages == ["parameters: not UTF-8; send UTF-8", "id: not UTF-8; send UTF-8"]
    assert {r.error().code() for r in responses[:2]} == {fake_pb_utils.TritonError.INVALID_ARG}


def test_an_error_never_fails_for_the_id_of_its_request(load, caplog):
    load("postprocessing")
    triton = importlib.import_module("llm_ensemble.triton.stages")
    response = triton.error_response(Request([], request_id=b"\xff"), ValueError("broken"))
    assert response.error().code() == fake_pb_utils.TritonError.INTERNAL
    assert "request without an id failed: broken" in caplog.text


def test_a_fault_of_ours_is_one_neutral_line_and_the_traceback_is_logged(load, caplog):
    model = load("preprocessing")
    model._preprocessor._prompt_tokenizer = None  # as broken as can be
    (response,) = model.execute([Request([text("text_input", "a")], request_id="mine-7")])
    assert response.error().message() == "internal error; the server's log has the details"
    assert response.error().code() == fake_pb_utils.TritonError.INTERNAL
    assert "AttributeError" in caplog.text
    assert "request mine-7 failed" in caplog.text


@pytest.fixture
def postprocessing(load):
    """Postprocessing, and what asks it for a stream and sends its chunks, as the engine stage does."""
    return Postprocessing(load("postprocessing"))


class Postprocessing:
    def __init__(self, model):
        self.model, self.claims = model, queue.SimpleQueue()
        self._mailbox = receive_claims(0, lambda stream, send: self.claims.put((stream, send)))

    def open(self, number=9, **options):
        """Send a stream's first pulse; return what receives its responses."""
        usual = {"stream": True, "stop_words": ["END"], "echo": "", "num_input_tokens": 3}
        options = TextOptions(**usual | options)
        sender = self.pulse(Pulse(number, 0, options)).get_response_sender()
        stream, self._send = self.claims.get(timeout=SECONDS)
        assert stream == number
        return sender

    def pulse(self, pulse, *, cancelled=False):
        request = Request([Tensor("pulse", to_wire(pulse))], cancelled=cancelled, request_id="mine-9")
        assert self.model.execute([request]) is None
        return request

    def send(self, sender, *parts, last=False, error=""):
        """Send a chunk; wait for the response, or the end, that it makes."""
        before = len(sender.sent)
        self._send(Chunk(9, [*parts], last, error))
        wait_for(lambda: len(sender.sent) > before or sender._closed)


def test_postprocessing_claims_a_stream_and_answers_its_chunks_with_text_and_the_final_flag(
    postprocessing, byte_tokenizer
):
    sender = postprocessing.open()
    for words, finish in (("hé", ""), ("llo", "length")):
        ids = byte_tokenizer.encode(words, add_special_tokens=False).ids
        postprocessing.send(sender, Part(0, ids, finish), last=bool(finish))
    first, last = map(outputs, sender.sent)
    assert first["text_output"].tolist() == ["hé".encode()]
    assert (first["finish_reason"].tolist(), last["finish_reason"].tolist()) == ([b""], [b"length"])
    assert (first["num_input_tokens"].tolist(), first["num_output_tokens"].tolist()) == ([[3]], [[3]])
    assert (first["num_input_tokens"].dtype, first["finish_reason"].shape) == (np.int32, (1,))
    assert not {"cum_log_probs", "output_log_probs"} & first.keys(), "they were not requested"
    assert sender._closed


def test_postprocessing_aborts_the_stream_of_a_disconnected_client(postprocessing):
    aborted = queue.SimpleQueue()
    mailbox = receive_aborts(0, aborted.put)
    postprocessing.open()
    stays = postprocessing.pulse(Pulse(9, 0))
    left = postprocessing.pulse(Pulse(9, 0), cancelled=True)
    for request in (stays, left):
        assert (request.get_response_sender().sent, request.get_response_sender()._closed) == ([], True)
    assert aborted.get(timeout=SECONDS) == 9
    assert aborted.empty()
    assert mailbox


def test_postprocessing_answers_an_error_of_the_engine_with_internal(postprocessing, caplog):
    sender = postprocessing.open()
    postprocessing.send(sender, last=True, error="it burst")
    (response,) = sender.sent
    assert response.error().code() == fake_pb_utils.TritonError.INTERNAL
    assert "request mine-9 failed: it burst" in caplog.text


def test_a_stream_that_cannot_begin_ends_with_an_error_and_is_aborted(load):
    aborted = queue.SimpleQueue()
    mailbox = receive_aborts(0, aborted.put)
    model = load("postprocessing")
    pulse = Pulse(9, 0, TextOptions(True, [], "", 3))
    request = Request([Tensor("pulse", to_wire(pulse))])  # nothing takes the claim
    model.execute([request])
    (response,) = request.get_response_sender().sent
    assert response.error().code() == fake_pb_utils.TritonError.INTERNAL
    assert aborted.get(timeout=SECONDS) == 9
    assert model._postprocessor.open == 0
    assert mailbox


def test_overload_is_unavailable_in_triton_s_words(load):
    load("postprocessing")
    triton = importlib.import_module("llm_ensemble.triton.stages")
    response = triton.error_response(Request([]), Overloaded("4 running, 2 waiting"))
    assert response.error().code() == fake_pb_utils.TritonError.UNAVAILABLE
    assert response.error().message() == "Exceeds maximum queue size: 4 running, 2 waiting; try again later"


@pytest.mark.parametrize(("level", "as_what"), [("INFO", "info"), ("WARNING", "warn"), ("ERROR", "error")])
def test_every_level_of_our_log_reaches_triton_s(load, level, as_what):
    load("postprocessing")
    triton = importlib.import_module("llm_ensemble.triton.stages")
    triton._TritonLog().handle(
        logging.LogRecord("ours", logging.getLevelName(level), "", 0, "said", (), None)
    )
    assert fake_pb_utils.Logger.lines == [(as_what, "said")]


def test_several_sequences_with_log_probs_have_a_row_each_filled_up_with_0_and_ids_with_minus_1(
    postprocessing,
):
    sender = postprocessing.open(
        stream=False, stop_words=[], num_sequences=2, log_probs=True, top_log_probs=2
    )
    parts = [
        Part(0, [5, 6], "length", [-1.0, -2.0], [5, 8, 9, 6], [-1.0, -1.5, -1.0, -2.0]),
        Part(1, [7], "stop", [-3.0], [0, 7], [-0.5, -3.0]),
    ]
    postprocessing.send(sender, *parts, last=True)
    out = outputs(sender.sent[0])
    assert out["text_output"].shape == out["finish_reason"].shape == (2,)
    assert out["finish_reason"].tolist() == [b"length", b"stop"]
    assert out["num_output_tokens"].tolist() == [[3]]
    assert out["cum_log_probs"].tolist() == [[-3.0, -3.0]]
    assert out["output_log_probs"].tolist() == [[[-1.0, -2.0], [-3.0, 0.0]]]
    assert out["output_token_ids"].tolist() == [[[5, 6], [7, -1]]]
    assert out["top_token_ids"].tolist() == [[[5, 8, 9, 6], [0, 7, -1, -1]]]
    assert out["top_token_log_probs"].tolist() == [[[-1.0, -1.5, -1.0, -2.0], [-0.5, -3.0, 0.0, 0.0]]]
    assert {array.dtype for name, array in out.items() if "log_probs" in name} == {np.dtype(np.float32)}
    assert out["output_token_ids"].dtype == out["top_token_ids"].dtype == np.int32


class TestUnary:
    @pytest.fixture
    def ask(self, load):
        """Execute one request of ensemble_unary, wait for its one answer."""
        model = load("ensemble_unary")

        def ask(request):
            assert model.execute([request]) is None
            wait_for(lambda: request.get_response_sender()._closed)
            (response,) = request.get_response_sender().sent
            return response

        yield ask
        model.finalize()

    def answered(self, words):
        """What a call brings back: no response, and before it ends the text by another way."""
        number = int(InferenceRequest.calls[-1].correlation_id.removeprefix("ensemble_unary:"))
        UnaryResultSender().send(
            StreamId(number), Text([SequenceText(words, "stop", 2, Scores(), 0.0)], 3, False)
        )
        yield from ()

    def test_it_forwards_every_input_and_answers_once(self, ask):
        InferenceRequest.answers.append(self.answered("hé\0"))
        request = Request([text("text_input", "a")], parameters={"sequence_id": 1}, request_id="mine")
        assert outputs(ask(request))["text_output"].tolist() == ["hé\0".encode()]
        (call,) = InferenceRequest.calls
        assert (call.model_name, call.request_id) == ("ensemble", "mine")
        assert call.tensors == request.inputs()

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ("max_tokens: got 0, must be at least 1", TritonError.INVALID_ARG),
            ("Exceeds maximum queue size: 4 running, 2 waiting; try again later", TritonError.UNAVAILABLE),
            ("messages: the template says: Exceeds maximum queue size", TritonError.INVALID_ARG),
            ("internal error; the server's log has the details", TritonError.INTERNAL),
            ("Stub process 'tensorrt_llm_0_0' is not healthy.", TritonError.INTERNAL),
        ],
    )
    def test_an_error_has_its_code_again_and_not_triton_s_prefix(self, ask, message, code):
        """A BLS call on 2.51.0 gives INTERNAL for every error."""
        error = TritonError(f"in ensemble 'ensemble', {message}", TritonError.INTERNAL)
        InferenceRequest.answers.append([InferenceResponse(error=error)])
        response = ask(Request([text("text_input", "a")]))
        assert (response.error().message(), response.error().code()) == (message, code)

    def test_a_code_that_the_call_kept_is_the_answer_s_whatever_the_words(self, ask):
        """As on Triton 25.04 and later."""
        error = TritonError("seed: no such luck", TritonError.UNAVAILABLE)
        InferenceRequest.answers.append([InferenceResponse(error=error)])
        assert ask(Request([text("text_input", "a")])).error().code() == TritonError.UNAVAILABLE

    def test_stream_true_is_refused_by_name(self, ask):
        response = ask(Request([text("text_input", "a"), number("stream", True, np.bool_)]))
        assert response.error().message().startswith("stream: got true; this model answers once")
        assert response.error().code() == TritonError.INVALID_ARG
        assert InferenceRequest.calls == []

    def test_an_unknown_field_is_refused_before_it_is_forwarded(self, ask):
        """A BLS call takes no parameter that is a fraction, and fails for it."""
        response = ask(Request([text("text_input", "a")], parameters={"temprature": 0.5}))
        assert response.error().message() == "temprature: unknown field; did you mean temperature?"
        assert response.error().code() == TritonError.INVALID_ARG
        assert InferenceRequest.calls == []

    def test_asking_for_log_probabilities_alone_without_the_field_that_turns_them_on_is_refused(self, ask):
        InferenceRequest.answers.append(self.answered("hi"))
        response = ask(Request([text("text_input", "a")], outputs={"cum_log_probs"}))
        assert response.error().message().startswith("return_log_probs: not true, but nothing else is asked")
        assert response.error().code() == TritonError.INVALID_ARG

    def test_a_request_id_that_is_not_utf_8_is_refused_and_not_left_without_an_answer(self, ask):
        response = ask(Request([text("text_input", "a")], request_id=b"\xff"))
        assert response.error().message() == "id: not UTF-8; send UTF-8"
        assert response.error().code() == TritonError.INVALID_ARG

    def test_no_answer_is_an_error_not_silence(self, ask, monkeypatch):
        monkeypatch.setattr(
            importlib.import_module("llm_ensemble.triton.unary_stage"), "RESULT_SECONDS", 0.01
        )
        assert ask(Request([text("text_input", "a")])).error().code() == TritonError.INTERNAL

    def test_a_client_disconnect_aborts_the_stream(self, ask, monkeypatch):
        """The fake's is_cancelled fails if it is asked after the answer, as the real one crashes."""
        monkeypatch.setattr("llm_ensemble.triton.forwarder.WATCH_SECONDS", 0.01)
        request = Request([text("text_input", "a")], cancelled=True)
        aborted = queue.SimpleQueue()
        mailbox = receive_aborts(0, aborted.put)

        def answer():
            (forwarded,) = InferenceRequest.calls
            assert forwarded.correlation_id == f"ensemble_unary:{aborted.get(timeout=SECONDS)}"
            yield from ()

        InferenceRequest.answers.append(answer())
        ask(request)
        assert mailbox


def test_the_engine_step_takes_a_stream_number_only_from_ensemble_unary(load):
    load("postprocessing")
    triton = importlib.import_module("llm_ensemble.triton.stages")
    names = {"a name": 0, "ensemble_unary:x": 0, f"ensemble_unary:{2**63 + 5}": 2**63 + 5}
    taken = (2**63, 2**63 + 1, 10**19 - 1, 10**19, 2**64 - 1)
    not_taken = (0, 9 * 10**18, 2**63 - 1, 2**64, 10**20)
    names |= {f"ensemble_unary:{chosen}": chosen for chosen in taken}
    names |= {f"ensemble_unary:{other}": 0 for other in (*not_taken, -(2**63), "٩" * 19)}
    for correlation, number_ in [(0, 0), (2**64 - 5, 0), *names.items()]:
        request = Request([], correlation_id=correlation, request_id="mine")
        assert triton.stream_identity(request) == {"stream_id": number_ or None, "label": "mine"}
