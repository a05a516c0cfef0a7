# SPDX-License-Identifier: Apache-2.0
import sys
import sysconfig

import pytest

from build_scripts import installation, tritonserver
from build_scripts.installation import Installation, TritonError


def test_a_python_without_shared_libpython_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(TritonError, match=rf"no shared libpython{version}.so.1.0 .*apt install libpython"):
        installation.find_installation()


def test_a_stub_for_another_python_is_refused_with_both_versions(tmp_path):
    stub = tmp_path / "stub"
    stub.write_bytes(b"\0libpython3.8.so.1.0\0")
    found = Installation(tmp_path, tmp_path, stub, ())
    with pytest.raises(TritonError, match=r"is for Python 3\.8, this is 3\.11: use that Python"):
        installation._fitting(found, "3.11")


def test_a_python_no_stub_was_made_for_is_refused(tmp_path):
    found = Installation(tmp_path, tmp_path, tmp_path / "none", ())
    with pytest.raises(TritonError, match=r"no stub for Python 3\.14: use Python 3\.10 to 3\.13"):
        installation._fitting(found, "3.14")


def test_the_stub_that_is_used_fits_the_running_python():
    found = installation.find_installation()
    assert f"libpython3.{sys.version_info.minor}.so".encode() in found.stub.read_bytes()


def test_the_backend_directory_has_the_stub_beside_the_backend(tmp_path):
    found = installation.find_installation()
    folder = tritonserver.lay_backend(found, tmp_path)
    names = {path.name for path in (folder / "python").iterdir()}
    assert {"libtriton_python.so", "triton_python_backend_utils.py", "triton_python_backend_stub"} <= names
