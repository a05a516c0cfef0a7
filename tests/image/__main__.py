# SPDX-License-Identifier: Apache-2.0
"""make image-test: build the cpu image, start it as docker would, ask it, stop it, look at what is left.

Takes minutes, and needs root, Debian's buildah and debootstrap, and what the build fetches: for that it is
no part of `make test`. `python -m tests.image gpu BASE` (or vllm BASE) does the same for that target on a
base of one's own (a folder or tar file with a root filesystem) and the demo engine of the cpu image.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from serving.tritonserver import ROOT, Ports, Server, free_ports
from tests.asking import GrpcStream, generate, joined
from tests.image.workshop import BASE, Workshop

PROMPT = "To change the settings,"
USER = "1000:1000"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # docker's, if the image has none


def main(arguments: list[str]) -> int:
    """Everything, in the order a person would; 1 with one line when this machine cannot do it."""
    missing = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
    if os.geteuid() or missing:
        sys.stderr.write("image-test: needs root and: apt-get install buildah debootstrap\n")
        return 1
    started = time.monotonic()
    with Workshop() as workshop:
        workshop.add_base()
        say("building the cpu image (minutes)")
        workshop.build("cpu", "llm-ensemble:cpu", CPU_BASE=BASE)
        image = Image(workshop, "llm-ensemble:cpu")
        say(f"built in {time.monotonic() - started:.0f} s: {workshop.size('llm-ensemble:cpu')} unpacked")
        check_configuration(image)
        check_commands(image)
        check_no_torch(image)
        check_serving(image)
        for base in arguments[1:]:
            check_on_base(workshop, arguments[0], base, image.root / "opt/llm-ensemble/demo")
    say(f"image-test passed in {time.monotonic() - started:.0f} s")
    return 0


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Image:
    """An image's configuration and a root filesystem of it that nothing writes to."""

    def __init__(self, workshop: Workshop, tag: str) -> None:
        self.configuration = workshop.configuration(tag)
        self.root = workshop.root(tag)

    def start(self, *command: str, **options) -> subprocess.Popen[str]:
        """`docker run --read-only --tmpfs /tmp IMAGE COMMAND`; -e NAME=VALUE by environ."""
        asked = [f"{name}={value}" for name, value in options.pop("environ", {}).items()]
        environ = [PATH, *self.configuration["Env"], *asked]
        contain = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh"]
        script = str(ROOT / "tests/image/contain.sh")
        line = [*self.configuration["Entrypoint"], *(command or self.configuration["Cmd"])]
        return subprocess.Popen(
            [*contain, script, str(self.root), self.configuration["User"], *environ, *line],
            text=True,
            stdin=subprocess.DEVNULL,
            **options,
        )

    def run(self, *command: str, **environ: object) -> tuple[int, str, str]:
        """Run a command to its end: exit status, standard output, standard error."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.start(*command, environ=environ, **pipes) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err


def check_configuration(image: Image) -> None:
    """What docker does by itself, it reads here."""
    configuration = image.configuration
    assert configuration["User"] == USER
    assert configuration["Healthcheck"]["Test"] == ["CMD", "llm-ensemble", "health"]
    assert set(configuration["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "8002/tcp", "9000/tcp"}
    for label in ("title", "description", "licenses", "source", "version"):
        assert f"org.opencontainers.image.{label}" in configuration["Labels"], label
    say("configuration: user, healthcheck, ports, labels")


def check_commands(image: Image) -> None:
    """The commands that need no server."""
    status, out, _ = image.run("help")
    assert (status, "serve" in out) == (0, True)
    status, _, err = image.run("dance")
    assert status == 2, (status, err)
    assert err.startswith("llm-ensemble: no command 'dance'")
    assert out in err
    ports = free_ports()
    status, out, err = image.run("check", **named(ports))
    assert (status, "demo (int8) can be served" in out) == (0, True), err
    status, _, err = image.run("build", "--model", "models/demo", "--output", "/tmp/x")
    assert status == 1
    assert err.startswith("build: this image has no torch")
    say("commands: help, an unknown one, check, build (refused)")


def check_no_torch(image: Image) -> None:
    """Not in the environment, and nowhere else."""
    found = [*image.root.rglob("site-packages/torch*"), *image.root.rglob("libtorch*")]
    assert not found, found
    say("no torch")


def named(ports: Ports) -> dict[str, object]:
    """Ports as the image's settings."""
    triton = {"HTTP_PORT": ports.http, "GRPC_PORT": ports.grpc, "METRICS_PORT": ports.metrics}
    return triton | {"OPENAI_PORT": ports.openai}


def check_serving(image: Image, **environ: object) -> None:
    """Serve, ask over HTTP, gRPC and OpenAI's API, stop with SIGTERM: exit status 0, and nothing left."""
    ports = free_ports(openai=True)
    log = Path(f"{image.root}.log")
    with log.open("w") as file:
        outer = image.start(environ={**named(ports), **environ}, stdout=file, stderr=file)
    try:
        server = Server(outer, ports)
        server.wait_ready()
        (first,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        ask(image, server)
        uids = Path(f"/proc/{first}/status").read_text().partition("Uid:")[2].split()[:4]
        assert uids == ["1000"] * 4
        os.kill(int(first), signal.SIGTERM)
        assert outer.wait(60) == 0, log.read_text()[-3000:]
        assert "serve: stopped" in log.read_text()
        # Process 1 has gone, so the kernel has ended whatever it had left; what it left must be nothing.
        assert not Path(f"/proc/{first}").exists()
    finally:
        outer.kill()
        outer.wait()
        log.unlink()
    say(
        "served read-only as user 1000: HTTP, gRPC, OpenAI API, generate, health; SIGTERM drained, "
        "exit status 0"
    )


def ask(image: Image, server: Server) -> None:
    """A text whichever way it is asked for; those of an INT8 engine may differ."""
    text = generate(server, PROMPT)["text_output"]
    assert text.strip()
    with GrpcStream(server) as stream:
        assert joined(stream.ask(text_input=PROMPT, stream=True)).strip()
    body = json.dumps({"model": "demo", "prompt": PROMPT, "max_tokens": 8}).encode()
    url = f"http://127.0.0.1:{server.ports.openai}/v1/completions"
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert json.load(answer)["choices"][0]["text"].strip()
    # In a container of its own, which has the same network: also what docker exec would run in the first.
    status, out, err = image.run("generate", PROMPT, "--url", server.ports.http_url)
    assert (status, bool(out.strip()), err) == (0, True, "")
    assert image.run("health", HTTP_PORT=server.ports.http)[0] == 0
    assert image.run("health", HTTP_PORT=free_ports().http)[0] == 1
    say(f"answers: {PROMPT}|{text}")


def check_on_base(workshop: Workshop, target: str, base: str, demo: Path) -> None:
    """The gpu or vllm target on a stand-in."""
    container = workshop.buildah("from", "scratch")
    workshop.buildah("add", "--quiet", container, base, "/")
    workshop.buildah("commit", "--quiet", "--format", "docker", container, "localhost/stand-in")
    started = time.monotonic()
    argument = {"gpu": "BASE_IMAGE", "vllm": "VLLM_BASE_IMAGE"}[target]
    workshop.build(target, f"llm-ensemble:{target}", **{argument: "localhost/stand-in"})
    say(f"built {target} on {base} in {time.monotonic() - started:.0f} s")
    image = Image(workshop, f"llm-ensemble:{target}")
    shutil.copytree(demo, image.root / "engine")
    check_configuration(image)
    check_serving(image)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
