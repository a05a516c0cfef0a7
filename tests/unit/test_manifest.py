# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from llm_ensemble.errors import EngineDirectoryError
from llm_ensemble.manifest import Limits, read_manifest, tokenizer_sha256, write_manifest


def test_a_manifest_survives_its_file(manifest, tmp_path):
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_a_manifest_from_before_pipeline_parallelism_is_for_none(manifest, tmp_path):
    write_manifest(tmp_path, msgspec.structs.replace(manifest, tensor_parallel=2, pipeline_parallel=3))
    assert read_manifest(tmp_path).gpus == 6
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"pipeline_parallel": 3,', ""))
    assert (read_manifest(tmp_path).pipeline_parallel, read_manifest(tmp_path).gpus) == (1, 2)


def test_an_unknown_field_is_refused_by_name(manifest, tmp_path):
    write_manifest(tmp_path, manifest)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"engine":', '"enigne": 1, "engine":'))
    with pytest.raises(EngineDirectoryError, match="enigne"):
        read_manifest(tmp_path)


def test_a_limit_below_one_is_refused_by_name(manifest, tmp_path):
    limits = {name: getattr(manifest.limits, name) for name in Limits.__struct_fields__}
    with pytest.raises(ValueError, match="limits.max_batch_size must be at least 1, not 0"):
        Limits(**{**limits, "max_batch_size": 0})
    write_manifest(tmp_path, manifest)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"max_seq_len": 64', '"max_seq_len": 0'))
    with pytest.raises(EngineDirectoryError, match="limits.max_seq_len must be at least 1"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"schema": 1}', "\xff"])
def test_what_is_no_manifest_is_one_line(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(EngineDirectoryError, match="build the engine again") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_tokenizer_s_hash_sees_contents_and_names(manifest, tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "a").write_text("x")
    first = tokenizer_sha256(tmp_path)
    (folder / "a").rename(folder / "b")
    second = tokenizer_sha256(tmp_path)
    (folder / "b").write_text("y")
    assert len({first, second, tokenizer_sha256(tmp_path)}) == 3


def test_the_package_s_records_are_frozen(manifest):
    with pytest.raises(AttributeError):
        manifest.engine = "other"
    assert msgspec.structs.replace(manifest, engine="other").engine == "other"
