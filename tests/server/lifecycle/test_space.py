# SPDX-License-Identifier: Apache-2.0
"""Small and read-only file systems, in a mount namespace of the test."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from serving.tritonserver import ROOT
from tests.asking import generate, post
from tests.build_environment import BUILD_PYTHON
from tests.server.serving import refused, serve_command, served

UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def may_mount():
    if not shutil.which("unshare"):
        return False
    tried = [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="unshare may not mount here")


def with_mounts(*mounts):
    """Return a command for `serve` in a mount namespace with these mounts."""

    def command(*arguments):
        script = " && ".join([*mounts, 'exec "$@"'])
        return [*UNSHARE, "sh", "-c", script, "sh", *serve_command(*arguments)]

    return command


def tmpfs(folder, size):
    return f"mount -t tmpfs -o size={size} none {folder}"


def inside(server):
    """The root of the server's file system."""
    return Path(f"/proc/{server.process.pid}/root")


def fill(folder):
    """Write until the file system is full."""
    with pytest.raises(OSError, match="No space left"):
        (folder / "full").write_bytes(bytes(2**26))


def test_nothing_is_written_to_the_engine_directory_and_no_more_to_a_disk_once_it_serves(
    demo_engine, tmp_path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = with_mounts(
        f"mount --bind {demo_engine} {demo_engine}",
        f"mount -o remount,bind,ro {demo_engine}",
        tmpfs(scratch, "4m"),
    )
    with served(demo_engine, tmp_path / "log", command=command, TMPDIR=scratch) as server:
        text = generate(server, "The server", max_tokens=20)["text_output"]
        with pytest.raises(OSError, match="Read-only file system"):
            (inside(server) / demo_engine.relative_to("/") / "new").touch()
        fill(inside(server) / scratch.relative_to("/"))
        assert generate(server, "The server", max_tokens=20)["text_output"] == text
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0


def test_a_temporary_folder_without_space_is_one_line(demo_engine, tmp_path):
    line = refused(demo_engine, command=with_mounts(tmpfs(tmp_path, "512k")), TMPDIR=str(tmp_path))
    assert line.startswith("serve: no temporary folder can be written to (No space left on device): free")
    assert "or set TMPDIR" in line


def test_too_little_shared_memory_is_one_line(demo_engine):
    line = refused(demo_engine, command=with_mounts(tmpfs("/dev/shm", "16m")))
    assert line.startswith("serve: /dev/shm has 16 MiB free, 32 are needed: docker run --shm-size=1g")


def test_when_shared_memory_is_used_up_only_what_does_not_fit_is_refused(demo_engine, tmp_path):
    with served(demo_engine, tmp_path / "log", command=with_mounts(tmpfs("/dev/shm", "40m"))) as server:
        fill(inside(server) / "dev/shm")
        status, text = post(server, "generate", {"text_input": "a " * 10**6})
        assert status == 400
        assert "Failed to increase the shared memory pool size" in text
        assert generate(server, "The server", max_tokens=3)["num_output_tokens"] == 3
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0


@pytest.mark.parametrize(
    ("mounts", "message"),
    [
        ("true", "no room for {}: make some, or choose another OUTPUT"),
        ("mount -o remount,ro {}", "cannot write {}: Read-only file system; choose another OUTPUT"),
    ],
)
def test_a_build_that_may_not_write_is_one_line_and_leaves_nothing(tmp_path, mounts, message):
    output = tmp_path / "disk/engine"
    output.parent.mkdir()
    mounts = [tmpfs(output.parent, "3m"), mounts.format(output.parent)]
    build = f"{BUILD_PYTHON} -m build_scripts.build --model models/demo --engine openvino --output {output}"
    script = " && ".join([*mounts, f"{build}; ls -A {output.parent}"])
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.stderr == f"build: {message.format(output)}\n"
    assert done.stdout.count("\n") == done.stdout.count("[")
