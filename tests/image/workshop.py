# SPDX-License-Identifier: Apache-2.0
"""Images built without a container engine and without a registry: buildah on a base that debootstrap made."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from serving.tritonserver import ROOT

BASE = "localhost/debian-bookworm"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-ensemble"
# What debian:bookworm-slim has not either.
NOT_SLIM = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/lib/apt/lists")
PIP = "/etc/xdg/pip"  # pip reads pip.conf here, and no Debian package writes here


class Workshop:
    """A store of images of its own, which is gone, with all that was built in it, at the end of the block."""

    def __enter__(self) -> Workshop:
        self._folder = Path(tempfile.mkdtemp(prefix="llm-ensemble-image-", dir=os.environ.get("TMPDIR")))
        self._store = ("--root", str(self._folder / "store"), "--runroot", str(self._folder / "run"))
        self._pip = pip_settings(self._folder / "pip")
        return self

    def __exit__(self, *_: object) -> None:
        self.buildah("unmount", "--all")
        self.buildah("rm", "--all")
        # The store is mounted on itself, and stays so after the last container.
        subprocess.run(["umount", self._folder / "store/overlay"], capture_output=True, check=False)
        shutil.rmtree(self._folder)

    def buildah(self, *arguments: str | Path, check: bool = True) -> str:
        """One buildah command; its standard output."""
        command = ["buildah", *self._store, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout.strip()

    def add_base(self) -> None:
        """The image BASE, from a debootstrap kept in CACHE for the next time."""
        tar = CACHE / "debian-bookworm.tar"
        if not tar.exists():
            debootstrap(tar, self._folder / "bookworm")
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, tar, "/")
        self.buildah("commit", "--quiet", "--format", "docker", container, BASE)
        self.buildah("rm", container)

    def build(self, target: str, tag: str, **arguments: str) -> None:
        """Build a target of the Dockerfile, with pip set up as it is on this machine."""
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        if self._pip:
            options += ["--build-arg=TORCH_INDEX=", *(f"--volume={host}:{at}:ro" for at, host in self._pip)]
        chroot = ("--isolation", "chroot", "--format", "docker")  # docker: OCI images have no HEALTHCHECK
        self.buildah("build", *chroot, "--layers", "--target", target, "--tag", tag, *options, ".")

    def configuration(self, tag: str) -> dict:
        """What docker inspect would show as Config."""
        return json.loads(self.buildah("inspect", "--type", "image", tag))["Docker"]["config"]

    def size(self, tag: str) -> str:
        """Of the image, unpacked."""
        return self.buildah("images", "--format", "{{.Size}}", tag)

    def root(self, tag: str) -> Path:
        """A fresh container's root filesystem, mounted."""
        return Path(self.buildah("mount", self.buildah("from", tag)))


def debootstrap(tar: Path, folder: Path) -> None:
    """Debian 12 without what its slim image leaves out, as a tar file."""
    subprocess.run(
        ["debootstrap", "--variant=minbase", "bookworm", folder], stdout=subprocess.DEVNULL, check=True
    )
    for name in NOT_SLIM:
        shutil.rmtree(folder / name)
        (folder / name).mkdir()
    for file in filter(Path.is_file, [*(folder / "var/cache").rglob("*"), *(folder / "var/log").rglob("*")]):
        file.unlink()
    tar.parent.mkdir(parents=True, exist_ok=True)
    unfinished = tar.with_suffix(f".{os.getpid()}")
    subprocess.run(
        ["tar", "--numeric-owner", "--one-file-system", "-C", folder, "-cf", unfinished, "."], check=True
    )
    unfinished.rename(tar)
    shutil.rmtree(folder)


def pip_settings(folder: Path) -> list[tuple[str, Path]]:
    """This machine's own settings of pip (a mirror, a certificate, folders of wheels) for a build.

    Where to mount what: `folder`, with a pip.conf in it, and the folders that the settings name. Nothing if
    the machine has no such settings; then the Dockerfile's own are right.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    pairs = [line.split("=", 1) for line in listed.splitlines()]
    settings = {
        name.partition(".")[2]: ast.literal_eval(value) for name, value in pairs if ":env:" not in name
    }
    settings |= {
        name.removeprefix(":env:."): ast.literal_eval(value) for name, value in pairs if ":env:" in name
    }
    wanted = ("index-url", "extra-index-url", "find-links", "cert", "constraint", "proxy", "trusted-host")
    settings = {name: value for name, value in settings.items() if name in wanted}
    if not settings:
        return []
    folder.mkdir()
    mounts: list[tuple[str, Path]] = [(PIP, folder)]
    lines = []
    for name, value in settings.items():
        words = [_inside(word, folder, mounts) for word in value.split()]
        lines.append(f"{name} = {' '.join(words)}\n")
    (folder / "pip.conf").write_text("[global]\n" + "".join(lines))
    return mounts


def _inside(word: str, folder: Path, mounts: list[tuple[str, Path]]) -> str:
    """A setting's word as a build must say it: a file is copied beside pip.conf, a folder mounted there."""
    scheme = "file://" if word.startswith("file://") else ""
    path = Path(word.removeprefix(scheme))
    if not path.is_absolute() or not path.exists():
        return word
    name = f"{len(list(folder.iterdir()))}"
    if path.is_file():
        shutil.copy(path, folder / name)
    else:
        (folder / name).mkdir()
        # An index of packages links to files beside it.
        mounts.append((f"{PIP}/{name}", path.parent if scheme else path))
        name += f"/{path.name}" if scheme else ""
    return f"{scheme}{PIP}/{name}"
