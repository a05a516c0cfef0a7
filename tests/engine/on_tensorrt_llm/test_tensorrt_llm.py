# SPDX-License-Identifier: Apache-2.0
"""Surprising behaviour of TensorRT-LLM 1.2.1, on the strict fake; test_every_engine.py has the rest."""

import json
import logging

import numpy as np
import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.tensorrt_llm.api import sampling_params
from llm_ensemble.engines.tensorrt_llm.gpus import claim_gpus
from llm_ensemble.engines.tensorrt_llm.loading import llm_arguments
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.manifest import read_manifest
from tests.engine.submitted import PROMPT, Submitted, changed, loaded
from tests.fake_engine import fake_checkpoint, fake_engine
from tests.waiting import wait_for

DIE, FAIL = 4000, 4001  # token ids that make the fake do so
OFFLINE = {"TRTLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@pytest.fixture(scope="module")
def kind():
    return "tensorrt_llm"


@pytest.fixture
def checkpoint(engine_dir, demo_engine, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_TRTLLM_IR", str(demo_engine / "engine"))
    return fake_checkpoint(demo_engine, tmp_path / "checkpoint")


def test_beam_width_and_tokens_per_step_are_the_engine_s_and_not_the_library_s_defaults(engine_dir, manifest):
    """By default they are 1 and 8,192, whatever the engine was built with."""
    arguments = llm_arguments(engine_dir, manifest, TensorRtLlmSettings())
    assert (arguments["max_beam_width"], arguments["max_num_tokens"]) == (8, 256)


def test_a_beam_search_delivers_its_beams_whole_and_once(engine):
    """Every response has all of every beam, and until the last one beams may change."""
    received = Submitted(engine, 1, max_tokens=12, beam_width=6, num_return_sequences=3).rest()
    assert [(tokens.index, len(tokens.token_ids), tokens.finish) for tokens in received] == [
        (index, 12, "length") for index in range(3)
    ]
    assert len({tuple(tokens.token_ids) for tokens in received}) == 3


def test_parallelism_is_the_engine_s_and_a_missing_rank_file_is_an_error(demo_engine, tmp_path, engine_dir):
    folder = fake_engine(demo_engine, tmp_path / "two", ranks=2)
    loaded(folder).close()
    (folder / "engine/rank1.engine").unlink()
    with pytest.raises(EngineDirectoryError, match="cannot be loaded: .*rank1.engine"):
        loaded(folder)


def test_the_pytorch_backend_gets_the_parallelism_and_the_limits(checkpoint):
    manifest = changed(read_manifest(checkpoint), tensor_parallel=2)
    arguments = llm_arguments(checkpoint, manifest, TensorRtLlmSettings(attention_backend="FLASHINFER"))
    assert (arguments["tensor_parallel_size"], arguments["max_batch_size"]) == (2, 32)
    assert (arguments["attn_backend"], arguments["max_seq_len"]) == ("FLASHINFER", 512)


def test_a_checkpoint_is_served_and_has_log_probabilities_and_statistics(checkpoint, monkeypatch):
    monkeypatch.setenv("FAKE_TRTLLM_STEP_SECONDS", "0.005")
    engine = loaded(checkpoint)
    submitted = Submitted(engine, 1, max_tokens=450, log_probs=True)
    wait_for(lambda: engine.stats().kv_cache_usage > 0)
    received = submitted.rest()
    assert sum(len(tokens.log_probs) for tokens in received) == 450
    engine.close()


@pytest.mark.parametrize(
    "setting", ["repetition_penalty", "presence_penalty", "frequency_penalty", "bad_words"]
)
def test_fields_that_the_pytorch_backend_does_not_support_are_refused_by_name(checkpoint, setting):
    engine = loaded(checkpoint)
    with pytest.raises(RequestError, match=f"^{setting}: the tensorrt_llm engine's PyTorch backend has none"):
        Submitted(engine, 1, **{setting: [[5]] if setting == "bad_words" else 1.5})
    engine.close()


def test_every_request_has_its_end_tokens_since_there_is_no_tokenizer(engine_dir):
    ends = [sampling_params(Sampling(max_tokens=5, end_ids=end_ids)) for end_ids in ([], [7], [7, 8, 9])]
    assert [(one.end_id, one.stop_token_ids) for one in ends] == [(-1, None), (7, None), (7, [8, 9])]
    assert {one.pad_id for one in ends} == {0, 7}


def test_further_end_tokens_end_a_text_and_are_no_part_of_it(engine):
    greedy = Submitted(engine, 1, max_tokens=3).ids()
    received = Submitted(engine, 1, end_ids=[4095, greedy[2]]).rest()
    assert [token for tokens in received for token in tokens.token_ids] == greedy[:2]
    assert received[-1].finish == "stop"


def test_greedy_requests_have_no_sampling_fields(engine_dir):
    params = sampling_params(Sampling(max_tokens=5, temperature=0.5, top_k=3))
    assert (params.temperature, params.top_k, params.top_p, params.seed) == (None,) * 4
    params = sampling_params(Sampling(max_tokens=5, greedy=False, temperature=0.5, min_p=0.1, seed=2**64 - 1))
    assert (params.temperature, params.min_p, params.seed, params.top_p) == (0.5, 0.1, 2**64 - 1, 1.0)


def test_penalties_reach_the_library_by_name(engine_dir):
    given = {"repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": -0.3}
    params = sampling_params(Sampling(max_tokens=5, min_tokens=2, **given))
    assert {name: getattr(params, name) for name in given} == given
    assert params.min_tokens == 2
    params = sampling_params(Sampling(max_tokens=5))
    assert {getattr(params, name) for name in given} == {None}


def test_a_text_may_end_before_its_first_token_though_the_library_s_default_is_one(engine, engine_dir):
    (first,) = Submitted(engine, 1, max_tokens=1).ids()
    (received,) = Submitted(engine, 1, end_ids=[first]).rest()
    assert (received.token_ids, received.finish) == ([], "stop")


@pytest.mark.parametrize("kept", ["0", "1"])
def test_an_end_token_is_no_text_whether_the_library_leaves_it_in_or_not(engine, monkeypatch, kept):
    greedy = Submitted(engine, 1, max_tokens=3).ids()
    monkeypatch.setenv("FAKE_TRTLLM_KEEP_END_TOKEN", kept)
    received = Submitted(engine, 1, end_ids=[greedy[2]], log_probs=True).rest()
    assert [token for tokens in received for token in tokens.token_ids] == greedy[:2]
    assert sum(len(tokens.log_probs) for tokens in received) == 2


def test_bad_words_of_several_tokens_are_passed_by_a_private_field(engine_dir):
    """The library reads the private list only when `bad` is not None."""
    params = sampling_params(Sampling(max_tokens=5, bad_words=[[5], [6, 7]]))
    assert params._bad_word_ids == [[5], [6, 7]]
    assert params.bad is not None


def test_a_logit_bias_is_passed_as_a_number_for_each_of_the_model_s_logits(engine_dir):
    bias = sampling_params(Sampling(max_tokens=5, logit_bias={3: -100.0, 1: 0.5}), 5).embedding_bias
    assert (bias.tolist(), bias.dtype) == ([0.0, 0.5, 0.0, -100.0, 0.0], "torch.float32")
    assert sampling_params(Sampling(max_tokens=5), 5).embedding_bias is None


def test_both_backends_take_a_bias_of_just_their_vocabulary(engine, checkpoint, caplog):
    """The fake checks the size, then says that it cannot compute one."""
    for one in (engine, loaded(checkpoint)):
        (last,) = Submitted(one, 1, logit_bias={4095: 1.0}).rest()
        assert "the fake cannot compute embedding_bias" in str(last.error)
        with pytest.raises(
            RequestError, match="^logit_bias: token 4096 is not one of the 4096 of this engine"
        ):
            Submitted(one, 2, logit_bias={5: 1.0, 4096: 1.0})
        one._vocabulary = 4095
        (last,) = Submitted(one, 3, logit_bias={5: 1.0}).rest()
        assert "embedding_bias is not of the vocabulary's size, 4096" in str(last.error)
        one._vocabulary = 4096
    one.close()


def test_a_prompt_reaches_the_library_as_python_s_own_ints(engine):
    """read_engine_request makes them; the library refuses a request with numpy's."""
    assert Submitted(engine, 1, np.array([PROMPT])[0].tolist(), max_tokens=2).rest()[-1].finish == "length"


def test_log_probabilities_need_an_engine_with_logits_and_are_refused_by_name_elsewhere(
    demo_engine, engine_dir, manifest, tmp_path
):
    folder = fake_engine(demo_engine, tmp_path / "engine", log_probs=False)
    engine = loaded(folder)
    with pytest.raises(
        RequestError, match=r"^return_log_probs: this tensorrt_llm engine has no logits; build"
    ):
        Submitted(engine, 1, log_probs=True)
    assert Submitted(engine, 1, max_tokens=2).rest()[-1].finish == "length"
    engine.close()
    wanted = [
        llm_arguments(one, manifest, TensorRtLlmSettings())["gather_generation_logits"]
        for one in (folder, engine_dir)
    ]
    assert wanted == [False, True], "only where it has them: it makes the engine run in this process"


def test_log_probabilities_are_those_of_the_model_below(engine, demo_engine):
    below = loaded(demo_engine)
    log_probs = [
        [value for tokens in Submitted(one, 1, log_probs=True).rest() for value in tokens.log_probs]
        for one in (below, engine)
    ]
    below.close()
    assert len(log_probs[0]) == 20
    assert log_probs[0] == pytest.approx(log_probs[1])


def test_the_most_probable_tokens_come_with_each(engine):
    """Greedy, so that the first of them is the token itself."""
    received = Submitted(engine, 1, log_probs=True, top_log_probs=4).rest()
    for tokens in received:
        assert tokens.top_ids[::4] == tokens.token_ids
        assert tokens.top_log_probs[::4] == tokens.log_probs
        assert len(tokens.top_ids) == len(tokens.top_log_probs) == 4 * len(tokens.token_ids)
    assert sum(len(tokens.top_ids) for tokens in received) == 80


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"beam_width": 2, "greedy": False}, "beam_width: the tensorrt_llm engine does not sample in a beam"),
        (
            {"beam_width": 2, "log_probs": True},
            "return_log_probs: the tensorrt_llm engine gives none in a beam",
        ),
    ],
)
def test_unsupported_fields_are_refused_by_name(engine, sampling, message):
    with pytest.raises(RequestError) as caught:
        Submitted(engine, 1, **sampling)
    assert str(caught.value).startswith(message)
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


@pytest.mark.parametrize("last_alone", ["0", "1"])
def test_each_of_several_sequences_has_its_end_and_its_finish_reason(engine, monkeypatch, last_alone):
    """In 1.2.1 each has a finish reason as it ends; in a slightly older source only the last one."""
    monkeypatch.setenv("FAKE_TRTLLM_TELLS_LAST_ALONE", last_alone)
    sampling = {"greedy": False, "temperature": 1.5, "num_return_sequences": 4, "seed": 3}
    ids = Submitted(engine, 1, **sampling).sequences()
    end = ids[0][4]
    received = Submitted(engine, 1, **sampling, end_ids=[end]).rest()
    finish = {tokens.index: tokens.finish for tokens in received if tokens.finish}
    assert finish == {index: "stop" if end in one else "length" for index, one in enumerate(ids)}


def test_an_error_of_one_request_ends_it_alone(engine_dir, monkeypatch, caplog):
    monkeypatch.setenv("FAKE_TRTLLM_FAIL_TOKEN", str(FAIL))
    engine = loaded(engine_dir)
    neighbour = Submitted(engine, 1, max_tokens=50)
    (failed,) = Submitted(engine, 2, [*PROMPT, FAIL]).rest()
    assert isinstance(failed.error, EngineError)
    assert len(neighbour.ids()) == 50
    assert not engine.failed
    assert Submitted(engine, 3, max_tokens=2).rest()[-1].finish == "length"
    engine.close()


@pytest.mark.parametrize("silent", ["0", "1"])
def test_any_other_error_ends_the_engine_and_every_open_request(engine_dir, monkeypatch, caplog, silent):
    """With silent, only the request that caused it gets the library's error."""
    monkeypatch.setenv("FAKE_TRTLLM_DIE_TOKEN", str(DIE))
    monkeypatch.setenv("FAKE_TRTLLM_DIE_SILENT", silent)
    engine = loaded(engine_dir)
    open_ = [Submitted(engine, i, max_tokens=400) for i in range(3)]
    open_[0].next()
    open_.append(Submitted(engine, 9, [*PROMPT, DIE]))
    assert all(isinstance(one.rest()[-1].error, EngineError) for one in open_)
    assert engine.failed
    with pytest.raises(EngineError, match="the engine failed"):
        Submitted(engine, 10)
    assert "the engine failed; every open request ends" in caplog.text
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)
    engine.close()


def test_aborting_a_request_that_has_just_ended_is_harmless(engine, caplog):
    caplog.set_level(logging.WARNING)
    for number in range(20):
        submitted = Submitted(engine, number, max_tokens=2)
        submitted.next()
        engine.abort(number)
        assert submitted.rest()[-1].finish in ("length", "cancelled")
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_a_prompt_longer_than_a_step_is_prefilled_in_chunks(engine):
    """Without chunked prefill the library would refuse it."""
    assert Submitted(engine, 1, [0, *range(300, 700)], max_tokens=2).rest()[-1].finish == "length"


def test_settings_become_the_library_s_objects(engine_dir, monkeypatch):
    seen = {}
    import tensorrt_llm._tensorrt_engine

    real = tensorrt_llm._tensorrt_engine.LLM
    monkeypatch.setattr(
        tensorrt_llm._tensorrt_engine,
        "LLM",
        lambda **arguments: (seen.update(arguments), real(**arguments))[1],
    )
    monkeypatch.setenv("KV_CACHE_FRACTION", "0.5")
    monkeypatch.setenv("PREFIX_CACHE", "0")
    monkeypatch.setenv("SCHEDULER_POLICY", "MAX_UTILIZATION")
    monkeypatch.setenv("CHUNKED_PREFILL", "0")
    loaded(engine_dir).close()
    cache = seen["kv_cache_config"]
    assert (cache.free_gpu_memory_fraction, cache.enable_block_reuse, cache.dtype) == (0.5, False, "auto")
    assert seen["scheduler_config"].capacity_scheduler_policy.name == "MAX_UTILIZATION"
    assert seen["enable_chunked_prefill"] is False


def test_a_config_that_cannot_be_read_is_an_error_before_anything_is_imported(
    engine_dir, demo_engine, tmp_path
):
    folder = fake_engine(demo_engine, tmp_path / "engine")
    (folder / "engine/config.json").write_text(json.dumps({"version": "1.2.1"}))
    with pytest.raises(EngineDirectoryError, match="config.json cannot be read"):
        loaded(folder)


def test_a_process_sees_the_gpus_of_its_group_and_is_no_rank_of_another_job():
    settings = TensorRtLlmSettings(gpu_groups=((0, 1), (2, 3)))
    job = {"OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1", "PMI_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "x"}
    kept = {"OMPI_MCA_coll_hcoll_enable": "0", "PMIX_MCA_gds": "hash", "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    environ = {**job, **kept}
    claim_gpus(settings, 1, environ)
    assert environ == {**kept, **OFFLINE, "CUDA_VISIBLE_DEVICES": "2,3", "TRTLLM_VISIBLE_DEVICES": "2,3"}
    environ = {"CUDA_VISIBLE_DEVICES": "4,5,6,GPU-7"}
    claim_gpus(settings, 1, environ)
    visible = {"CUDA_VISIBLE_DEVICES": "6,GPU-7", "TRTLLM_VISIBLE_DEVICES": "6,GPU-7"}
    assert environ == {**OFFLINE, **visible}


def test_a_serving_process_sends_no_usage_reports_and_uses_no_hub():
    environ = {"HF_HUB_OFFLINE": "0"}
    claim_gpus(TensorRtLlmSettings(), 0, environ)
    assert environ == OFFLINE


@pytest.mark.parametrize("groups", [(), ((0, 1), (2, 3))])
def test_the_library_gets_the_number_of_its_gpus(engine_dir, checkpoint, groups):
    for folder in (engine_dir, checkpoint):
        arguments = llm_arguments(folder, read_manifest(folder), TensorRtLlmSettings(gpu_groups=groups))
        assert arguments.get("gpus_per_node") == (2 if groups else None)
