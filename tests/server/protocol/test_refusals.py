# SPDX-License-Identifier: Apache-2.0
"""Bad input is the caller's fault: 400, the field's name first, and the server goes on.

ROWS has every field's every kind of wrongness, and each row is asked in the five ways a client can ask.
Triton puts "in ensemble 'ensemble', " before a step's message; what follows is ours. What Triton itself
refuses before a model sees it has Triton's words; it is written down here as 2.51.0 does it.
"""

import concurrent.futures
import json
import math

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from llm_ensemble.contract.fields import FIELDS
from tests.asking import GrpcStream, generate, is_newer, post, refusal, tensor, tensors

OURS = "in ensemble 'ensemble', "
TYPE_IN_JSON = 500  # the status of JSON of a wrong type, on 2.51.0; newer ones have 400
MB = 1_000_000
INT32_MAX, UINT64_MAX = 2**31 - 1, 2**64 - 1
FITS = "at most 511 tokens fit; shorten the prompt"
WORDS = ["w"] * 10_000
SAMPLED = {"temperature": 1.0}
GUIDE_TYPE, GUIDE = "guided_decoding_guide_type", "guided_decoding_guide"
ONE = {"embedding_bias_weights": [1.0]}

# Field, kind, its value, what is told after the field's name, what is sent with it. Without text_input in the
# last, "a" is the prompt.
ROWS = [
    ("text_input", "empty", "", "empty; send at least one character", {}),
    ("text_input", "missing", None, "missing; send the prompt, or messages", {"max_tokens": 1}),
    ("text_input", "not UTF-8", b"a\xff", "not UTF-8 (byte 1 of 2); send UTF-8", {}),
    ("text_input", "huge", "word " * (MB // 5), f"{MB} characters, {FITS}", {}),
    ("text_input", "huge", "a" * MB, f"{MB} characters, {FITS}", {}),
    ("text_input", "huge", "\N{GRINNING FACE}" * (MB // 4), f"{MB // 4} characters, {FITS}", {}),
    ("text_input", "huge", "word " * 600, "602 tokens, at most 511 fit; shorten the prompt", {}),
    ("messages", "empty", "", "this model has no chat template; send text_input", {"text_input": None}),
    ("messages", "empty", "[]", "this model has no chat template; send text_input", {"text_input": None}),
    ("messages", "not UTF-8", b"[\xff]", "not UTF-8 (byte 1 of 3); send UTF-8", {"text_input": None}),
    ("messages", "huge", "[" * MB, "this model has no chat template; send text_input", {"text_input": None}),
    ("messages", "conflict", "[]", "text_input is there too; send one of them", {}),
    ("input_ids", "empty", [], "empty; send at least one token id", {"text_input": None}),
    ("input_ids", "range", [5, -1], "got -1, must be at least 0", {"text_input": None}),
    ("input_ids", "range", [4096], "got 4096, must be at most 4095, the last of", {"text_input": None}),
    ("input_ids", "huge", [5] * 600, "600 tokens, at most 511 fit; shorten the prompt", {"text_input": None}),
    ("input_ids", "conflict", [5], "text_input is there too; send one of them", {}),
    ("input_ids", "conflict", [5], "messages is there too; send", {"text_input": None, "messages": "[]"}),
    *(
        (name, "conflict", True, "changes a text before it is", {"text_input": None, "input_ids": [5]})
        for name in ("add_special_tokens", "add_generation_prompt", "continue_final_message")
    ),
    ("add_generation_prompt", "conflict", True, "belongs to messages; leave it out, or send messages", {}),
    ("continue_final_message", "conflict", True, "belongs to messages; leave it out, or send messages", {}),
    ("max_tokens", "range", 0, "got 0, must be at least 1", {}),
    ("max_tokens", "range", -(2**31), "got -2147483648, must be at least 1", {}),
    ("max_tokens", "range", 511, "got 511, must be at most 510 here: prompt (2 tokens) and", {}),
    ("max_tokens", "range", INT32_MAX, f"got {INT32_MAX}, must be at most 510 here", {}),
    ("min_tokens", "range", -1, "got -1, must be at least 0", {}),
    ("min_tokens", "range", 3, "got 3, must be at most max_tokens, which is 2 here", {"max_tokens": 2}),
    ("min_length", "range", -1, "got -1, must be at least 0", {}),
    ("min_length", "range", INT32_MAX, f"got {INT32_MAX}, must be at most max_tokens", {}),
    ("min_length", "conflict", 1, "got 1, but min_tokens is 2; they are one field", {"min_tokens": 2}),
    ("temperature", "range", -0.5, "got -0.5, must be at least 0 and at most 100", {}),
    ("temperature", "range", 100.5, "got 100.5, must be at least 0 and at most 100", {}),
    ("top_p", "range", -0.5, "got -0.5, must be at least 0 and at most 1", {}),
    ("top_p", "range", 1.0000001192092896, "got 1.00000012, must be at least 0 and at most 1", {}),
    ("min_p", "range", -0.5, "got -0.5, must be at least 0 and at most 1", {}),
    ("min_p", "range", 1.5, "got 1.5, must be at least 0 and at most 1", {}),
    ("top_k", "range", -2, "got -2, must be at least -1", {}),
    ("repetition_penalty", "range", 0.0, "got 0, must be above 0 and at most 100", {}),
    ("repetition_penalty", "range", 101.0, "got 101, must be above 0 and at most 100", {}),
    ("repetition_penalty", "engine", 2.0, "the openvino engine has none in a beam search", {"beam_width": 2}),
    ("presence_penalty", "range", -2.5, "got -2.5, must be at least -2 and at most 2", {}),
    ("presence_penalty", "range", 2.5, "got 2.5, must be at least -2 and at most 2", {}),
    ("presence_penalty", "engine", 1.0, "the openvino engine gets it wrong", {}),
    ("frequency_penalty", "range", -2.5, "got -2.5, must be at least -2 and at most 2", {}),
    ("frequency_penalty", "range", 2.5, "got 2.5, must be at least -2 and at most 2", {}),
    ("frequency_penalty", "engine", 1.0, "the openvino engine gets it wrong", {}),
    ("length_penalty", "range", -10.5, "got -10.5, must be at least -10 and at most 10", {}),
    ("length_penalty", "range", 10.5, "got 10.5, must be at least -10 and at most 10", {}),
    ("length_penalty", "conflict", 2.0, "chooses among beams; send a beam_width above 1 with it", {}),
    # Every number of 64 bits is a seed.
    ("random_seed", "conflict", UINT64_MAX, f"got {UINT64_MAX}, but seed is 0; they are", {"seed": 0}),
    ("beam_width", "range", 0, "got 0, must be at least 1", {}),
    ("beam_width", "range", 9, "got 9, at most 8 with this engine (its max_beam_width)", {}),
    ("beam_width", "engine", 2, "the openvino engine does not sample in a beam search", SAMPLED),
    ("num_return_sequences", "range", 0, "got 0, must be at least 1", {}),
    ("num_return_sequences", "range", 33, "got 33, must be at most 32, the engine's max_batch_size", SAMPLED),
    ("num_return_sequences", "conflict", 3, "got 3, must be at most 2, beam_width", {"beam_width": 2}),
    ("num_return_sequences", "conflict", 2, "got 2, which would all be the same: send temperature", {}),
    ("stop_words", "not UTF-8", [b"ok", b"\xff"], "not UTF-8 (byte 0 of 1); send UTF-8", {}),
    ("stop_words", "huge", WORDS, "got 10000 strings, at most 64 are allowed", {}),
    ("stop_words", "huge", ["w" * MB], f"got a string of {MB} characters, at most 256 are allowed", {}),
    ("bad_words", "not UTF-8", [b"ok", b"\xff"], "not UTF-8 (byte 0 of 1); send UTF-8", {}),
    ("bad_words", "huge", WORDS, "got 10000 strings, at most 64 are allowed", {}),
    ("bad_words", "huge", ["w" * MB], f"got a string of {MB} characters, at most 256 are allowed", {}),
    ("bad_words", "engine", ["manager"], "the openvino engine keeps out words of one token alone, also", {}),
    ("logit_bias", "empty", "[]", "Expected `object`, got `array`; send a JSON object of token ids", {}),
    ("logit_bias", "not UTF-8", b"{\xff}", "not UTF-8 (byte 1 of 3); send UTF-8", {}),
    ("logit_bias", "huge", "[" * MB, "Expected `object`, got `array`; send a JSON object of token ids", {}),
    ("logit_bias", "huge", json.dumps(dict.fromkeys(range(1025), 1)), "got 1025 tokens, at most 1024", {}),
    ("logit_bias", "range", '{"5": 101}', "got 101 for token 5, must be at least -100 and at most 100", {}),
    ("logit_bias", "range", '{"4096": 1}', "got token 4096, must be at least 0 and at most 4095", {}),
    ("logit_bias", "engine", '{"5": 1}', "the openvino engine has -100 alone, which forbids a token", {}),
    ("embedding_bias_words", "not UTF-8", [b"ok", b"\xff"], "not UTF-8 (byte 0 of 1); send UTF-8", {}),
    ("embedding_bias_words", "huge", WORDS, "got 10000 strings, at most 64 are allowed", {}),
    ("embedding_bias_words", "huge", ["w" * MB], f"got a string of {MB} characters, at most 256 are", {}),
    ("embedding_bias_words", "engine", ["w"], "the openvino engine has -100 alone, which forbids", ONE),
    ("embedding_bias_weights", "range", -100.5, "got -100.5, must be at least -100 and at most 100", {}),
    ("embedding_bias_weights", "range", 100.5, "got 100.5, must be at least -100 and at most 100", {}),
    ("embedding_bias_weights", "conflict", 1.0, "got 1, must be one for each of embedding_bias_words, 0", {}),
    ("tools", "empty", " ", "not JSON: ", {}),
    ("tools", "not UTF-8", b"[\xff]", "not UTF-8 (byte 1 of 3); send UTF-8", {}),
    ("tools", "huge", "[" * MB, "nested too deeply, must be an array of", {}),
    ("tool_choice", "empty", "[]", "got [], must be none, auto, required, or", {}),
    ("tool_choice", "not UTF-8", b"[\xff]", "not UTF-8 (byte 1 of 3); send UTF-8", {}),
    ("tool_choice", "huge", "[" * MB, "nested too deeply, must be none, auto, required, or", {}),
    ("tool_choice", "conflict", "required", "there are no tools; send them with it", {}),
    (GUIDE_TYPE, "empty", "[]", "got '[]', must be one of json, json_schema, regex,", {}),
    (GUIDE_TYPE, "not UTF-8", b"\xff", "not UTF-8 (byte 0 of 1); send UTF-8", {}),
    (GUIDE_TYPE, "huge", "w" * MB, f"got '{'w' * 40}', must be one of json,", {}),
    (GUIDE, "empty", "", "missing", {GUIDE_TYPE: "regex"}),
    (GUIDE, "not UTF-8", b"\xff", "not UTF-8 (byte 0 of 1); send UTF-8", {GUIDE_TYPE: "regex"}),
    (GUIDE, "huge", "w" * MB, f"got {MB} characters, must have at most 100000", {GUIDE_TYPE: "regex"}),
    (GUIDE, "conflict", "{}", "does not belong to json; send json_schema", {GUIDE_TYPE: "json"}),
    ("lora_name", "empty", " ", "no adapters are served here", {}),
    ("lora_name", "not UTF-8", b"\xff", "not UTF-8 (byte 0 of 1); send UTF-8", {}),
    ("lora_name", "huge", "w" * MB, "no adapters are served here", {}),
    ("end_id", "range", -2, "got -2, must be at least -1", {}),
    ("end_id", "range", 4096, "got 4096, must be at most 4095, the last of the vocabulary", {}),
    ("pad_id", "range", -1, "got -1, must be at least 0", {}),
    ("top_log_probs", "range", -1, "got -1, must be at least 0 and at most 20", {}),
    ("top_log_probs", "range", 21, "got 21, must be at least 0 and at most 20", {}),
    ("top_log_probs", "conflict", 1, "comes with log probabilities; send return_log_probs true with it", {}),
    ("top_log_probs", "engine", 1, "the openvino engine gives the chosen", {"return_log_probs": True}),
    ("deadline_ms", "range", 0, "got 0, must be at least 1", {}),
]  # fmt: skip
ROWS += [
    (name, "no number", value, f"got {value:g}, must be {field.allowed}", {})
    for name, field in FIELDS.items()
    if field.datatype == "FP32"
    for value in (math.nan, math.inf, -math.inf)
]
# A list may be empty, and so may its words: that asks for nothing.
KINDS = {"BYTES": {"not UTF-8", "huge"}, "FP32": {"range", "no number"}, "INT32": {"range"}}
ALIASES = {"min_length", "random_seed"}

# JSON that cannot be a field of this type, and a tensor of another type.
WRONG_JSON = {
    "BYTES": [5, 1.5, True, None, {"a": 1}, [None], [{}]],
    "INT32": ["5", "", 1.5, 2.0, True, None, {"a": 1}, [None], 2**63, 10**30],
    "UINT64": ["5", "", 1.5, True, None, {"a": 1}, [None], -1, 2**64],
    "FP32": ["1.5", "", "NaN", True, None, {"a": 1}, [None]],
    "BOOL": ["true", "", 0, 1, 1.5, None, {"a": 1}, [None]],
}
WRONG_TENSOR = {"BYTES": "INT32", "INT32": "FP32", "UINT64": "INT32", "FP32": "BYTES", "BOOL": "INT32"}
REFUSED = {
    *("messages", "presence_penalty", "frequency_penalty", "top_log_probs"),
    *("logit_bias", "embedding_bias_words", "embedding_bias_weights"),
    *("tools", "tool_choice", "lora_name", "lora_task_id", GUIDE_TYPE, GUIDE),
}  # with A_VALUE
A_VALUE = {"BYTES": "a", "INT32": 1, "UINT64": 1, "FP32": 1.0, "BOOL": False}


def test_every_field_has_a_row_of_each_kind_of_wrongness_that_its_type_has():
    """BOOL and UINT64 have none but the wrong types and shapes, which are made for every field."""
    wanted = {
        name: KINDS.get(field.datatype, set())
        | ({"empty"} if field.datatype == "BYTES" and not field.many else set())
        | ({"conflict"} if name in ALIASES else set())
        for name, field in FIELDS.items()
    }
    there = {name: {kind for field, kind, *_ in ROWS if field == name} for name in FIELDS}
    assert {name: kinds - there[name] for name, kinds in wanted.items() if kinds - there[name]} == {}
    assert {field for field, *_ in ROWS} <= FIELDS.keys()


def test_every_limit_of_a_range_has_a_row_beyond_it():
    def given(name):
        given = [value for field, kind, value, *_ in ROWS if (field, kind) == (name, "range")]
        return [one for value in given for one in (value if isinstance(value, list) else [value])]

    limited = {name: field for name, field in FIELDS.items() if field.datatype in ("INT32", "FP32")}
    for name, field in limited.items():
        assert any(value < field.low or (field.open_low and value == field.low) for value in given(name)), (
            name
        )
        assert field.high == INT32_MAX or any(value > field.high for value in given(name)), name


def fields_of(name, value, others):
    """What a row sends."""
    fields = {"text_input": "a", **others, name: value}
    return {field: value for field, value in fields.items() if value is not None}


def as_json(body):
    """JSON in which bytes stand as they are, UTF-8 or not."""
    text = json.dumps(body, ensure_ascii=False, default=lambda raw: raw.decode(errors="surrogateescape"))
    return text.encode(errors="surrogateescape")


def in_json(name, value, datatype=None, shape=None):
    """A tensor of /infer."""
    data = value if isinstance(value, list) else [value]
    datatype = datatype or FIELDS[name].datatype
    return {"name": name, "datatype": datatype, "shape": shape or [1, len(data)], "data": data}


def by_generate(server, fields):
    return refusal(server, as_json(fields))


def by_generate_stream(server, fields):
    return refusal(server, as_json(fields), "generate_stream")


def by_infer(server, fields):
    inputs = [in_json(name, value) for name, value in fields.items()]
    status, answer = post(server, "infer", as_json({"inputs": inputs}), "ensemble_unary")
    return status, json.loads(answer)["error"]


def by_grpc_infer(server, fields, *inputs, **options):
    with (
        grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}") as client,
        pytest.raises(InferenceServerException) as caught,
    ):
        client.infer("ensemble_unary", [*tensors(**fields), *inputs], **options)
    return caught.value.status(), caught.value.message()


def by_grpc_stream(server, fields, *inputs, **options):
    """tritonclient tells no code of an error in a stream."""
    with GrpcStream(server) as stream, pytest.raises(InferenceServerException) as caught:
        list(stream.ask(*inputs, options=options, **fields))
    return caught.value.status(), caught.value.message()


INVALID = "StatusCode.INVALID_ARGUMENT"
WAYS = [
    (by_generate, 400, OURS),
    (by_generate_stream, 400, OURS),
    (by_infer, 400, ""),
    (by_grpc_infer, INVALID, ""),
    (by_grpc_stream, None, OURS),
]
GRPC_WAYS = WAYS[3:]


def names_of_ways(value):
    return getattr(value, "__name__", None)


@pytest.fixture(autouse=True)
def goes_on(server):
    """Whatever was refused, the next request is answered."""
    yield
    assert generate(server, "a", max_tokens=1)["finish_reason"]


@pytest.mark.parametrize(("ask", "code", "prefix"), WAYS, ids=names_of_ways)
@pytest.mark.parametrize(
    ("name", "kind", "value", "told", "others"), ROWS, ids=[f"{name}-{kind}" for name, kind, *_ in ROWS]
)
def test_a_bad_value_is_the_caller_s_fault_and_told_with_the_field_first(
    server, ask, code, prefix, name, kind, value, told, others
):
    status, message = ask(server, fields_of(name, value, others))
    assert message.startswith(f"{prefix}{name}: {told}")
    assert status == code
    assert len(message) < 200
    assert "\n" not in message


@pytest.mark.parametrize("name", FIELDS)
def test_json_of_the_wrong_type_is_refused_by_triton(server, name):
    """Before any model sees it, and without the field's name."""
    for value in WRONG_JSON[FIELDS[name].datatype]:
        if value != [None] or not FIELDS[name].many:
            status, message = refusal(server, fields_of(name, value, {}) | {name: value})
            assert message.startswith("Unable to parse "), value
            assert status in (400, TYPE_IN_JSON)
            assert "\n" not in message


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.datatype == "INT32"])
def test_an_integer_beyond_32_bits_in_json_is_wrapped_by_triton(server, name):
    """A fault of 2.51.0 that no model can see: 4294967296 arrives as 0, -4294967298 as -2."""
    below = int(FIELDS[name].low) - 1
    for wrapped in (below + 2**32, below - 2**32):
        status, message = refusal(server, {"text_input": "a", name: wrapped})
        assert (status, message) == (400, f"{OURS}{name}: got {below}, must be {FIELDS[name].allowed}")


@pytest.mark.parametrize("name", FIELDS)
def test_a_list_in_json_is_taken_if_it_has_one_value_and_refused_by_triton_otherwise(server, name):
    """Triton counts the values, however they are nested. More than one would be a batch."""
    value = A_VALUE[FIELDS[name].datatype]
    others = {} if name in ("text_input", "input_ids") else {"text_input": "a"}
    for nested in ([value], [[value]]):
        asked = {"max_tokens": 1, **others, name: nested}
        status, answer = post(server, "generate", {**asked, name: value})
        assert post(server, "generate", asked)[0] == status
        assert (status == 200) == (name not in REFUSED), answer
    if not FIELDS[name].many:
        status, message = refusal(server, {**others, name: []})
        assert status == 400
        # Newer ones: "input 'seed' has no shape but model requires batch dimension for 'ensemble'".
        told = f"input '{name}' has no shape" if is_newer(server) else f"input '{name}' for model 'ensemble'"
        assert told in message
        status, message = refusal(server, {"seed": 1, "top_k": 1, **others, name: [value, value]})
        assert status == 400
        assert "batch size does not match other inputs for 'ensemble'" in message


@pytest.mark.parametrize(("ask", "code", "prefix"), GRPC_WAYS, ids=names_of_ways)
@pytest.mark.parametrize("name", FIELDS)
def test_a_tensor_of_the_wrong_type_is_refused_by_triton_with_its_name(server, ask, code, prefix, name):
    wrong = WRONG_TENSOR[FIELDS[name].datatype]
    status, message = ask(
        server, {"seed": 1} if name != "seed" else {}, tensor(name, [A_VALUE[wrong]], wrong)
    )
    assert status == code
    assert f"inference input '{name}' data-type is '{wrong}', but model " in message


@pytest.mark.parametrize(("ask", "code", "prefix"), GRPC_WAYS, ids=names_of_ways)
@pytest.mark.parametrize("name", FIELDS)
def test_a_tensor_of_the_wrong_shape_is_refused_by_triton_with_its_name(server, ask, code, prefix, name):
    """Where the batch sizes differ, it may be the other one that is named."""
    other = "seed" if name != "seed" else "top_k"
    shapes = [(0,), (1,), (0, 1), (2, 1), (2, 2), (1, 1, 1)]
    if not FIELDS[name].many:
        shapes += [(1, 0), (1, 2)]
    for shape in shapes:
        values = [A_VALUE[FIELDS[name].datatype]] * math.prod(shape)
        status, message = ask(server, {other: 1}, tensor(name, values, shape=shape))
        assert status == code, shape
        assert f"input '{name}'" in message or f"input '{other}' batch size does not match" in message, shape


@pytest.mark.parametrize("name", FIELDS)
def test_a_wrong_tensor_of_infer_is_refused_by_triton_with_its_name(server, name):
    field = FIELDS[name]
    wrong = WRONG_TENSOR[field.datatype]
    value, other = A_VALUE[field.datatype], in_json("seed" if name != "seed" else "top_k", 1)
    bad = [in_json(name, A_VALUE[wrong], wrong), in_json(name, value, "NONE")]
    bad += [] if field.many else [in_json(name, [value, value]), in_json(name, [])]
    bad += [in_json(name, value, shape=[1, 1, 1]), in_json(name, value, shape=[1])]
    for one in bad:
        status, answer = post(server, "infer", {"inputs": [one, other]}, "ensemble_unary")
        assert status == 400, one
        assert name in answer
    twice = {"inputs": [in_json(name, value), in_json(name, value)]}
    assert post(server, "infer", twice, "ensemble_unary")[0] == 400


BATCH = ": a batch of 2 in one request; send one request each, the engine batches them in flight"


def test_a_batch_in_one_request_is_refused_with_advice_whichever_way_it_comes(server):
    two = {"text_input": ["a", "b"]}
    assert refusal(server, two) == (400, f"{OURS}text_input{BATCH}")
    assert refusal(server, two, "generate_stream") == (400, f"{OURS}text_input{BATCH}")
    assert refusal(server, two, model="ensemble_unary") == (400, f"text_input{BATCH}")
    inputs = {"inputs": [in_json("text_input", ["a", "b"], shape=[2, 1])]}
    status, answer = post(server, "infer", inputs, "ensemble_unary")
    assert (status, json.loads(answer)["error"]) == (400, f"text_input{BATCH}")
    for ask, code, prefix in GRPC_WAYS:
        both = [tensor("text_input", ["a", "b"], shape=(2, 1)), tensor("max_tokens", [1, 2], shape=(2, 1))]
        status, message = ask(server, {}, *both)
        assert status == code
        assert message in (f"{prefix}text_input{BATCH}", f"{prefix}max_tokens{BATCH}")
        one = tensor("text_input", ["a"] * 65, shape=(65, 1))
        assert "batch-size must be <= 64" in ask(server, {}, one)[1]


THE_FIELDS = "the fields are text_input, messages, "
NAMES = [
    ("temprature", "temprature: unknown field; did you mean temperature?"),
    ("stop", "stop: unknown field; did you mean stop_words?"),
    ("n", f"n: unknown field; {THE_FIELDS}"),
    ("", f'"": unknown field; {THE_FIELDS}'),
    ("a b", f"a b: unknown field; {THE_FIELDS}"),
    ('a"b\\', f'a"b\\: unknown field; {THE_FIELDS}'),
    ("a\nb\t", f"a\\nb\\t: unknown field; {THE_FIELDS}"),
    ("naïve 日本", f"naïve 日本: unknown field; {THE_FIELDS}"),
    ("n" * MB, f"{'n' * 64}...: unknown field; {THE_FIELDS}"),
    # Over gRPC and /infer these two are Triton's own options; as parameters they have no effect.
    ("timeouts", f"timeouts: unknown field; {THE_FIELDS}"),
    ("priorities", f"priorities: unknown field; {THE_FIELDS}"),
]


@pytest.mark.parametrize(("name", "told"), NAMES, ids=lambda text: text[:20])
@pytest.mark.parametrize("value", [1, 1.5, True, "text"], ids=str)
def test_an_unknown_field_is_told_the_nearest_known_one_in_one_short_line(server, name, told, value):
    for path in ("generate", "generate_stream"):
        for asked in ({name: value}, {"parameters": {name: value}}):
            status, message = refusal(server, {"text_input": "a", **asked}, path)
            assert (status, message[: len(OURS + told)]) == (400, OURS + told)
            assert len(message) < 800
    inputs = [in_json("text_input", "a")]
    status, answer = post(server, "infer", {"inputs": inputs, "parameters": {name: value}}, "ensemble_unary")
    assert (status, json.loads(answer)["error"][: len(told)]) == (400, told)
    for ask, code, prefix in GRPC_WAYS:
        status, message = ask(server, {"text_input": "a"}, parameters={name: value})
        assert (status, message[: len(prefix + told)]) == (code, prefix + told)


@pytest.mark.parametrize("name", ["timeout", "priority"])
def test_triton_s_options_are_unknown_as_json_keys_where_they_have_no_effect(server, name):
    assert refusal(server, {"text_input": "a", name: 5})[1].startswith(f"{OURS}{name}: unknown field")


def test_a_field_sent_as_a_parameter_is_told_to_be_an_input(server):
    told = "max_tokens: sent as a parameter; send it as an input"
    for ask, code, prefix in GRPC_WAYS:
        assert ask(server, {"text_input": "a"}, parameters={"max_tokens": 1}) == (code, prefix + told)


@pytest.mark.parametrize("value", [None, [], [1], {}, {"a": {"b": 1}}], ids=str)
def test_an_unknown_field_that_is_no_single_value_is_refused_by_triton_with_its_name(server, value):
    status, message = refusal(server, {"text_input": "a", "temprature": value})
    assert (status, "parameter 'temprature' has invalid type" in message) == (400, True)


def test_over_grpc_and_infer_an_unknown_input_is_refused_by_triton_with_its_name(server):
    unknown = grpcclient.InferInput("max_token", [1, 1], "INT32")
    unknown._raw_content = b"\1\0\0\0"
    for ask, code, _ in GRPC_WAYS:
        status, message = ask(server, {"text_input": "a"}, unknown)
        assert (status, "unexpected inference input 'max_token'" in message) == (code, True)
    inputs = [in_json("text_input", "a"), in_json("max_token", 1, "INT32")]
    status, answer = post(server, "infer", {"inputs": inputs}, "ensemble_unary")
    assert (status, "unexpected inference input 'max_token'" in answer) == (400, True)


# Bodies of /generate as bytes: what a client's library would not send. Where the message does not begin with
# a field, it is Triton's, and so is the status.
BODIES = [
    (b"", TYPE_IN_JSON, "failed to parse the request JSON buffer: The document is empty."),
    (b"{", TYPE_IN_JSON, "failed to parse the request JSON buffer: "),
    (b'{"text_input": "a"', TYPE_IN_JSON, "failed to parse the request JSON buffer: "),
    (b'{"text_input": "a"} 1', TYPE_IN_JSON, "failed to parse the request JSON buffer: "),
    (b"\xff", TYPE_IN_JSON, "failed to parse the request JSON buffer: "),
    (b"[]", TYPE_IN_JSON, "attempt to get members for non-object"),
    (b"null", TYPE_IN_JSON, "attempt to get members for non-object"),
    (b'"text_input"', TYPE_IN_JSON, "attempt to get members for non-object"),
    (b'{"text_input": "a\\ud800"}', TYPE_IN_JSON, "failed to parse the request JSON buffer: The surrogate"),
    (b'{"text_input": "a", "temperature": 1e400}', TYPE_IN_JSON, "failed to parse the request JSON buffer: "),
    (b'{"text_input": "a", "temperature": nan}', TYPE_IN_JSON, "failed to parse the request JSON buffer: "),
    (b'{"text_input": "a", "temperature": 1e39}', 400, OURS + "temperature: got inf, must be at least 0"),
    (b'{"text_input": "a", "temperature": NaN}', 400, OURS + "temperature: got nan, must be at least 0"),
    (b'{"text_input": "a", "temperature": -Infinity}', 400, OURS + "temperature: got -inf, must be at"),
    (b'{"text_input": "a", "parameters": 5}', TYPE_IN_JSON, "Expected JSON object for keyword: 'parameters'"),
    (b'{"text_input": "a", "id": 5}', TYPE_IN_JSON, "Unable to parse 'id'"),
    (b"{}", 400, OURS + "[request id: <id_unknown>] out of bounds index 0: request has 0 inputs"),
    # A key that comes twice is refused by Triton, an unknown one by us.
    (
        b'{"text_input": "a", "seed": 1, "seed": 1}',
        400,
        "[request id: <id_unknown>] input 'seed' already exists",
    ),
    (b'{"text_input": "a", "seed": 1, "parameters": {"seed": 1}}', 400, "Converting keyword: 'parameters': "),
    (b'{"text_input": "a", "seeed": 1, "seeed": 2}', 400, OURS + "seeed: unknown field; did you mean seed?"),
    (b'{"text_input": "a", "\xff": 1}', 400, OURS + "parameters: not UTF-8; send UTF-8"),
    (b'{"text_input": "a", "x": "\xff"}', 400, OURS + "parameters: not UTF-8; send UTF-8"),
    (b'{"text_input": "a", "id": "\xff"}', 400, OURS + "id: not UTF-8; send UTF-8"),
    (b'{"text_input": "a", "x\\u0000": 1}', TYPE_IN_JSON, "parameter key 'x' was not found in the JSON"),
]


@pytest.mark.parametrize(("body", "code", "told"), BODIES, ids=lambda value: str(value)[:50])
@pytest.mark.parametrize("path", ["generate", "generate_stream"])
def test_a_body_that_is_no_request_is_refused(server, body, code, told, path):
    status, message = refusal(server, body, path)
    assert message.startswith(told)
    assert status in (400, code)


def test_a_body_of_10_mb_is_refused_like_a_small_one(server):
    huge = "a" * (10 * MB)
    assert refusal(server, {"text_input": huge}) == (400, f"{OURS}text_input: {10 * MB} characters, {FITS}")
    assert refusal(server, {"text_input": "a", "x": huge})[1].startswith(f"{OURS}x: unknown field")
    assert refusal(server, {"text_input": "a", huge: 1})[1].startswith(f"{OURS}{'a' * 64}...: unknown field")
    told = "stop_words: got 2500000 strings, at most 64 are allowed"
    assert refusal(server, {"text_input": "a", "stop_words": [""] * (10 * MB // 4)})[1] == OURS + told


def test_texts_that_cannot_be_read_are_refused_on_ensemble_unary_too(server):
    """An id of these kept its client waiting for ever."""
    for body, told in [(b'{"id": "\xff", %s}', "id"), (b'{"parameters": {"\xff": 1}, %s}', "parameters")]:
        whole = body % json.dumps({"inputs": [in_json("text_input", "a")]})[1:-1].encode()
        status, answer = post(server, "infer", whole, "ensemble_unary")
        assert (status, json.loads(answer)["error"]) == (400, f"{told}: not UTF-8; send UTF-8")


def test_triton_passes_over_unknown_keys_beside_the_inputs_of_infer(server):
    """The protocol's own keys are all it looks at there, so that no model sees a misspelt one."""
    asked = {"inputs": [in_json("text_input", "a"), in_json("max_tokens", 1)], "temprature": 5}
    assert post(server, "infer", asked, "ensemble_unary")[0] == 200


def test_ensemble_unary_refuses_a_stream_and_log_probabilities_that_were_not_requested(server):
    status, message = by_grpc_infer(server, {"text_input": "a", "stream": True})
    assert (status, message.partition(";")[0]) == (INVALID, "stream: got true")
    outputs = [grpcclient.InferRequestedOutput("output_log_probs")]
    status, message = by_grpc_infer(server, {"text_input": "a", "max_tokens": 1}, outputs=outputs)
    assert (status, message.partition(";")[0]) == (
        INVALID,
        "return_log_probs: not true, but nothing else is asked for",
    )


@pytest.mark.parametrize(
    "option",
    [
        {"timeout": 10**8},
        {"priority": 1},
        {"enable_empty_final_response": True},
        {"sequence_id": 5, "sequence_start": True, "sequence_end": True},
        {"sequence_id": -5},
        {"sequence_id": "a name"},
    ],
    ids=str,
)
def test_triton_s_own_request_options_are_no_unknown_fields(server, option):
    with GrpcStream(server) as stream:
        assert list(stream.ask(text_input="a", max_tokens=1, options=option))


@pytest.mark.parametrize(
    "key",
    [
        {"id": "mine"},
        {"sequence_id": 5},
        {"sequence_start": True},
        {"sequence_end": True},
        {"binary_data_output": True},
        {"parameters": {}},
        {"triton_anything": 1},  # Triton keeps what begins like this for itself
    ],
    ids=str,
)
def test_triton_s_own_keys_of_generate_are_no_unknown_fields(server, key):
    assert generate(server, "a", max_tokens=1, **key)["finish_reason"]


@pytest.mark.parametrize("name", ["triton_anything", "headers"])
def test_over_grpc_a_name_that_triton_keeps_for_itself_is_refused_by_the_client(server, name):
    for ask, *_ in GRPC_WAYS:
        assert "is a reserved parameter" in ask(server, {"text_input": "a"}, parameters={name: 1})[1]


def test_one_sequence_id_for_two_requests_at_a_time_is_no_fault(server):
    """An id below 0 reaches the engine as a number that it would else take for a stream's."""
    with GrpcStream(server) as first, GrpcStream(server) as second:
        first.start(text_input="a", max_tokens=400, ignore_eos=True, options={"sequence_id": -5})
        assert list(second.ask(text_input="a", max_tokens=1, options={"sequence_id": -5}))


@pytest.mark.parametrize("bad", [{"max_tokens": 0}, {"text_input": "a" * MB}], ids=["small", "huge"])
def test_a_bad_request_does_not_touch_its_neighbours(server, bad):
    """Sent together, so that the dynamic batcher may put them into one execute of preprocessing."""

    def status(i):
        asked = {"text_input": "The server", "max_tokens": 10, **({} if i % 2 else bad)}
        return post(server, "generate", asked)[0]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert list(pool.map(status, range(64))) == [400, 200] * 32


def test_the_stages_of_the_ensemble_say_what_to_ask_instead(server):
    status, text = post(server, "generate", {"input_ids": [1]}, model="tensorrt_llm")
    assert (status, "ask 'ensemble'" in text) == (400, True)
