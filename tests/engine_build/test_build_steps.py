# SPDX-License-Identifier: Apache-2.0
"""Single steps of a build, where they need no torch: they run right here."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks.perplexity import measure, surprise, windows
from build_scripts.errors import BuildError
from build_scripts.fetch import wanted_files
from build_scripts.openvino.compress import group_size
from build_scripts.openvino.limits import cpu_limits
from build_scripts.openvino.openvino_model import CausalModel
from build_scripts.openvino.verify import logits_distance, verify
from build_scripts.options import BuildOptions
from build_scripts.tokenizer import match_special_tokens, write_names_of_4
from tests.build_environment import ROOT

WORDS = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}


def words_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def test_special_tokens_that_only_transformers_adds_go_into_tokenizer_json():
    tokenizer = words_tokenizer()
    wanted = {"a b": [1, 3, 4, 2], "b": [1, 4, 2], "": [1, 2]}
    match_special_tokens(tokenizer, wanted)
    read_back = Tokenizer.from_str(tokenizer.to_str())
    assert {text: read_back.encode(text).ids for text in wanted} == wanted


def test_special_tokens_that_only_tokenizer_json_adds_are_taken_out():
    tokenizer = words_tokenizer()
    match_special_tokens(tokenizer, {"a b": [1, 3, 4]})
    match_special_tokens(tokenizer, {"a b": [3, 4], "": []})
    assert tokenizer.encode("b").ids == [4]


def test_a_tokenizer_that_reads_the_text_itself_in_another_way_is_refused_with_the_text():
    with pytest.raises(BuildError, match=r"'a b'.*cannot be served"):
        match_special_tokens(words_tokenizer(), {"a b": [1, 4, 3], "b": [1, 4]})


def test_special_tokens_that_come_with_some_texts_only_are_refused():
    with pytest.raises(BuildError, match="cannot be served"):
        match_special_tokens(words_tokenizer(), {"a b": [1, 3, 4], "b": [4]})


def test_the_tokenizer_s_folder_has_the_names_of_transformers_4(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    path.write_text(
        '{"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"], "bos_token": "é"}'
    )
    write_names_of_4(path)
    assert json.loads(path.read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<a>"],
        "bos_token": "é",
    }


def test_other_names_and_named_special_tokens_stay(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    config = {"tokenizer_class": "LlamaTokenizer", "extra_special_tokens": {"image_token": "<image>"}}
    path.write_text(json.dumps(config))
    write_names_of_4(path)
    assert json.loads(path.read_text()) == config


def test_no_built_tokenizer_has_a_name_that_transformers_5_alone_knows(built):
    configs = [
        json.loads(path.read_text()) for path in built.engines.glob("*/tokenizer/tokenizer_config.json")
    ]
    assert configs
    assert "TokenizersBackend" not in {config["tokenizer_class"] for config in configs}
    assert not any(isinstance(config.get("extra_special_tokens"), list) for config in configs)


def test_of_a_hub_repository_one_set_of_weights_is_fetched():
    both = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
    ]
    other = [
        "consolidated.safetensors",
        "tf_model.h5",
        "original/params.json",
        "onnx/model.onnx",
        "merges.txt",
    ]
    assert set(wanted_files(both + other)) == {*both[:3], "merges.txt"}
    chat = ["chat_template.jinja", "additional_chat_templates/tool_use.jinja"]
    assert set(wanted_files([*chat, "other/chat_template.jinja"])) == set(chat)
    assert "pytorch_model.bin" in wanted_files(["config.json", "pytorch_model.bin", "flax_model.msgpack"])


def test_of_a_hub_repository_python_is_fetched_only_where_it_may_run():
    names = ["config.json", "modeling_own.py", "scripts/train.py"]
    assert wanted_files(names) == ["config.json"]
    assert wanted_files([*names, "model.safetensors"], weights=False) == ["config.json"]
    assert set(wanted_files(names, code=True)) == {"config.json", "modeling_own.py"}


def test_int4_groups_divide_every_width_or_the_model_is_refused():
    assert group_size({"hidden_size": 64, "ffn_dim": 256, "num_attention_heads": 4}) == 64
    assert group_size({"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}) == 64
    assert (
        group_size({"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 32})
        == 32
    )
    with pytest.raises(BuildError, match="int8"):
        group_size({"hidden_size": 60, "intermediate_size": 100, "num_attention_heads": 4})


def limits(positions, **options):
    return cpu_limits(BuildOptions("m", Path("e"), **options), positions)


def test_limits_follow_the_model_and_stay_useful_where_it_is_tiny():
    default = limits(4096)
    assert (default.max_batch_size, default.max_seq_len, default.max_input_len) == (32, 2048, 2047)
    assert limits(512).max_seq_len == 512
    assert limits(4096, max_seq_len=4096).max_seq_len == 4096
    assert limits(64, max_batch_size=1000).max_num_tokens == 1000


def test_the_distance_of_logits_counts_shape_and_not_a_constant():
    logits = np.random.default_rng(0).normal(size=(5, 100)).astype(np.float32)
    assert logits_distance(logits + 7, logits) == pytest.approx(0, abs=1e-5)
    assert logits_distance(logits[::-1], logits) > 1
    assert logits_distance(logits * 1.1, logits) == pytest.approx(0.1, rel=1e-3)


def test_an_engine_without_finite_logits_is_refused(built):
    with pytest.raises(BuildError, match="does not say"):
        verify(built.engine("opt") / "engine", "fp16", [5, 6], np.full((2, 384), np.nan, np.float32))


def test_another_models_engine_is_refused(built):
    """The reference is what the int4 engine of another family says."""
    ids = list(range(3, 40))
    other = CausalModel(built.engine("llama") / "engine").logits(ids)
    with pytest.raises(BuildError, match="does not say"):
        verify(built.engine("opt", "int4") / "engine", "int4", ids, other)


def test_windows_score_every_token_once_with_half_a_window_before_it():
    for total, window in [(1, 8), (8, 8), (9, 8), (100, 8), (5, 1), (100, 7)]:
        scored = [index for _, end, new in windows(total, window) for index in range(new, end)]
        assert scored == list(range(total))
        assert all(end - start <= window for start, end, _ in windows(total, window))
        assert all(new - start >= window // 2 for start, _, new in windows(total, window) if start)


def test_surprise_is_the_negative_log_of_the_softmax():
    logits = np.array([[0, 0, 0, 0], [1000, 0, 0, 0]], np.float32)
    assert surprise(logits, [2, 0]) == pytest.approx(math.log(4))


def test_perplexity_is_that_of_the_logits_one_token_at_a_time(built):
    """Llama begins every text with <s>, so all its own tokens count; Qwen's first has nothing before it."""
    text = "the quick brown fox jumps over the lazy dog, 42 times. " * 2
    for family in ("llama", "qwen2"):
        engine = built.engine(family)
        ids = Tokenizer.from_file(str(engine / "tokenizer/tokenizer.json")).encode(text).ids
        assert len(ids) < 128, "one window"
        model = CausalModel(engine / "engine")
        nats = sum(surprise(model.logits([a]), [b]) for a, b in itertools.pairwise(ids))
        score = measure(engine, text)
        assert score.tokens == len(ids) - 1
        assert score.nats == pytest.approx(nats, rel=1e-4)
        assert score.perplexity == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)
        assert score.bits_per_byte == pytest.approx(nats / math.log(2) / len(text), rel=1e-4)


def test_a_long_text_is_scored_whole_and_the_table_shows_each_engine(built, tmp_path):
    (tmp_path / "text").write_text("a fox runs away, 日本\n" * 60)
    engines = [built.engine("opt", precision) for precision in ("fp32", "int8")]
    command = [sys.executable, "-m", "benchmarks.perplexity", *engines, "--text", tmp_path / "text"]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert table.returncode == 0, table.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.stdout.splitlines()]
    assert [row[0] for row in rows] == ["precision", "---", "fp32", "int8"]
    fp32, int8 = (float(row[2]) for row in rows[2:])
    assert 1 < fp32 != int8
    assert int8 == pytest.approx(fp32, rel=0.2)


def test_perplexity_of_what_is_no_engine_directory_is_one_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.perplexity", tmp_path, "--text", __file__]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "is not an engine directory" in result.stderr
