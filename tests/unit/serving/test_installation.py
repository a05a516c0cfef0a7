# SPDX-License-Identifier: Apache-2.0
import sys
import sysconfig
from pathlib import Path

import pytest

from serving import installation
from serving.errors import TritonError
from serving.installation import Installation


def test_a_python_without_shared_libpython_is_an_error_that_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(TritonError, match=rf"no shared libpython{version}.so.1.0 .*apt install libpython"):
        installation.find_installation()


def test_a_stub_for_another_python_is_refused_with_both_versions(tmp_path):
    stub = tmp_path / "stub"
    stub.write_bytes(b"\0libpython3.8.so.1.0\0")
    found = Installation(tmp_path, tmp_path, stub, (), None)
    with pytest.raises(TritonError, match=r"is for Python 3\.8, this is 3\.11: use that Python"):
        installation._checked(found, "3.11")


def test_a_python_that_has_no_stub_is_refused(tmp_path):
    found = Installation(tmp_path, tmp_path, tmp_path / "none", (), None)
    with pytest.raises(TritonError, match=r"no stub for Python 3\.14: use Python 3\.10 to 3\.13"):
        installation._checked(found, "3.14")


def test_the_stub_that_is_used_fits_the_running_python():
    found = installation.find_installation()
    assert f"libpython3.{sys.version_info.minor}.so".encode() in found.stub.read_bytes()


@pytest.mark.parametrize(
    ("text", "version"), [("2.71.0\n", (2, 71)), ("2.73.0dev\n", (2, 73)), ("r26.07\n", None), (None, None)]
)
def test_the_version_of_an_image_is_read_from_its_file(tmp_path, text, version):
    if text:
        (tmp_path / "TRITON_VERSION").write_text(text)
    assert installation._version(tmp_path) == version


def test_the_wheel_s_version_is_2_51_and_an_unknown_version_counts_as_old():
    found = installation.find_installation()
    if found.libraries:  # the wheel's
        assert found.version == (2, 51)
    unknown = Installation(tmp := Path("t"), tmp, tmp, (), None)
    assert unknown.is_before(2, 52)
    assert not Installation(tmp, tmp, tmp, (), (2, 52)).is_before(2, 52)
