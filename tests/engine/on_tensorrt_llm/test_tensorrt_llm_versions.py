# SPDX-License-Identifier: Apache-2.0
"""The PyTorch backend of TensorRT-LLM 1.2.1 and of a newer release, both by the strict fake."""

import pytest

from llm_ensemble.errors import EngineDirectoryError, RequestError
from tests.engine.submitted import Submitted, loaded
from tests.fake_engine import fake_checkpoint, fake_engine
from tests.fakes import NEWER, VERSION, tensorrt_llm_imported

DRAWN = {"greedy": False, "temperature": 1.5}


@pytest.fixture(scope="module")
def kind():
    return "tensorrt_llm"


@pytest.fixture(scope="module", params=[VERSION, NEWER])
def version(request):
    with tensorrt_llm_imported(request.param):
        yield request.param


@pytest.fixture(scope="module")
def engine(version, demo_engine, tmp_path_factory):
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("FAKE_TRTLLM_IR", str(demo_engine / "engine"))
        folder = fake_checkpoint(demo_engine, tmp_path_factory.mktemp("pytorch") / "checkpoint")
        engine = loaded(folder)
    yield engine
    engine.close()


@pytest.fixture
def old(version):
    return version == VERSION


def refused(engine, name, **sampling):
    with pytest.raises(RequestError) as caught:
        Submitted(engine, 1, **sampling)
    assert str(caught.value).startswith(f"{name}: the tensorrt_llm engine's PyTorch backend ")
    return str(caught.value)


def test_a_request_without_beams_is_served_whatever_beam_width_the_manifest_allows(engine):
    """With max_beam_width above 1 the backend refuses every request of another width."""
    assert len(Submitted(engine, 1, max_tokens=5).ids()) == 5


def test_a_beam_search_is_refused_by_name(engine):
    assert "one width" in refused(engine, "beam_width", beam_width=2, num_return_sequences=2)


def test_an_explicit_seed_repeats_a_text_or_is_refused_by_name(engine, old):
    sampling = {**DRAWN, "seed": 7, "seed_field": "random_seed"}
    if old:
        assert "1.3.0" in refused(engine, "random_seed", **sampling)
    else:
        assert Submitted(engine, 1, **sampling).ids() == Submitted(engine, 2, **sampling).ids()


def test_a_seed_that_the_client_did_not_set_is_not_refused(engine):
    assert len(Submitted(engine, 1, **DRAWN, seed=7).ids()) == 20


def test_several_sequences_are_sampled_without_a_seed(engine):
    ids = Submitted(engine, 1, **DRAWN, num_return_sequences=4).sequences()
    assert [len(one) for one in ids] == [20] * 4


def test_min_p_narrows_the_choice_or_is_refused_by_name(engine, old):
    if old:
        refused(engine, "min_p", greedy=False, min_p=0.999)
    else:
        greedy = Submitted(engine, 1).ids()
        assert Submitted(engine, 2, greedy=False, min_p=0.999).ids() == greedy


def test_sampled_tokens_have_their_log_probabilities_or_they_are_refused_by_name(engine, old):
    if old:
        refused(engine, "return_log_probs", **DRAWN, log_probs=True)
    else:
        received = Submitted(engine, 1, **DRAWN, log_probs=True).rest()
        assert sum(len(tokens.log_probs) for tokens in received) == 20


def test_most_probable_tokens_are_refused_by_name(engine):
    refused(engine, "top_log_probs", log_probs=True, top_log_probs=2)


def test_greedy_tokens_have_their_log_probabilities(engine):
    received = Submitted(engine, 1, log_probs=True).rest()
    assert sum(len(tokens.log_probs) for tokens in received) == 20


@pytest.mark.parametrize("name", ["repetition_penalty", "presence_penalty", "frequency_penalty"])
def test_a_penalty_changes_the_text_or_is_refused_by_name(engine, old, name):
    if old:
        refused(engine, name, **{name: 1.9})
    else:
        assert (
            Submitted(engine, 1, **{name: 1.9}, max_tokens=60).ids()
            != Submitted(engine, 2, max_tokens=60).ids()
        )


def test_bad_words_are_refused_by_name(engine):
    refused(engine, "bad_words", bad_words=[[5]])


def test_an_engine_of_the_tensorrt_backend_is_refused_by_a_library_without_it(
    version, old, demo_engine, tmp_path
):
    folder = fake_engine(demo_engine, tmp_path / "engine")
    if old:
        loaded(folder).close()
        return
    with pytest.raises(
        EngineDirectoryError, match=f"TensorRT-LLM {version} .* 1.3.0rc20: .*--backend pytorch"
    ):
        loaded(folder)


@pytest.mark.parametrize("way", ["PROMPT_LOOKUP", "DRAFT_ENGINE_DIR"])
def test_speculative_decoding_is_configured_as_each_release_names_it(
    version, old, demo_engine, tmp_path, monkeypatch, way
):
    """The fake checks the configuration and ignores it; no TensorRT-LLM has run with it."""
    monkeypatch.setenv("FAKE_TRTLLM_IR", str(demo_engine / "engine"))
    folder, draft = (fake_checkpoint(demo_engine, tmp_path / name) for name in ("model", "draft"))
    monkeypatch.setenv(way, "1" if way == "PROMPT_LOOKUP" else str(draft))
    engine = loaded(folder)
    config = engine._llm._args.speculative_config
    assert config.max_draft_len == 4
    if way == "PROMPT_LOOKUP":
        assert (config.max_matching_ngram_size, config.is_public_pool) == (3, False)
    else:
        name = "speculative_model_dir" if old else "speculative_model"
        assert getattr(config, name) == str(draft / "engine")
    assert len(Submitted(engine, 1, max_tokens=5).ids()) == 5
    assert engine.stats().draft_tokens is None
    engine.close()
