# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by their hub names, from a small hub on this machine that speaks the hub's own protocol."""

import contextlib
import hashlib
import http.server
import json
import shutil
import threading

import pytest

from llm_ensemble.manifest import read_manifest
from tests.gpu_machine import EXAMPLES, make_machine

COMMIT = "27dcfa74d334bc871f3234de431e71c6eeba5dd6"
OPEN, GATED, BROKEN = "makers/opt-tiny", "makers/gated", "makers/broken"
TOKEN = "hf_a-token"


class Hub(http.server.ThreadingHTTPServer):
    """Serves one folder as `makers/opt-tiny`, and as `makers/gated` to requests with the token."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.fetched = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = self.path.split("?")[0].removeprefix("/api/models").strip("/")
        repository = next((name for name in (OPEN, GATED, BROKEN) if path.startswith(name)), None)
        if repository is None:
            return self.send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if repository == BROKEN:
            return self.send(503, b"{}")
        if self.headers.get("Authorization", f"Bearer {TOKEN}") != f"Bearer {TOKEN}":
            return self.send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
        if repository == GATED and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(
                401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            )
        if "/resolve/" in path:
            return self.file(path.split("/resolve/")[1].partition("/")[2])
        return self.listing(repository, tree="/tree/" in path)

    def listing(self, repository, *, tree):
        names = sorted(path.name for path in self.server.folder.iterdir())
        entries = [{"rfilename": name} for name in names]
        info = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": entries, "tags": []}
        sizes = [{"type": "file", "path": name, "oid": "0", "size": 1} for name in names]
        self.send(200, json.dumps(sizes if tree else info).encode())

    def file(self, name):
        path = self.server.folder / name
        if not path.is_file():
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        if self.command == "GET":
            self.server.fetched.append(name)
        content = path.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        return self.send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def send(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(folder):
    with Hub(folder) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


@pytest.fixture
def hub(checkpoints, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    for path in (checkpoints / "opt").iterdir():
        (folder / path.name).symlink_to(path)
    for other_format in ("flax_model.msgpack", "tf_model.h5", "README.md", "consolidated.safetensors"):
        (folder / other_format).write_bytes(b"of no use here")
    with serving(folder) as server:
        yield server


@pytest.fixture
def from_hub(build, hub, tmp_path):
    """build(...) in an environment that knows this hub and has fetched nothing yet."""

    def run(**options):
        environment = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_TOKEN": "",
            "NO_PROXY": "*",
        }
        return build(output=tmp_path / "engine", env=environment | options.pop("env", {}), **options)

    return run


def test_a_hub_name_becomes_an_engine_in_place_of_an_older_one(from_hub, hub, built, tmp_path):
    """What a killed build left is cleared away too, and what was fetched is found again without the hub."""
    shutil.copytree(built.engine("llama"), tmp_path / "engine")
    left = tmp_path / ".engine.building/engine"
    left.mkdir(parents=True)
    (left / "openvino_model.bin").write_bytes(b"half")
    result = from_hub(model=OPEN)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert [line[:5] for line in result.stdout.splitlines()[:5]] == [f"[{n}/5]" for n in range(1, 6)]
    assert {path.name for path in tmp_path.iterdir()} == {"engine", "published", "cache"}
    assert {path.name for path in (tmp_path / "engine").iterdir()} == {"manifest.json", "tokenizer", "engine"}
    manifest = read_manifest(tmp_path / "engine")
    assert (manifest.model.name, manifest.model.revision) == (OPEN, COMMIT)
    assert "pytorch_model.bin" in hub.fetched
    assert not {"flax_model.msgpack", "tf_model.h5", "README.md", "consolidated.safetensors"} & set(
        hub.fetched
    )

    hub.fetched.clear()
    again = from_hub(model=OPEN, max_seq_len=9999, env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert "9999" in again.stderr, "the cached checkpoint was read, and its positions were compared"
    assert hub.fetched == []


def test_for_gpus_what_cannot_be_is_refused_before_weights_are_fetched(from_hub, hub, tmp_path):
    machine = make_machine(tmp_path / "machine")
    order = {"model": OPEN, "engine": "tensorrt_llm", "examples": EXAMPLES, "env": machine.environment()}
    assert_refused(from_hub(**order, precision="fp8"), "OPT has no fp8 engine")
    assert "config.json" in hub.fetched
    assert "pytorch_model.bin" not in hub.fetched
    result = from_hub(**order)
    assert result.returncode == 0, result.stderr
    manifest = read_manifest(tmp_path / "engine")
    assert (manifest.engine, manifest.model.name, manifest.model.revision) == ("tensorrt_llm", OPEN, COMMIT)


def test_a_name_the_hub_does_not_know_is_refused_in_one_line(from_hub):
    assert_refused(from_hub(model="makers/unheard-of"), "makers/unheard-of", "the hub shows no such model")


def test_a_gated_model_is_refused_with_what_to_do_and_opened_by_the_token(from_hub):
    assert_refused(from_hub(model=GATED), "gated", "HF_TOKEN")
    assert "9999" in from_hub(model=GATED, max_seq_len=9999, env={"HF_TOKEN": TOKEN}).stderr


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(from_hub):
    assert_refused(from_hub(model=OPEN, env={"HF_ENDPOINT": "http://127.0.0.1:9"}), "hub cannot be reached")


def test_a_hub_that_is_switched_off_is_said_in_one_line(from_hub):
    assert_refused(from_hub(model=OPEN, env={"HF_HUB_OFFLINE": "1"}), "hub cannot be reached")


def test_a_wrong_token_is_named(from_hub):
    assert_refused(from_hub(model=OPEN, env={"HF_TOKEN": "hf_wrong"}), "401", "HF_TOKEN")


def test_a_hub_that_is_broken_is_said_in_one_line(from_hub):
    assert_refused(from_hub(model=BROKEN), "503")


def assert_refused(result, *words):
    assert result.returncode == 1, result.stdout + result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in ("build: ", *words):
        assert word in result.stderr
