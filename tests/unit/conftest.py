# SPDX-License-Identifier: Apache-2.0
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from llm_ensemble.manifest import Limits, Manifest, Model, RequestDefaults
from tests import fakes
from tests.gpu_machine import make_machine

SPECIAL = ["<pad>", "</s>"]


@pytest.fixture
def gpu_machine(tmp_path_factory, monkeypatch):
    """This process is on a machine with one H100 and TensorRT-LLM 1.2.1."""
    machine = make_machine(tmp_path_factory.mktemp("gpu_machine"))
    for name in ("PATH", "CUDA_VERSION"):
        monkeypatch.setenv(name, machine.environment()[name])
    for name in ("CUDA_VISIBLE_DEVICES", "GPU_GROUPS", "KV_CACHE_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    for folder in (machine.packages, fakes.HERE):
        monkeypatch.syspath_prepend(str(folder))
    return machine


@pytest.fixture(scope="session")
def byte_tokenizer():
    """A byte a token, so that every character beyond ASCII is split; the special ones come last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair=None, special_tokens=[("</s>", end)]
    )
    return tokenizer


@pytest.fixture(scope="session")
def manifest(byte_tokenizer):
    end = byte_tokenizer.token_to_id("</s>")
    return Manifest(
        schema=1,
        engine="openvino",
        model=Model(name="bytes", revision=None, architecture="OPTForCausalLM"),
        precision="fp16",
        limits=Limits(max_batch_size=4, max_input_len=50, max_seq_len=64, max_num_tokens=64),
        tensor_parallel=1,
        versions={"openvino": "1"},
        tokenizer_sha256="0" * 64,
        defaults=RequestDefaults(max_tokens=16, end_ids=[end], pad_id=0),
    )


@pytest.fixture(scope="session")
def unit_engine_dir(tmp_path_factory, byte_tokenizer, manifest):
    """An engine directory as far as text goes: manifest and tokenizer, no engine."""
    from llm_ensemble.manifest import write_manifest

    folder = tmp_path_factory.mktemp("engine_dir")
    (folder / "tokenizer").mkdir()
    byte_tokenizer.save(str(folder / "tokenizer/tokenizer.json"))
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def own_mailboxes(monkeypatch, tmp_path):
    """Mailboxes that no other run of the tests has."""
    monkeypatch.setattr("llm_ensemble.ipc.mailbox.address", lambda owner: f"\0{tmp_path}.{owner}")
