# SPDX-License-Identifier: Apache-2.0
"""Put up a pack on a GPU machine: two environments, their bytecode, and the variables they need.

    python3 deploy/gpu_pack/unpack.py build/gpu /tmp/gpu && . /tmp/gpu/environment

With the Python that has torch; it needs nothing but itself, xz and tar. Parts may come one after another: as
long as one is missing it says which and ends with 3. Run again, it does nothing that is done. Prints how long
each step took.

serving/ (numpy 1.26, tritonserver, the tests) and engine/ (vLLM before the machine's own packages) are
virtual environments; both see the repository that this file is in.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MISSING = 3
ENVIRONMENTS = ("serving", "engine")
READY = "ready"  # in the folder: the sha256 of the manifest that was put up
# What vLLM needs where there is no network and not every optional package of its.
VARIABLES = {
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # on by default; without flashinfer the engine dies at its start
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",  # it would use NVLink multicast, which a virtual machine may not have
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
CHECKS = {
    "serving": "import numpy, tokenizers, tritonclient.grpc; print('numpy', numpy.__version__)",
    "engine": "import numpy, torch, vllm; print('vllm', vllm.__version__, 'torch', torch.__version__, "
    "'numpy', numpy.__version__, 'GPUs', torch.cuda.device_count())",
}


def main(parts: Path, folder: Path) -> int:
    """Put up the pack of `parts` in `folder`; return the exit status."""
    manifest = (parts / "manifest.json").read_bytes()
    if missing := [part["name"] for part in json.loads(manifest)["parts"] if not is_whole(parts, part)]:
        say(f"still to come: {', '.join(missing)}")
        return MISSING
    digest = hashlib.sha256(manifest).hexdigest()
    if (folder / READY).exists() and (folder / READY).read_text() == digest:
        say(f"{folder} is ready already")
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    packages = folder / "packages"
    packages.mkdir(parents=True)
    names = [part["name"] for part in json.loads(manifest)["parts"]]
    timed("extract", lambda: extract([parts / name for name in names], packages))
    for name in ENVIRONMENTS:
        timed(f"environment {name}", lambda name=name: lay_environment(name, folder, packages / name))
    timed("compile", lambda: compile_packages(packages))
    write_variables(folder)
    for name, program in CHECKS.items():
        timed(f"check {name}", lambda name=name, program=program: run(folder, name, program))
    (folder / READY).write_text(digest)
    return 0


def is_whole(parts: Path, part: dict[str, object]) -> bool:
    """Return whether a part is there, with every byte."""
    path = parts / str(part["name"])
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]


def extract(parts: list[Path], folder: Path) -> None:
    """Decompress the parts, which are one archive."""
    xz = subprocess.Popen(["xz", "-dc", "-T0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    tar = subprocess.Popen(["tar", "-x", "-C", str(folder)], stdin=xz.stdout)
    assert xz.stdin is not None
    assert xz.stdout is not None
    xz.stdout.close()
    with xz.stdin as pipe:
        for part in parts:
            pipe.write(part.read_bytes())
    if xz.wait() or tar.wait():
        raise SystemExit("unpack: xz or tar failed, see above")


def lay_environment(name: str, folder: Path, packages: Path) -> None:
    """Make a virtual environment that sees packages, the repository and, for the engine, the machine's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / name)], check=True)
    (site,) = (folder / name / "lib").glob("python3*/site-packages")
    seen = [str(packages), str(ROOT), str(ROOT / "client")]
    if name == "engine":
        # By addsitedir: a .pth file of the machine's own is then read, too.
        seen.append(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})")
    (site / "pack.pth").write_text("\n".join(seen) + "\n")


def compile_packages(packages: Path) -> None:
    """Write bytecode, without which every process compiles thousands of modules at its start."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", str(packages)]
    subprocess.run(command, stdout=subprocess.DEVNULL)  # test files of packages need not compile


def write_variables(folder: Path) -> None:
    """Write the file to be read with `.`: where the environments are, and what vLLM needs."""
    found = VARIABLES | {
        "SERVING_PYTHON": f"{folder}/serving/bin/python3",
        "ENGINE_PYTHON": f"{folder}/engine/bin/python3",
        "VLLM_CACHE_ROOT": f"{folder}/cache/vllm",  # one for all servers: the second start compiles nothing
        "TRITON_CACHE_DIR": f"{folder}/cache/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/cache/inductor",
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in found.items()]
    (folder / "environment").write_text("".join(lines))


def run(folder: Path, name: str, program: str) -> None:
    """Run a program in an environment, with what vLLM needs."""
    subprocess.run(
        [str(folder / name / "bin/python3"), "-c", program], check=True, env={**os.environ, **VARIABLES}
    )


def timed(what: str, do: object) -> None:
    """Do something and print how long it took."""
    began = time.monotonic()
    do()  # type: ignore[operator]
    say(f"{what}: {time.monotonic() - began:.1f} s")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"unpack: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).absolute()))
