# SPDX-License-Identifier: Apache-2.0
"""Every command line a build for GPUs can make, against the flags that TensorRT-LLM 1.2's commands have."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from build_scripts.errors import BuildError
from build_scripts.tensorrt_llm.command_lines import check_tools, convert_command, engine_command
from build_scripts.tensorrt_llm.families import FAMILIES, QFORMATS
from build_scripts.tensorrt_llm.plan import Plan
from llm_ensemble.manifest import Limits
from tests import fakes
from tests.fakes.fake_trtllm_tools import flags
from tests.gpu_machine import EXAMPLES

MORE = fakes.HERE / "convert-checkpoint.json"
LIMITS = Limits(
    max_batch_size=64, max_input_len=2000, max_seq_len=2048, max_num_tokens=4096, max_beam_width=2
)
ROWS = [(architecture, p) for architecture, family in FAMILIES.items() for p in family.precisions]


def plan(architecture="OPTForCausalLM", precision="fp16", *, gpus=1, **changes):
    dtype = "bfloat16" if precision == "bf16" else "float16"
    options = {"log_probs": False, "calib_dataset": None, **changes}
    return Plan(FAMILIES[architecture], "tensorrt", precision, dtype, LIMITS, gpus, **options)


def convert(*order, **options):
    return convert_command(plan(*order, **options), Path("/models/m"), Path("/made/c"))


def parsed(command, script, monkeypatch):
    """What the command itself would make of its flags; an unknown one, or a wrong value, ends the test."""
    if script not in json.loads(flags.SHEET.read_text())["cli"]:
        monkeypatch.setattr(flags, "SHEET", MORE)
    return vars(flags.parser_of(script).parse_args(command))


@pytest.mark.parametrize("gpus", [1, 4])
@pytest.mark.parametrize(("architecture", "precision"), ROWS)
def test_a_family_s_checkpoint_is_converted_by_flags_that_exist(architecture, precision, gpus, monkeypatch):
    python, script, *rest = convert(architecture, precision, gpus=gpus)
    assert python == sys.executable
    told = parsed(rest, script.removeprefix("/app/"), monkeypatch)
    wanted = {
        "model_dir": "/models/m",
        "output_dir": "/made/c",
        "dtype": "bfloat16" if precision == "bf16" else "float16",
        "tp_size": gpus,
    }
    if precision in QFORMATS:
        assert script == "/app/examples/quantization/quantize.py"
        wanted["qformat"] = QFORMATS[precision]
        wanted["kv_cache_dtype"] = "fp8" if precision == "fp8" else None
    else:
        assert script == f"/app/examples/{FAMILIES[architecture].example}/convert_checkpoint.py"
        wanted["use_weight_only"] = precision in ("int8", "int4")
        wanted["weight_only_precision"] = precision if precision in ("int8", "int4") else "int8"
    assert told.items() >= wanted.items()
    monkeypatch.undo()
    defaults = parsed([], script.removeprefix("/app/"), monkeypatch)
    assert {name for name in told if told[name] != defaults[name]} <= wanted.keys()


def test_texts_to_calibrate_on_are_handed_on(monkeypatch):
    command = convert("LlamaForCausalLM", "int4_awq", calib_dataset="/data/texts")
    told = parsed(command[2:], "examples/quantization/quantize.py", monkeypatch)
    assert told["calib_dataset"] == "/data/texts"


@pytest.mark.parametrize("log_probs", [False, True])
@pytest.mark.parametrize("gpus", [1, 2])
def test_an_engine_is_built_with_every_limit_and_what_serving_turns_on(gpus, log_probs, monkeypatch):
    command = engine_command(plan(gpus=gpus, log_probs=log_probs), Path("/made/c"), Path("/made/engine"))
    told = parsed(command[1:], "trtllm-build", monkeypatch)
    changed = {
        "checkpoint_dir": "/made/c",
        "output_dir": "/made/engine",
        "max_batch_size": 64,
        "max_input_len": 2000,
        "max_seq_len": 2048,
        "max_num_tokens": 4096,
        "max_beam_width": 2,
        "gemm_plugin": "auto",
        "kv_cache_type": "paged",
        "use_paged_context_fmha": "enable",
        "workers": gpus,
        "output_timing_cache": "/made/c/model.cache",
        "gather_generation_logits": log_probs,
    }
    assert told == {**parsed([], "trtllm-build", monkeypatch), **changed}


def test_the_guide_s_example_word_for_word():
    line = shlex.join(convert(precision="int8")[1:])
    assert line == (
        "/app/examples/models/contrib/opt/convert_checkpoint.py --model_dir /models/m --output_dir /made/c "
        "--dtype float16 --tp_size 1 --use_weight_only --weight_only_precision int8"
    )


def test_a_missing_script_or_command_is_told_with_the_image_that_has_it(gpu_machine, monkeypatch):
    here = plan(examples=EXAMPLES)
    check_tools(here, Path("/models/m"))
    with pytest.raises(BuildError, match=r"opt/convert_checkpoint.py is not here: .*26.07-trtllm-python-py3"):
        check_tools(plan(examples=Path("/nowhere")), Path("/m"))
    monkeypatch.setenv("PATH", str(gpu_machine.bin))
    with pytest.raises(BuildError, match=r"^trtllm-build is not here: .*26.07-trtllm-python-py3"):
        check_tools(here, Path("/models/m"))


def test_a_path_that_quantize_py_takes_for_another_kind_of_model_is_refused(gpu_machine):
    model = Path("/attempts/llama")
    check_tools(plan(examples=EXAMPLES), model)
    with pytest.raises(BuildError, match="'mpt' in it for another kind"):
        check_tools(plan("LlamaForCausalLM", "fp8", examples=EXAMPLES), model)
