# SPDX-License-Identifier: Apache-2.0
"""The fake of tensorrt_llm refuses what 1.2.1 refuses: everything that needs no computing."""

import importlib
import json
import subprocess
import sys

import pytest

from tests.fakes import HERE, tensorrt_llm_imported, write_engine

MODEL = HERE.parents[1] / "models/demo"


@pytest.fixture(scope="module")
def tensorrt_llm():
    with tensorrt_llm_imported() as module:
        yield module


@pytest.fixture
def llmapi(tensorrt_llm):
    return importlib.import_module("tensorrt_llm.llmapi")


@pytest.fixture
def engine_llm(tensorrt_llm):
    return importlib.import_module("tensorrt_llm._tensorrt_engine").LLM


@pytest.fixture
def nothing_computes(tmp_path):
    """A folder that looks like an IR: enough for what is refused before it is loaded."""
    (tmp_path / "ir").mkdir()
    (tmp_path / "ir/openvino_model.xml").write_text("")
    return tmp_path / "ir"


@pytest.fixture
def engine_dir(tmp_path, nothing_computes):
    return write_engine(tmp_path / "engine", nothing_computes)


def test_only_what_the_sheet_names_can_be_had(tensorrt_llm, llmapi):
    assert tensorrt_llm.__version__ == "1.2.1"
    with pytest.raises(AttributeError):
        tensorrt_llm.anything  # noqa: B018
    with pytest.raises(AttributeError):
        llmapi.NoSuchConfig  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("tensorrt_llm.bindings")


def test_request_error_is_a_runtime_error_and_one_class_everywhere(tensorrt_llm, llmapi):
    utils = importlib.import_module("tensorrt_llm.executor.utils")
    assert issubclass(utils.RequestError, RuntimeError)
    assert utils.RequestError is llmapi.RequestError


def test_sampling_params_takes_keywords_of_the_sheet_alone(tensorrt_llm):
    with pytest.raises(TypeError, match="logit_bias"):
        tensorrt_llm.SamplingParams(logit_bias={})
    with pytest.raises(TypeError):
        tensorrt_llm.SamplingParams(5)
    with pytest.raises(TypeError, match="_stop_word_ids"):
        tensorrt_llm.SamplingParams(_stop_word_ids=[[1]])
    with pytest.raises(AttributeError):
        tensorrt_llm.SamplingParams().priority = 1


def test_private_word_ids_can_be_set_and_are_read_only_with_their_words(tensorrt_llm):
    params = tensorrt_llm.SamplingParams()
    params._stop_word_ids = [[1, 2]]
    assert params._stop_words() == []
    params.stop = ["ab"]
    assert params._stop_words() == [("ab", [1, 2])]


def test_stop_without_a_tokenizer_is_a_runtime_error(tensorrt_llm):
    with pytest.raises(RuntimeError, match="stop"):
        tensorrt_llm.SamplingParams(stop="a")._stop_words()
    with pytest.raises(RuntimeError, match="bad"):
        tensorrt_llm.SamplingParams(bad=["a"])._bad_words()


@pytest.mark.parametrize("field", ["top_p=1.1", "top_p=-0.1", "top_k=-1", "temperature=-1.0"])
def test_values_out_of_range_are_value_errors(tensorrt_llm, field):
    name, value = field.split("=")
    with pytest.raises(ValueError, match=name):
        tensorrt_llm.SamplingParams(**{name: json.loads(value)})


def test_truncate_prompt_tokens_is_at_least_one(tensorrt_llm):
    with pytest.raises(ValueError, match="truncate_prompt_tokens"):
        tensorrt_llm.SamplingParams(truncate_prompt_tokens=0)


def test_values_of_another_type_are_refused(tensorrt_llm):
    for wrong in (
        {"max_tokens": "5"},
        {"max_tokens": None},
        {"top_k": 1.5},
        {"stop_token_ids": 3},
        {"n": True},
    ):
        with pytest.raises(TypeError):
            tensorrt_llm.SamplingParams(**wrong)


def test_best_of_is_at_least_n_and_not_for_greedy(tensorrt_llm, monkeypatch):
    params = tensorrt_llm.SamplingParams
    with pytest.raises(ValueError, match="best_of"):
        params(n=2, best_of=1, temperature=1.0)
    for greedy in ({}, {"top_k": 1, "temperature": 1.0}, {"top_p": 0.0}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="greedy"):
            params(n=2, **greedy)
    assert params(n=2, use_beam_search=True).best_of == 2
    monkeypatch.setenv("TLLM_ALLOW_N_GREEDY_DECODING", "1")
    assert params(n=2).best_of == 2


def test_pad_id_defaults_to_end_id_and_logprobs_true_is_one(tensorrt_llm):
    params = tensorrt_llm.SamplingParams(end_id=7, logprobs=True)
    assert params.pad_id == 7
    assert params.logprobs == 1
    assert type(params.logprobs) is int


def test_pydantic_models_refuse_unknown_fields_with_value_error(llmapi):
    for name in ("KvCacheConfig", "SchedulerConfig", "CudaGraphConfig", "BuildConfig", "CalibConfig"):
        with pytest.raises(ValueError, match="nonsense"):
            getattr(llmapi, name)(nonsense=1)
    with pytest.raises(ValueError, match="use_kv_cache_manager_v2"):  # comes after 1.2.1
        llmapi.KvCacheConfig(use_kv_cache_manager_v2=True)
    with pytest.raises(TypeError, match="nonsense"):  # a dataclass
        llmapi.QuantConfig(nonsense=1)


def test_free_gpu_memory_fraction_is_between_zero_and_one(llmapi):
    assert llmapi.KvCacheConfig().free_gpu_memory_fraction == 0.9
    with pytest.raises(ValueError, match="free_gpu_memory_fraction"):
        llmapi.KvCacheConfig(free_gpu_memory_fraction=1.5)


def test_scheduler_config_takes_the_enum(llmapi):
    policy = llmapi.CapacitySchedulerPolicy.MAX_UTILIZATION
    assert llmapi.SchedulerConfig(capacity_scheduler_policy=policy).capacity_scheduler_policy is policy
    assert llmapi.SchedulerConfig().capacity_scheduler_policy.name == "GUARANTEED_NO_EVICT"
    with pytest.raises(ValueError, match="capacity_scheduler_policy"):
        llmapi.SchedulerConfig(capacity_scheduler_policy="FASTEST")


def test_dynamic_batch_config_has_no_defaults(llmapi):
    with pytest.raises(ValueError, match="dynamic_batch_moving_average_window"):
        llmapi.DynamicBatchConfig(enable_batch_size_tuning=True, enable_max_num_tokens_tuning=False)


def test_guided_decoding_params_take_one_guide(llmapi):
    with pytest.raises(ValueError, match="one guide"):
        llmapi.GuidedDecodingParams(regex="a", grammar="b")


@pytest.mark.parametrize("name", ["enable_iter_perf_stats", "cuda_graph_config", "max_queue_size", "seed"])
def test_the_engine_backend_has_no_such_argument(engine_llm, engine_dir, name):
    with pytest.raises(ValueError, match=name):
        engine_llm(model=engine_dir, skip_tokenizer_init=True, **{name: None})


@pytest.mark.parametrize("name", ["quant_config", "build_config", "batching_type", "iter_perf_stats"])
def test_the_pytorch_backend_has_no_such_argument(tensorrt_llm, name):
    with pytest.raises(ValueError, match=name):
        tensorrt_llm.LLM(model=MODEL, skip_tokenizer_init=True, **{name: None})


def test_max_beam_width_none_becomes_one_whatever_the_engine_has(llmapi):
    assert llmapi.TrtLlmArgs(model="x").max_beam_width == 1


def test_max_num_tokens_none_becomes_8192(llmapi):
    assert llmapi.TrtLlmArgs(model="x", max_num_tokens=None).max_num_tokens == 8192


def test_kv_cache_dtype_must_be_auto_on_the_engine_backend(llmapi):
    cache = llmapi.KvCacheConfig(dtype="fp8")
    with pytest.raises(ValueError, match="dtype"):
        llmapi.TrtLlmArgs(model="x", kv_cache_config=cache)
    assert llmapi.TorchLlmArgs(model="x", kv_cache_config=cache).kv_cache_config is cache


def test_a_tp_size_other_than_one_and_the_engines_is_refused(engine_llm, engine_dir):
    with pytest.raises(ValueError, match="tensor_parallel_size"):
        engine_llm(model=engine_dir, skip_tokenizer_init=True, tensor_parallel_size=2)


def test_a_missing_rank_file_is_refused(engine_llm, tmp_path, nothing_computes):
    folder = write_engine(tmp_path / "two", nothing_computes, {"world_size": 2, "tp_size": 2})
    (folder / "rank1.engine").unlink()
    with pytest.raises(RuntimeError, match="rank1.engine"):
        engine_llm(model=folder, skip_tokenizer_init=True)


def test_an_explicit_none_is_accepted_where_it_is_the_default(llmapi):
    assert llmapi.TrtLlmArgs(model="x", speculative_config=None).speculative_config is None


def test_a_checkpoint_is_no_engine(engine_llm):
    with pytest.raises(ValueError, match="no engine directory"):
        engine_llm(model=MODEL, skip_tokenizer_init=True)


def test_an_engine_is_no_checkpoint(tensorrt_llm, engine_dir):
    with pytest.raises(ValueError, match="architecture"):
        tensorrt_llm.LLM(model=engine_dir, skip_tokenizer_init=True)


def test_the_pytorch_backend_does_not_know_opt(tensorrt_llm):
    with pytest.raises(RuntimeError, match="OPTForCausalLM"):
        tensorrt_llm.LLM(model=MODEL, skip_tokenizer_init=True)


def test_no_tokenizer_is_loaded(engine_llm, engine_dir):
    with pytest.raises(RuntimeError, match="skip_tokenizer_init"):
        engine_llm(model=engine_dir)


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "OMPI_MCA_orte_ess_jobid"])
def test_inherited_mpi_job_variables_would_hang(engine_llm, engine_dir, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(RuntimeError, match=name):
        engine_llm(model=engine_dir, skip_tokenizer_init=True)


def test_settings_for_a_fresh_mpi_are_no_job(tensorrt_llm, monkeypatch):
    monkeypatch.setenv("OMPI_MCA_coll_hcoll_enable", "0")
    assert importlib.import_module("tensorrt_llm._seen").job_variables() == []


def test_the_fake_records_the_environment_at_import(monkeypatch):
    code = "import tensorrt_llm._seen as s; print(s.CUDA_VISIBLE_DEVICES, s.MPI_VARIABLES)"
    env = {"PYTHONPATH": str(HERE), "CUDA_VISIBLE_DEVICES": "2,3", "PMIX_RANK": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "2,3 {'PMIX_RANK': '1'}\n"
