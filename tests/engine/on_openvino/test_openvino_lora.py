# SPDX-License-Identifier: Apache-2.0
"""Which adapters OpenVINO's engine has in memory, and that none waits for ever."""

import threading

import pytest

from llm_ensemble.engines.openvino import engine as engine_module
from llm_ensemble.engines.openvino.kv_cache import adapters_in_memory
from llm_ensemble.errors import EngineError, SettingError
from llm_ensemble.lora.adapters import read_adapters
from tests.engine.submitted import Submitted
from tests.waiting import SECONDS, wait_for


def test_one_more_takes_the_place_of_the_one_used_least_recently(start, lora):
    engine = start(lora_dir=lora.adapters, max_loras=2)
    assert engine._lanes.names == ["7", "blue"]
    assert Submitted(engine, 1, lora="7").ids() == lora.ids["7"]
    assert Submitted(engine, 1, lora="red").ids() == lora.ids["red"]
    assert engine._lanes.names == ["7", "red"]
    assert Submitted(engine, 1, lora="blue").ids() == lora.ids["blue"]
    assert engine._lanes.names == ["red", "blue"]


def test_with_one_in_memory_all_have_their_turn_and_none_goes_while_it_is_used(start, lora):
    """Those in use get no more requests while another waits, or it would wait for as long as they come."""
    engine = start(lora_dir=lora.adapters, max_loras=1)
    names = [name for name in lora.names if name] * 4
    requests = [Submitted(engine, i, lora=name) for i, name in enumerate(names)]
    assert [one.ids() for one in requests] == [lora.ids[name] for name in names]
    assert len(engine._lanes.names) == 1


def test_an_adapter_in_constant_use_gives_way(start, lora):
    engine = start(lora_dir=lora.adapters, max_loras=1)
    ended = threading.Event()
    numbers = iter(range(10, 10_000))

    def use():
        while not ended.is_set():
            Submitted(engine, next(numbers), lora="7", max_tokens=30).ids()

    users = [threading.Thread(target=use) for _ in range(2)]  # so that it is never idle
    for user in users:
        user.start()
    wait_for(lambda: engine.stats().running)
    assert Submitted(engine, 1, lora="red").ids() == lora.ids["red"]
    ended.set()
    for user in users:
        user.join(SECONDS)


def test_one_that_waits_for_its_adapter_can_be_aborted(start, lora, monkeypatch):
    engine = start(lora_dir=lora.adapters, max_loras=1)
    may_load, load = threading.Event(), engine._lanes._load
    monkeypatch.setattr(engine._lanes, "_load", lambda name: (may_load.wait(SECONDS), load(name))[1])
    waiting = Submitted(engine, 1, lora="red")
    assert Submitted(engine, 2).ids() == lora.ids[""], "the others go on meanwhile"
    engine.abort(1)
    assert waiting.rest()[-1].finish == "cancelled"
    may_load.set()
    assert Submitted(engine, 3, lora="red").ids() == lora.ids["red"]


def test_one_that_cannot_be_loaded_fails_alone_and_may_work_later(start, lora, monkeypatch, caplog):
    engine = start(lora_dir=lora.adapters, max_loras=1)

    def fail(adapter):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "load_adapter", fail)
        error = Submitted(engine, 1, lora="red").rest()[-1].error
    assert isinstance(error, EngineError)
    assert "no memory" in caplog.text
    assert not engine.failed
    assert Submitted(engine, 2).ids() == lora.ids[""]
    assert Submitted(engine, 3, lora="red").ids() == lora.ids["red"]


def test_an_adapter_whose_modules_differ_in_rank_and_scaling_gives_what_peft_gives(start, lora):
    engine = start(lora_dir=lora.patterned)
    assert Submitted(engine, 1, lora="odd").ids() == lora.ids["odd"] != lora.ids[""]


def test_as_many_are_in_memory_as_fit_unless_told(demo_engine, lora, monkeypatch):
    folder = demo_engine / "engine"
    assert adapters_in_memory(folder, read_adapters(lora.adapters)) == 4
    assert adapters_in_memory(folder, read_adapters(lora.adapters, 3)) == 3
    weights = (folder / "openvino_model.bin").stat().st_size
    monkeypatch.setattr("llm_ensemble.engines.openvino.kv_cache._memory", lambda: weights * 5)
    assert adapters_in_memory(folder, read_adapters(lora.adapters)) == 2
    assert adapters_in_memory(folder, read_adapters(lora.adapters, 3)) == 3
    assert adapters_in_memory(folder, read_adapters(None)) == 0


def test_an_adapter_works_beside_int8_weights(start, int8_engine, lora):
    """Their arithmetic differs from FP32's, so the texts are not compared with PEFT's; the first token is."""
    engine = start(engine_dir=int8_engine, lora_dir=lora.adapters)
    for name in lora.names:
        assert Submitted(engine, 1, lora=name, max_tokens=1).ids() == lora.ids[name][:1]


def test_an_adapter_of_another_model_is_not_loaded(start, lora, tmp_path):
    (tmp_path / "mine").mkdir()
    for file in (lora.adapters / "blue").iterdir():
        data = file.read_bytes()
        if file.suffix == ".safetensors":
            data = data.replace(b"decoder.layers.3", b"decoder.layers.9")
        (tmp_path / "mine" / file.name).write_bytes(data)
    with pytest.raises(
        SettingError, match=r"the model has no linear layer model.decoder.layers.9.fc1 \(it has "
    ):
        start(lora_dir=tmp_path)
