# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent is answered or refused, and the server goes on as before.

The cases (request_strategies.py) are always the same ones; FUZZ_CASES sets how many.
"""

import http.client
import json
import os
from concurrent.futures import ThreadPoolExecutor

import tritonclient.grpc as grpcclient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from tests.asking import GrpcStream, generate, refusal
from tests.processes import descendants
from tests.server.request_strategies import grpc_cases, http_cases

CASES = int(os.environ.get("FUZZ_CASES", "2000"))
WARM = CASES // 2  # cases after which a server's memory is what it needs
SECONDS = 30
GROWTH = 1.05
OURS = "in ensemble 'ensemble', "
LONGEST_MESSAGE = 1000
FINISH = {"stop", "length", "timeout"}


def check_message(message):
    """One line of ours, and never a fault of ours. Triton's own messages repeat names as they are."""
    assert "internal error" not in message
    assert "Traceback" not in message
    assert "Failed to process" not in message
    if message.startswith(OURS):
        assert len(message) <= LONGEST_MESSAGE
        assert len(message.splitlines()) == 1


def check_refusal(error):
    """An error over gRPC; one in a stream has no code in tritonclient, nor has one that it found itself."""
    check_message(error.message())
    assert error.status() in ("StatusCode.INVALID_ARGUMENT", None)


def check_answers(answers, sequences):
    """answers: text, reason, input tokens, output tokens, log probabilities or None, of each response."""
    assert answers
    for texts, reasons, tokens_in, tokens_out, log_probs in answers:
        assert len(texts) == len(reasons) == sequences
        assert all(isinstance(text, str) for text in texts)
        assert tokens_in == answers[0][2] >= 1
        assert 0 <= tokens_out <= 512 * len(texts)
        assert log_probs is None or len(log_probs) == len(texts)
        assert set(reasons) <= FINISH | {""}
    *before, last = answers
    assert all(last[1])
    assert not any(all(answer[1]) for answer in before)


def sequences_of(fields):
    """How many were asked for by fields that were taken; JSON's integers are wrapped, its lists have one."""
    asked = fields.get("num_return_sequences", fields.get("beam_width", 1))
    while isinstance(asked, list):
        (asked,) = asked
    return int.from_bytes(asked, "little") if isinstance(asked, bytes) else asked % 2**32


def sequences_in_json(body):
    fields = json.loads(body.decode(errors="replace"), strict=False)
    return sequences_of({**fields, **fields.get("parameters", {})})


def many(value):
    """JSON of /generate has a list of one as the one."""
    return value if isinstance(value, list) else [value]


def from_json(answer):
    log_probs = many(answer["cum_log_probs"]) if "cum_log_probs" in answer else None
    texts, reasons = many(answer["text_output"]), many(answer["finish_reason"])
    return texts, reasons, answer["num_input_tokens"], answer["num_output_tokens"], log_probs


def from_result(result):
    outputs = {o.name: result.as_numpy(o.name) for o in result.get_response().outputs}
    texts, reasons = ([text.decode() for text in outputs[n]] for n in ("text_output", "finish_reason"))
    tokens = (outputs[name].item() for name in ("num_input_tokens", "num_output_tokens"))
    log_probs = outputs["cum_log_probs"][0].tolist() if "cum_log_probs" in outputs else None
    return texts, reasons, *tokens, log_probs


class Client:
    """Asks over connections that stay open."""

    def __init__(self, server):
        self.server = server
        self._http = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=SECONDS)
        self._grpc = grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}")

    def close(self):
        self._http.close()
        self._grpc.close()

    def ask_http(self, path, body):
        self._http.request("POST", f"/v2/models/ensemble/{path}", body)
        response = self._http.getresponse()
        text = response.read().decode(errors="replace")
        events = [json.loads(part.removeprefix("data: ")) for part in text.split("\n\n") if part]
        errors = [event["error"] for event in events if "error" in event]
        for message in errors:
            check_message(message)
        if response.status == 200 and not errors:
            check_answers([from_json(event) for event in events], sequences_in_json(body))
        elif response.status == 200:  # stream: true on /generate
            assert errors[0].startswith("generate expects model to produce exactly 1 response")
        else:
            assert (len(events), len(errors)) == (1, 1)
            # 500 is what Triton's HTTP front says of JSON that it cannot make tensors of.
            assert response.status == 400 or (response.status == 500 and not errors[0].startswith(OURS))

    def ask_grpc(self, model, request):
        inputs, asked = [one.input for one in request[0]], request[1]
        try:
            answers = self._stream(inputs, asked) if model == "ensemble" else self._infer(inputs, asked)
        except InferenceServerException as error:
            check_refusal(error)
        else:
            check_answers(answers, sequences_of({one.name: one.content[:4] for one in request[0]}))

    def _infer(self, inputs, asked):
        return [from_result(self._grpc.infer("ensemble_unary", inputs, client_timeout=SECONDS, **asked))]

    def _stream(self, inputs, asked):
        with GrpcStream(self.server) as stream:
            asked = dict(asked)
            stream.start(*inputs, request_id=asked.pop("request_id", ""), options=asked)
            return [from_result(result) for result in stream.results()]


def fill(server):
    """Use all of the KV cache, and send the largest of everything, so that memory for them is there."""

    def ask(i):
        generate(server, f"{i} " + "word " * 480, max_tokens=8)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(40)))
    for huge in ({"text_input": "a" * 1_000_000}, {"text_input": "a", "stop_words": ["w"] * 10_000}):
        for model in ("ensemble", "ensemble_unary"):
            assert refusal(server, huge, model=model)[0] == 400


def memory(server):
    """RSS of each process of the server."""
    return {process: process.resident for process in descendants(server.process.pid)}


def test_whatever_is_sent_is_answered_or_refused_and_nothing_is_left_of_it(server):
    fill(server)
    whole = generate(server, "The package manager", max_tokens=20)["text_output"]
    client = Client(server)
    warm, done = {}, 0

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(http_cases, grpc_cases))
    def each(case):
        nonlocal done
        done += 1
        if done == WARM:
            warm.update(memory(server))
        if isinstance(case[1], bytes):
            client.ask_http(*case)
        else:
            client.ask_grpc(*case)

    each()
    client.close()
    assert generate(server, "The package manager", max_tokens=20)["text_output"] == whole
    now = memory(server)
    assert now.keys() == warm.keys(), "a process was started again"
    grown = {p.command: (before, now[p]) for p, before in warm.items() if now[p] > GROWTH * before}
    assert not grown
