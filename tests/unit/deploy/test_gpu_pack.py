# SPDX-License-Identifier: Apache-2.0
"""The pack for a GPU machine, in small: made, carried in parts, put up."""

import struct
import subprocess

import pytest

from deploy.gpu_pack import unpack
from deploy.gpu_pack.__main__ import pinned_wheels
from deploy.gpu_pack.fatbin import ELEMENT, ELF, HEADER, MAGIC, PTX, blank_other_architectures
from deploy.gpu_pack.parts import compress, split, write_manifest

ELEMENT_HEADER = 64


def element(kind, architecture, payload):
    header = ELEMENT.pack(kind, 0x101, ELEMENT_HEADER, len(payload)).ljust(28, b"h")
    return (header + struct.pack("<I", architecture)).ljust(ELEMENT_HEADER, b"h") + payload


def fat_binary(*elements):
    (magic,) = struct.unpack("<I", MAGIC)
    content = b"".join(elements)
    return HEADER.pack(magic, 1, HEADER.size, len(content)) + content


def blanked(tmp_path, content, architecture):
    path = tmp_path / "library.so"
    path.write_bytes(content)
    zeroed, whole = blank_other_architectures(path, architecture)
    after = path.read_bytes()
    assert len(after) == whole == len(content)
    assert after.count(0) - content.count(0) == zeroed
    return after


def test_the_code_of_other_gpus_is_zeros_and_all_else_stays(tmp_path):
    old, own, text = element(ELF, 80, b"a" * 40), element(ELF, 90, b"b" * 24), element(PTX, 90, b"c" * 16)
    around = (b"before" + MAGIC + b"no fat binary", b"between", b"after" + MAGIC)
    content = around[0] + fat_binary(old, own, text) + around[1] + fat_binary(own) + around[2]
    expected = content.replace(b"a" * 40, bytes(40)).replace(b"c" * 16, bytes(16))
    assert blanked(tmp_path, content, 90) == expected


def test_without_machine_code_the_text_to_make_it_from_stays(tmp_path):
    content = fat_binary(element(ELF, 80, b"a" * 40), element(PTX, 80, b"c" * 16))
    assert blanked(tmp_path, content, 90) == content.replace(b"a" * 40, bytes(40))


def test_machine_code_for_an_earlier_gpu_of_the_same_generation_runs_too(tmp_path):
    content = fat_binary(element(ELF, 80, b"a" * 40), element(ELF, 90, b"b" * 24))
    assert blanked(tmp_path, content, 86) == content.replace(b"b" * 24, bytes(24))


def test_only_the_pinned_wheels_of_a_folder_are_packed(tmp_path):
    names = [
        "zope_interface-8.7-cp312-cp312-manylinux_2_28_x86_64.whl",
        "zope.interface-8.6-cp312-cp312-manylinux_2_28_x86_64.whl",
        "vllm-0.23.0-2-cp38-abi3-manylinux_2_28_x86_64.whl",
        "vllm_extra-0.23.0-py3-none-any.whl",
    ]
    for name in names:
        (tmp_path / name).touch()
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# a comment\nzope.interface==8.7\nvllm==0.23.0  # pinned\n")
    assert [path.name for path in pinned_wheels(requirements, tmp_path)] == [names[0], names[2]]


@pytest.fixture
def parts(tmp_path):
    """A pack of a module for each environment, in three parts."""
    for name in unpack.ENVIRONMENTS:
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "packed.py").write_text(f"WHERE = {name!r}\n")
    folder = tmp_path / "parts"
    folder.mkdir()
    compress(tmp_path / "tree", tmp_path / "pack.tar.xz")
    size = (tmp_path / "pack.tar.xz").stat().st_size
    write_manifest(folder, split(tmp_path / "pack.tar.xz", folder, -(-size // 3)))
    return folder


def test_parts_that_come_one_after_another_are_put_up_once(parts, tmp_path, monkeypatch, capsys):
    program = "import packed, llm_ensemble, llm_ensemble_client; print(packed.WHERE)"
    monkeypatch.setattr(unpack, "CHECKS", dict.fromkeys(unpack.ENVIRONMENTS, program))
    put = tmp_path / "it's put"
    last = (parts / "part-3").read_bytes()
    (parts / "part-3").write_bytes(last[:-1])  # as if the transfer had broken off
    assert unpack.main(parts, put) == unpack.MISSING
    assert "still to come: part-3" in capsys.readouterr().out
    (parts / "part-3").write_bytes(last)
    assert unpack.main(parts, put) == 0
    assert unpack.main(parts, put) == 0
    assert capsys.readouterr().out.endswith(" is ready already\n")
    script = f'. {put.parent}/"{put.name}"/environment; "$SERVING_PYTHON" -c "$1"; "$ENGINE_PYTHON" -c "$1"'
    done = subprocess.run(["sh", "-c", script, "sh", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["serving", "engine"]
