# SPDX-License-Identifier: Apache-2.0
"""The estimate of GPU memory, held against sums done by hand."""

import json

import msgspec
import pytest

from llm_ensemble.engines.tensorrt_llm.memory import estimate
from llm_ensemble.errors import EngineDirectoryError

GB = 10**9
# Llama 3 8B: a token's keys and values are 2 x 32 layers x 8 heads x 128 numbers.
LLAMA3 = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
TOKEN = 2 * 32 * 8 * 128


@pytest.fixture
def engine(manifest, tmp_path):
    """engine(backend, config, **files): an engine directory and its manifest; files have that many bytes."""
    (tmp_path / "engine").mkdir()

    def make(backend, config, *, gpus=1, files=None, extra=None):
        (tmp_path / "engine/config.json").write_text(json.dumps(config))
        for name, size in (files or {}).items():
            with (tmp_path / "engine" / name).open("wb") as file:
                file.truncate(size)  # no bytes are written for it
        for name, content in (extra or {}).items():
            (tmp_path / "engine" / name).write_text(json.dumps(content))
        changed = {"engine": "tensorrt_llm", "backend": backend, "tensor_parallel": gpus}
        return tmp_path, msgspec.structs.replace(manifest, **changed)

    return make


def engine_config(dtype="float16", kv_cache=None, **changes):
    quantization = {"quant_algo": None, "kv_cache_quant_algo": kv_cache}
    return {"pretrained_config": {**LLAMA3, "dtype": dtype, "quantization": quantization, **changes}}


def test_an_engine_s_weights_are_its_rank_files_and_its_cache_has_the_rest(engine):
    found = estimate(*engine("tensorrt", engine_config(), files={"rank0.engine": 16 * GB}), 80 * GB, 0.9)
    assert found.weights == 16 * GB
    assert found.kv_token == TOKEN * 2
    assert found.kv_cache == pytest.approx(0.9 * 64 * GB)
    assert found.tokens == found.kv_cache // (TOKEN * 2)
    assert found.fits


def test_weights_and_heads_are_divided_among_the_gpus(engine):
    files = {"rank0.engine": 8 * GB, "rank1.engine": 8 * GB}
    found = estimate(*engine("tensorrt", engine_config(), gpus=2, files=files), 80 * GB, 0.9)
    assert (found.weights, found.kv_token) == (8 * GB, TOKEN)
    found = estimate(*engine("tensorrt", engine_config(), gpus=16), 80 * GB, 0.9)
    assert found.kv_token == TOKEN * 2 // 8, "each of 16 GPUs has one of 8 heads"


@pytest.mark.parametrize(
    ("config", "token"),
    [
        (engine_config(kv_cache="FP8"), TOKEN),
        (engine_config(kv_cache="INT8"), TOKEN),
        (engine_config("float32"), TOKEN * 4),
        (engine_config(num_key_value_heads=None), TOKEN * 2 * 4),
        (engine_config(head_size=64), TOKEN),
        (engine_config(quantization=None), TOKEN * 2),
    ],
)
def test_a_token_s_share_of_the_cache(engine, config, token):
    assert estimate(*engine("tensorrt", config), GB, 0.9).kv_token == token


@pytest.mark.parametrize(
    ("config", "extra", "token"),
    [
        ({**LLAMA3, "torch_dtype": "bfloat16"}, {}, TOKEN * 2),
        ({**LLAMA3, "dtype": "bfloat16", "head_dim": 64}, {}, TOKEN),
        (
            {**LLAMA3, "torch_dtype": "bfloat16"},
            {"hf_quant_config.json": {"quantization": {"kv_cache_quant_algo": "FP8"}}},
            TOKEN,
        ),
    ],
)
def test_a_checkpoint_s_config_has_other_keys(engine, config, extra, token):
    files = {"model-00001-of-00002.safetensors": 3 * GB, "model-00002-of-00002.safetensors": GB}
    found = estimate(*engine("pytorch", config, files=files, extra=extra), 80 * GB, 0.5)
    assert (found.weights, found.kv_token) == (4 * GB, token)
    assert found.kv_cache == 38 * GB


def test_an_engine_that_does_not_fit_is_detected(engine):
    """The manifest's longest request has 64 tokens."""
    made = engine("tensorrt", engine_config(), files={"rank0.engine": GB})
    sequence = 64 * TOKEN * 2
    assert estimate(*made, GB + sequence * 2, 0.5).fits
    assert not estimate(*made, GB + sequence * 2 - 4, 0.5).fits
    assert not estimate(*made, GB // 2, 0.9).fits


def test_the_estimate_as_text_is_one_line(engine):
    made = engine("tensorrt", engine_config(), files={"rank0.engine": 16 * GB})
    assert str(estimate(*made, 80 * GB, 0.9)) == (
        "on each GPU of 80.0 GB: weights 16.0 GB, KV cache at most 57.6 GB (131.1 kB a token, room for "
        "439,453 tokens; one request may have 64)"
    )


@pytest.mark.parametrize("config", [{}, [], {"pretrained_config": {}}, engine_config("float8")])
def test_a_config_that_describes_no_model_is_one_line(engine, config):
    with pytest.raises(EngineDirectoryError, match="build the engine again") as caught:
        estimate(*engine("tensorrt", config), GB, 0.9)
    assert "\n" not in str(caught.value)
