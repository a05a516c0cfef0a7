# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import pytest

from benchmarks.bench.cpu import cpu_seconds, family
from benchmarks.bench.prompts import counter, read_prompts, synthetic
from benchmarks.bench.record import BenchError
from serving.tritonserver import ROOT
from tests.waiting import wait_for

TOKENIZER = ROOT / "models/demo/tokenizer.json"


@pytest.mark.parametrize("tokens", [2, 3, 32, 500])
def test_synthetic_prompts_have_the_tokens_asked_for_and_the_seed_gives_them_again(tokens):
    count = counter(TOKENIZER)
    prompts = synthetic(20, tokens, count, seed=1)
    assert {count(prompt) for prompt in prompts} == {tokens}
    assert prompts == synthetic(20, tokens, count, seed=1)
    assert tokens < 32 or len(set(prompts)) == 20


def test_words_of_several_tokens_are_fitted_too():
    assert {len(p) for p in synthetic(20, 100, len, seed=1)} == {100}, "here a character is a token"


def test_too_few_tokens_for_any_prompt_are_refused():
    with pytest.raises(BenchError, match="1 tokens"):
        synthetic(1, 1, lambda text: len(text.split()) + 1, seed=1)


def test_given_prompts_are_lines(tmp_path):
    file = tmp_path / "prompts"
    file.write_text("one\n\n  \ntwo words\n")
    assert read_prompts(file) == ["one", "two words"]
    file.write_text("\n")
    with pytest.raises(BenchError, match="no prompts"):
        read_prompts(file)
    with pytest.raises(BenchError, match="cannot be read"):
        read_prompts(tmp_path / "none")


def test_cpu_time_counts_children():
    busy = "import time\nwhile time.process_time() < 0.4: pass\ntime.sleep(300)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        wait_for(lambda: cpu_seconds(process.pid) >= 0.35)
        pids = family(process.pid)
        seen = cpu_seconds(process.pid)
        for pid in reversed(pids):
            os.kill(pid, 9)
    assert len(pids) == 2
    assert 0.35 <= seen < 5  # counted in ticks of 10 ms, of two processes
    assert cpu_seconds(process.pid) == 0
