# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.engines.kinds import read_engine_settings
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.errors import SettingError
from llm_ensemble.settings import (
    Settings,
    read_settings,
)


def test_settings_come_from_the_environment_or_have_defaults(tmp_path):
    assert read_settings({}) == Settings()
    read = read_settings({"ENGINE_DIR": str(tmp_path), "MAX_WAITING": "0"})
    assert (read.engine_dir, read.max_waiting) == (tmp_path, 0)
    read = read_settings({"LOG_FORMAT": "json", "LOG_TEXT": "1"})
    assert (read.log_format, read.log_text) == ("json", True)


@pytest.mark.parametrize("value", ["", "-1", "many", "1.5"])
def test_a_malformed_setting_is_named(value):
    with pytest.raises(SettingError, match="^MAX_WAITING must be a whole number"):
        read_settings({"MAX_WAITING": value})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("LOG_FORMAT", "JSON", "text or json"),
        ("LOG_FORMAT", "", "text or json"),
        ("LOG_TEXT", "yes", "0 or 1"),
    ],
)
def test_a_malformed_log_setting_is_named_with_what_is_allowed(name, value, wanted):
    with pytest.raises(SettingError, match=f"^{name} must be {wanted}"):
        read_settings({name: value})


def test_gpu_settings_come_from_the_environment_or_have_defaults():
    assert read_engine_settings("tensorrt_llm", {}) == TensorRtLlmSettings()
    read = read_engine_settings(
        "tensorrt_llm",
        {
            "GPU_GROUPS": "0,1;2,3",
            "KV_CACHE_FRACTION": "0.5",
            "PREFIX_CACHE": "0",
            "CHUNKED_PREFILL": "0",
            "SCHEDULER_POLICY": "MAX_UTILIZATION",
            "CUDA_GRAPHS": "0",
            "ATTENTION_BACKEND": "FLASHINFER",
        },
    )
    off = (False, False, "MAX_UTILIZATION", False, "FLASHINFER")
    assert read == TensorRtLlmSettings(((0, 1), (2, 3)), 0.5, *off)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("GPU_GROUPS", "0,x", "GPU numbers"),
        ("GPU_GROUPS", "0;;1", "GPU numbers"),
        ("GPU_GROUPS", "-1", "GPU numbers"),
        ("GPU_GROUPS", "0,1;1,2", "each GPU once"),
        ("GPU_GROUPS", "0;1,2", "groups of one size"),
        ("KV_CACHE_FRACTION", "0", "between 0 and 1"),
        ("KV_CACHE_FRACTION", "nan", "between 0 and 1"),
        ("KV_CACHE_FRACTION", "90%", "between 0 and 1"),
        ("PREFIX_CACHE", "yes", "0 or 1"),
        ("SCHEDULER_POLICY", "max_utilization", "GUARANTEED_NO_EVICT or MAX_UTILIZATION"),
        ("ATTENTION_BACKEND", "", "TRTLLM or FLASHINFER or VANILLA"),
    ],
)
def test_a_malformed_gpu_setting_is_named_with_what_is_allowed(name, value, wanted):
    with pytest.raises(SettingError, match=f"^{name} must .*{wanted}"):
        read_engine_settings("tensorrt_llm", {name: value})


def test_a_gpu_setting_for_an_engine_without_a_gpu_is_refused_by_name():
    read_engine_settings("openvino", {"HOME": "/", "GPU_GROUPS": ""})
    with pytest.raises(SettingError, match="KV_CACHE_FRACTION is for the tensorrt_llm engine alone"):
        read_engine_settings("openvino", {"KV_CACHE_FRACTION": "0.5"})
