# SPDX-License-Identifier: Apache-2.0
import os
import tempfile
from pathlib import Path

import pytest

from serving.plain_paths import SHARED_MEMORY, is_plain, plain_path, printable, scratch
from tests.odd_paths import ODD_NAMES, odd


@pytest.mark.parametrize("character", [*"-odd '\"$;&|`<(*?[~#%=\\:,\n", "ü", "漢", "\udcff"])
def test_a_path_is_plain_only_without_every_sign_that_some_program_interprets(character):
    assert is_plain(Path("/a_B-9.x", character)) == (character in "-od")


@pytest.mark.parametrize("kind", ODD_NAMES)
def test_a_path_that_is_not_plain_becomes_a_link_to_it(tmp_path, kind):
    folder = tmp_path / odd(kind)
    folder.mkdir()
    link = plain_path(folder, tmp_path / "link")
    assert link == tmp_path / "link"
    assert link.samefile(folder)


def test_a_plain_path_stays_and_no_link_is_made(tmp_path):
    assert plain_path(tmp_path, tmp_path / "link") == tmp_path
    assert os.listdir(tmp_path) == []


def test_scratch_is_the_temporary_folder_while_that_is_plain(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert scratch() == tmp_path
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a b"))
    assert scratch() == SHARED_MEMORY


def test_a_path_can_be_shown_on_any_terminal():
    assert printable(Path("/a ü\udcff")) == "/a ü\\xff"
