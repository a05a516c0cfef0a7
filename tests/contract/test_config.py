# SPDX-License-Identifier: Apache-2.0
"""The committed config.pbtxt files: valid protobuf, final, and of one mind with each other and the code."""

import ast
import subprocess

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble.contract.unserved import NEVER_SENT, UNSERVED
from serving.tritonserver import MODEL_REPOSITORY, ROOT

STEPS = ["preprocessing", "tensorrt_llm", "postprocessing"]
PYTHON = ["ensemble_unary", *STEPS]
MODELS = ["ensemble", *PYTHON]


def config(name):
    text = (MODEL_REPOSITORY / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tensors(declared):
    return {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in declared}


def test_every_model_has_a_version_in_a_fresh_clone():
    """git keeps no empty folder, and Triton takes no model without a version folder."""
    listed = subprocess.run(
        ["git", "ls-files", "model_repository"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {f"model_repository/{name}/1" for name in MODELS} <= {
        path.rpartition("/")[0] for path in listed.stdout.splitlines()
    }


def test_nothing_but_models_lives_in_the_repository():
    assert sorted(path.name for path in MODEL_REPOSITORY.iterdir()) == sorted(MODELS)
    for name in PYTHON:
        files = [
            p.relative_to(MODEL_REPOSITORY / name).as_posix() for p in (MODEL_REPOSITORY / name).rglob("*")
        ]
        assert sorted(f for f in files if "__pycache__" not in f) == ["1", "1/model.py", "config.pbtxt"]


@pytest.mark.parametrize("name", MODELS)
def test_each_config_is_valid_protobuf_without_placeholders(name):
    assert config(name).name == name
    assert "${" not in (MODEL_REPOSITORY / name / "config.pbtxt").read_text()


def test_the_ensemble_s_maps_are_identities():
    for step in config("ensemble").ensemble_scheduling.step:
        for mapping in (step.input_map, step.output_map):
            assert all(key == value for key, value in mapping.items())


def test_each_tensor_has_one_dtype_and_shape_from_end_to_end():
    ensemble = config("ensemble")
    known = tensors(ensemble.input)
    for step in ensemble.ensemble_scheduling.step:
        model = config(step.model_name)
        inputs, outputs = tensors(model.input), tensors(model.output)
        assert {name: known[name] for name in step.input_map} == {n: inputs[n] for n in step.input_map}
        assert set(step.output_map) == set(outputs)
        assert not set(step.output_map) & known.keys(), "a tensor has two sources"
        known |= outputs
    assert {t.name: known[t.name] for t in ensemble.output} == tensors(ensemble.output)


def test_a_step_s_inputs_are_all_fed_or_optional():
    for step in config("ensemble").ensemble_scheduling.step:
        missing = {t.name for t in config(step.model_name).input if not t.optional} - set(step.input_map)
        assert not missing


def test_ensemble_unary_has_the_contract_of_the_ensemble():
    unary, ensemble = config("ensemble_unary"), config("ensemble")
    assert list(unary.input) == list(ensemble.input)
    assert list(unary.output) == list(ensemble.output)
    assert not unary.model_transaction_policy.decoupled


def test_the_fields_in_the_code_are_the_inputs_of_the_ensemble_and_of_preprocessing():
    declared = {name: (datatype(field), (-1,) if field.many else (1,)) for name, field in FIELDS.items()}
    declared |= {name: (datatype(unserved), unserved.dims) for name, unserved in UNSERVED.items()}
    for name in ("ensemble", "preprocessing"):
        assert tensors(config(name).input) == declared
        assert all(tensor.optional for tensor in config(name).input)


def datatype(field):
    return model_config_pb2.DataType.Value(f"TYPE_{field.datatype}".replace("BYTES", "STRING"))


def test_the_outputs_of_nvidia_s_ensemble_may_be_named():
    """Those that never come are declared, or Triton would refuse the name before a model sees the request."""
    assert NEVER_SENT.keys() | {"batch_index", "sequence_index"} <= tensors(config("ensemble").output).keys()


def test_postprocessing_keeps_the_order_of_a_stream():
    """One instance and no dynamic batching: order and the sight of a cancelled request rest on it."""
    post = config("postprocessing")
    assert [group.count for group in post.instance_group] == [1]
    assert not post.HasField("dynamic_batching")
    assert post.model_transaction_policy.decoupled


def test_batch_sizes_fit_together():
    assert len({config(name).max_batch_size for name in MODELS}) == 1


@pytest.mark.parametrize("name", PYTHON)
def test_an_adapter_is_some_40_lines(name):
    assert len((MODEL_REPOSITORY / name / "1/model.py").read_text().splitlines()) <= 42


def sources():
    for package in ("llm_ensemble", "build_scripts", "serving", "client", "benchmarks"):
        yield from (ROOT / package).rglob("*.py")


def test_few_modules_speak_pb_utils():
    speakers = [path for path in sources() if "import triton_python_backend_utils" in path.read_text()]
    assert sorted(path.name for path in speakers) == ["byte_tensors.py", "stages.py", "streams.py"]


@pytest.mark.parametrize("path", [*sources()], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 260
    assert [name for name, length in functions_of(ast.parse(text)) if length > 50] == []


def functions_of(node, inside=""):
    """Yield the qualified name and the lines of each function below a node."""
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}".removeprefix(".")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child.end_lineno - child.lineno + 1
        yield from functions_of(child, name)


def test_of_two_functions_of_one_name_both_are_seen():
    code = "class A:\n def f(): pass\nclass B:\n async def f():\n  def g(): pass\nif 1:\n def f(): pass"
    assert [*functions_of(ast.parse(code))] == [("A.f", 1), ("B.f", 2), ("B.f.g", 1), ("f", 1)]
