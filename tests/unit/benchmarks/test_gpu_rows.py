# SPDX-License-Identifier: Apache-2.0
"""The rows of the GPU's table, and the table; no server."""

import json

import pytest

from benchmarks.gpu.engines import DEMO, widened
from benchmarks.gpu.rows import ROWS, chosen
from benchmarks.gpu.summary import summary, table


def test_rows_are_chosen_by_how_they_begin_and_those_of_several_gpus_only_where_these_are():
    assert {row.gpus for row in chosen([], 1)} == {1}
    assert chosen([], 2) == [*ROWS]
    assert [row.name for row in chosen(["opt-serve-1", "qwen3-engine"], 1)] == ["opt-serve-1", "qwen3-engine"]
    with pytest.raises(ValueError, match=r"opt-two-instances needs 2 GPU\(s\), this machine has 1"):
        chosen(["opt-two"], 1)
    with pytest.raises(ValueError, match="no row begins with 'llama'"):
        chosen(["llama"], 1)


def point(target, streamed, rate, **ratios):
    latency = {"p50": 10.0} if streamed else None
    figures = {"output_tokens_per_second": rate, "server_cpu_us_per_token": 50.0, "tokens_per_response": 1.0}
    more = {"ttft_ms": latency, "itl_ms": latency, "errors": 0}
    return {"load": "32", "target": target, "streamed": streamed, **figures, **more, **ratios}


def test_each_figure_stands_beside_that_of_its_own_mode(tmp_path):
    ratios = {"ratio": 1.25, "ttft_ratio": None, "itl_ratio": None, "cpu_ratio": 0.9}
    points = [
        point("baseline not streamed", False, 100.0),
        point("not streamed", False, 125.0, **ratios),
        point("baseline streamed", True, 80.0),
        point("streamed", True, 120.0, **{**ratios, "ratio": 1.5, "ttft_ratio": 0.5}),
    ]
    result = {"machine": {}, "versions": {}, "points": points}
    (tmp_path / f"{ROWS[0].name}.json").write_text(json.dumps(result))
    found = summary(tmp_path, ["a GPU"], {ROWS[0].name: 0})
    shown = [line.split()[1:8] for line in table(found).splitlines()[1:3]]
    assert shown == [
        ["32", "plain", "125", "100", "1.25", "-", "-"],
        ["32", "streamed", "120", "80", "1.50", "10", "0.50"],
    ]


def test_a_widened_tokenizer_has_text_for_every_id_and_reads_as_before(tmp_path):
    from tokenizers import Tokenizer

    narrow = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    content = widened(json.loads((DEMO / "tokenizer.json").read_bytes()), 151936)
    wide = Tokenizer.from_str(json.dumps(content))
    text = "To change the settings, w4096 w151935 choose Properties."
    assert wide.encode(text).ids == narrow.encode(text).ids
    assert wide.get_vocab_size() == 151936
    assert wide.decode([4096, 151935]) == " w4096 w151935"
