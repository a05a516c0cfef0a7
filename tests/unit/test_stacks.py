# SPDX-License-Identifier: Apache-2.0
import resource
import subprocess

import pytest

from build_scripts import stacks

SHOW = ("/bin/sh", "-c", "ulimit -s; ulimit -Hs")


def limits(*before):
    """What a command run so is given: the soft limit and the hard one, kilobytes."""
    done = subprocess.run([*before, *stacks.with_room(), *SHOW], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_command_gets_deep_stacks_and_keeps_its_hard_limit():
    _, hard = subprocess.run(SHOW, capture_output=True, text=True, check=True).stdout.split()
    assert limits() == [str(stacks.STACK_BYTES // 1024), hard]


def test_no_more_than_the_hard_limit_allows():
    assert limits("prlimit", "--stack=8388608:16777216") == ["16384", "16384"]


def test_nothing_is_done_where_address_space_is_accounted_as_memory(monkeypatch, tmp_path):
    (tmp_path / "overcommit").write_text("2\n")
    monkeypatch.setattr(stacks, "OVERCOMMIT", tmp_path / "overcommit")
    assert stacks.with_room() == ()


@pytest.mark.parametrize(("bound", "done"), [(1 << 34, False), (resource.RLIM_INFINITY, True)])
def test_nothing_is_done_where_address_space_is_bounded(monkeypatch, bound, done):
    monkeypatch.setattr(stacks.resource, "getrlimit", lambda _: (bound, bound))
    assert bool(stacks.with_room()) == done
