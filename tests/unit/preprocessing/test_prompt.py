# SPDX-License-Identifier: Apache-2.0
import time

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from llm_ensemble.contract.request_fields import request_fields
from llm_ensemble.errors import EngineDirectoryError, EnsembleError, RequestError
from llm_ensemble.preprocessing.preprocessor import Preprocessor, load_tokenizer


@pytest.fixture
def preprocessor(byte_tokenizer, manifest):
    return Preprocessor(byte_tokenizer, manifest, None, deadline_ms=60_000)


class Shout:
    """A chat template of sorts."""

    def render(self, messages, **_):
        if messages == "bad":
            raise RequestError("messages", "bad")
        return messages.upper()


def prepare(preprocessor, **fields):
    (result,) = preprocessor.prepare([request_fields(fields)])
    if isinstance(result, EnsembleError):
        raise result
    return result


def test_a_prompt_becomes_the_tokenizer_s_ids_special_ones_included(preprocessor, byte_tokenizer):
    input_ids, request = prepare(preprocessor, text_input="hi")
    assert input_ids == byte_tokenizer.encode("hi").ids
    assert len(input_ids) == request.text.num_input_tokens == 3


def test_token_ids_are_the_prompt_as_they_are(preprocessor, byte_tokenizer):
    """Between texts of the same batch, and without the </s> that the tokenizer puts before a text."""
    end = byte_tokenizer.token_to_id("</s>")
    texts = [{"text_input": "a"}, {"text_input": "bc"}]
    for ids in ([5], [end, 5, 5, end], byte_tokenizer.encode("né", add_special_tokens=False).ids):
        batch = [texts[0], {"input_ids": ids, "exclude_input_in_output": False}, texts[1]]
        results = preprocessor.prepare([*map(request_fields, batch)])
        assert [len(input_ids) for input_ids, _ in results] == [2, len(ids), 3]
        input_ids, request = results[1]
        assert input_ids == ids
        assert request.text.num_input_tokens == len(ids)
        assert request.text.echo == byte_tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"text_input": "a"}, "input_ids: text_input is there too; send one of them"),
        ({"messages": "[]"}, "input_ids: messages is there too; send one of them"),
        ({"add_special_tokens": True}, "add_special_tokens: changes a text before it is tokenized; leave"),
        ({"add_generation_prompt": True}, "add_generation_prompt: changes a text before it is tokenized"),
        ({"continue_final_message": True}, "continue_final_message: changes a text before it is tokenized"),
        ({"input_ids": [0, 258]}, "input_ids: got 258, must be at most 257, the last of the vocabulary"),
        ({"input_ids": [0] * 51}, "input_ids: 51 tokens, at most 50 fit; shorten the prompt"),
        ({"max_tokens": 64}, "max_tokens: got 64, must be at most "),
    ],
)
def test_what_does_not_go_with_token_ids_is_refused_by_name(preprocessor, fields, told):
    with pytest.raises(RequestError) as caught:
        prepare(preprocessor, **{"input_ids": [0], **fields})
    assert str(caught.value).startswith(told)
    neutral = {name: False for name, value in fields.items() if value is True}
    assert prepare(preprocessor, input_ids=[0, 257], **neutral)[0] == [0, 257]


def test_max_tokens_of_minus_1_is_all_that_fits(preprocessor, manifest):
    for ids in ([0], [0] * 50):
        _, request = prepare(preprocessor, input_ids=ids, max_tokens=-1)
        assert request.sampling.max_tokens == manifest.limits.max_seq_len - len(ids)


def test_one_bad_prompt_leaves_its_neighbours_alone(preprocessor):
    results = preprocessor.prepare(
        [*map(request_fields, [{"text_input": "a"}, {"text_input": ""}, {}, {"text_input": "bc"}])]
    )
    assert [isinstance(result, RequestError) for result in results] == [False, True, True, False]
    assert [result[1].text.num_input_tokens for result in (results[0], results[3])] == [2, 3]


@pytest.mark.parametrize("field", ["text_input", "messages"])
def test_a_long_prompt_that_cannot_fit_is_refused_without_being_tokenized(byte_tokenizer, manifest, field):
    preprocessor = Preprocessor(byte_tokenizer, manifest, Shout(), deadline_ms=60_000)
    added = field == "text_input"  # the tokenizer puts </s> in front
    with pytest.raises(RequestError, match=f"^{field}: {100_000 + added} tokens, at most 50 fit"):
        prepare(preprocessor, **{field: "a" * 100_000})
    with pytest.raises(
        RequestError, match=f"^{field}: 100001 characters, at most 50 tokens fit; shorten the"
    ):
        prepare(preprocessor, **{field: "a" * 100_001})


def test_without_a_sampling_field_a_request_is_greedy_and_gets_the_default_budget(preprocessor):
    _, request = prepare(preprocessor, text_input="a", seed=5)
    assert (request.sampling.greedy, request.sampling.max_tokens) == (True, 16)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.0},
        {"temperature": 1e-45},  # FP32's smallest: logits divided by it overflow
        {"top_k": 1},
        {"top_p": 0.0},
        {"min_p": 1.0},
        {"temperature": 0.0, "top_p": 0.5},
    ],
)
def test_the_ends_of_the_sampling_fields_ranges_are_greedy(preprocessor, fields):
    assert prepare(preprocessor, text_input="a", **fields)[1].sampling.greedy


@pytest.mark.parametrize("fields", [{"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}])
def test_a_sampling_field_turns_sampling_on_with_its_value(preprocessor, fields):
    sampling = prepare(preprocessor, text_input="a", seed=9, **fields)[1].sampling
    ((name, value),) = fields.items()
    assert (sampling.greedy, sampling.seed, getattr(sampling, name)) == (False, 9, value)


def test_without_a_seed_each_sampled_request_draws_its_own(preprocessor):
    seeds = {prepare(preprocessor, text_input="a", top_p=0.9)[1].sampling.seed for _ in range(5)}
    assert len(seeds) == 5


def test_the_default_budget_shrinks_to_the_room_there_is(preprocessor):
    assert prepare(preprocessor, text_input="x" * 49)[1].sampling.max_tokens == 14  # 64 - 50


def test_the_limits_hold_to_the_token(preprocessor):
    assert len(prepare(preprocessor, text_input="x" * 49)[0]) == 50
    with pytest.raises(RequestError, match="^text_input: 51 tokens, at most 50 fit"):
        prepare(preprocessor, text_input="x" * 50)
    assert prepare(preprocessor, text_input="x", max_tokens=62)[1].sampling.max_tokens == 62
    with pytest.raises(RequestError, match="^max_tokens: got 63, must be at most 62 here"):
        prepare(preprocessor, text_input="x", max_tokens=63)


def test_the_prompt_is_echoed_only_when_the_client_wants_it(preprocessor):
    assert prepare(preprocessor, text_input="ab")[1].text.echo == ""
    assert prepare(preprocessor, text_input="ab", exclude_input_in_output=False)[1].text.echo == "ab"


def test_a_tokenizer_that_is_not_there_is_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(
        EngineDirectoryError, match=r"tokenizer.json cannot be loaded .*build the engine again"
    ):
        load_tokenizer(tmp_path)


def test_a_prompt_of_which_no_token_is_left_is_refused(manifest):
    """A tokenizer may drop all there is, and an engine cannot continue nothing."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    preprocessor = Preprocessor(tokenizer, manifest, None, deadline_ms=1)
    with pytest.raises(RequestError, match="^text_input: no token is left"):
        prepare(preprocessor, text_input="  \n")


def test_messages_go_through_the_chat_template_which_writes_its_own_special_tokens(byte_tokenizer, manifest):
    preprocessor = Preprocessor(byte_tokenizer, manifest, Shout(), deadline_ms=1)
    results = preprocessor.prepare(
        [*map(request_fields, [{"messages": "hi"}, {"text_input": "hi"}, {"messages": "bad"}])]
    )
    assert results[0][0] == byte_tokenizer.encode("HI", add_special_tokens=False).ids
    assert results[1][0] == byte_tokenizer.encode("hi").ids
    assert str(results[2]) == "messages: bad"


def test_the_rendered_messages_are_what_is_echoed_and_measured(byte_tokenizer, manifest):
    preprocessor = Preprocessor(byte_tokenizer, manifest, Shout(), deadline_ms=1)
    asked = {"messages": "hi", "exclude_input_in_output": False}
    assert prepare(preprocessor, **asked)[1].text.echo == "HI"
    with pytest.raises(RequestError, match="^messages: 60 tokens, at most 50 fit"):
        prepare(preprocessor, messages="x" * 60)


def test_messages_are_refused_beside_text_input_and_without_a_chat_template(byte_tokenizer, manifest):
    with pytest.raises(RequestError, match="^messages: this model has no chat template; send text_input"):
        prepare(Preprocessor(byte_tokenizer, manifest, None, deadline_ms=1), messages="hi")
    with pytest.raises(RequestError, match="^messages: text_input is there too; send one of them"):
        prepare(
            Preprocessor(byte_tokenizer, manifest, Shout(), deadline_ms=1), messages="hi", text_input="hi"
        )


def test_the_deadline_is_the_request_s_own_or_the_setting_s(preprocessor):
    before = time.monotonic()
    own = prepare(preprocessor, text_input="a", deadline_ms=2000)[1].deadline
    default = prepare(preprocessor, text_input="a")[1].deadline
    after = time.monotonic()
    assert before + 2 <= own <= after + 2
    assert before + 60 <= default <= after + 60


def test_a_bad_word_is_given_as_it_is_spelt_at_the_start_and_after_a_space(preprocessor, byte_tokenizer):
    def ids(text):
        return byte_tokenizer.encode(text, add_special_tokens=False).ids

    sampling = prepare(preprocessor, text_input="a", bad_words=["no", "é"])[1].sampling
    assert sampling.bad_words == [ids("no"), ids(" no"), ids("é"), ids(" é")]


def test_postprocessing_is_told_what_it_must_know(preprocessor):
    asked = {"text_input": "a", "temperature": 1.0, "num_return_sequences": 3, "return_log_probs": True}
    text = prepare(preprocessor, **asked, stop_words=["x"], stream=True)[1].text
    assert (text.num_sequences, text.log_probs, text.stop_words, text.stream) == (3, True, ["x"], True)


def test_add_special_tokens_is_true_for_text_input_and_false_for_messages_unless_sent(
    byte_tokenizer, manifest
):
    """byte_tokenizer puts </s> before a text. By default it is not put before one that begins with it."""
    preprocessor = Preprocessor(byte_tokenizer, manifest, Shout(), deadline_ms=1)
    end = byte_tokenizer.token_to_id("</s>")
    (letter,) = byte_tokenizer.encode("A", add_special_tokens=False).ids
    for fields, input_ids in [
        ({"text_input": "A"}, [end, letter]),
        ({"text_input": "</s>A"}, [end, letter]),
        ({"text_input": "A</s>A"}, [end, letter, end, letter]),
        ({"text_input": "</s>A", "add_special_tokens": True}, [end, end, letter]),
        ({"text_input": "A", "add_special_tokens": False}, [letter]),
        ({"text_input": "</s>A", "add_special_tokens": False}, [end, letter]),
        ({"messages": "a"}, [letter]),
        ({"messages": "a", "add_special_tokens": False}, [letter]),
        ({"messages": "a", "add_special_tokens": True}, [end, letter]),
    ]:
        assert prepare(preprocessor, **fields)[0] == input_ids, fields


@pytest.mark.parametrize("name", ["add_generation_prompt", "continue_final_message"])
def test_a_field_of_messages_is_refused_beside_text_input_unless_it_asks_for_nothing(preprocessor, name):
    assert prepare(preprocessor, text_input="a", **{name: False})
    with pytest.raises(RequestError, match=f"^{name}: belongs to messages; leave it out, or send messages"):
        prepare(preprocessor, text_input="a", **{name: True})


class Told:
    """A chat template that says how it was asked to end."""

    def render(self, messages, add_generation_prompt, continue_final_message, tools):
        return f"{add_generation_prompt:d}{continue_final_message:d}"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "10"),
        ({"add_generation_prompt": True, "continue_final_message": False}, "10"),
        ({"add_generation_prompt": False}, "00"),
        ({"continue_final_message": True}, "01"),
        ({"continue_final_message": True, "add_generation_prompt": False}, "01"),
    ],
)
def test_a_prompt_from_messages_asks_for_an_answer_unless_told_otherwise(
    byte_tokenizer, manifest, fields, told
):
    preprocessor = Preprocessor(byte_tokenizer, manifest, Told(), deadline_ms=1)
    _, request = prepare(preprocessor, messages="a", exclude_input_in_output=False, **fields)
    assert request.text.echo == told


def test_a_message_is_continued_or_answered_but_not_both(byte_tokenizer, manifest):
    preprocessor = Preprocessor(byte_tokenizer, manifest, Told(), deadline_ms=1)
    with pytest.raises(
        RequestError, match="^continue_final_message: add_generation_prompt is true too; one of them may be"
    ):
        prepare(preprocessor, messages="a", continue_final_message=True, add_generation_prompt=True)


def test_words_with_a_bias_raise_each_of_their_tokens_as_often_as_it_occurs(preprocessor, byte_tokenizer):
    a, b = byte_tokenizer.token_to_id("a"), byte_tokenizer.token_to_id("b")
    words = {"embedding_bias_words": ["aab", "", "b"], "embedding_bias_weights": [1.5, 9.0, -0.5]}
    _, request = prepare(preprocessor, text_input="x", **words)
    assert request.sampling.logit_bias == {a: 3.0, b: 1.0}
    assert request.sampling.bias_field == "embedding_bias_words"
    _, request = prepare(preprocessor, text_input="x", logit_bias=f'{{"{a}": -3}}', **words)
    assert request.sampling.logit_bias == {b: 1.0}
    assert request.sampling.bias_field == "logit_bias"
