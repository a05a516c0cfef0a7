# SPDX-License-Identifier: Apache-2.0
"""What can be said of the Dockerfile without building it."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from serving.tritonserver import ROOT

DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
IGNORE = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
PINS = dict(
    line.split("==") for line in (ROOT / "requirements/image.txt").read_text().splitlines() if "==" in line
)


def ignored(path):
    """As docker decides it for the rules we use: the last one that fits the path or a folder of it counts."""
    lasts = [str(path), *map(str, Path(path).parents)]
    answer = False
    for rule in IGNORE:
        pattern = rule.removeprefix("!").removeprefix("**/")
        names = [*lasts, *(Path(last).name for last in lasts)] if "**/" in rule else lasts
        if any(fnmatch(name, pattern) for name in names if name != "."):
            answer = not rule.startswith("!")
    return answer


def test_everything_that_is_copied_is_let_in():
    lines = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    sources = {source for line in lines if not line[0].startswith("--from") for source in line}
    served = {"llm_ensemble", "build_scripts", "openai_frontend", "model_repository", "docker/llm-ensemble"}
    assert served <= sources
    assert not [source for source in sources if not (ROOT / source).exists() or ignored(source)]


ELSEWHERE = (
    ".git/config .venv/bin/python .venv-build/bin/python engines/demo/manifest.json tests/soak.py "
    ".ruff_cache/x llm_ensemble/__pycache__/a.pyc models/demo/corpus.py docs/decisions.md"
)


@pytest.mark.parametrize("path", ELSEWHERE.split())
def test_nothing_else_is_sent_to_the_builder(path):
    assert ignored(path)


def test_the_gpu_image_is_the_default_and_all_run_as_the_same_user():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert stages[-1].startswith("${BASE_IMAGE} AS gpu\n")
    for name in ("cpu", "gpu", "vllm"):
        (stage,) = [stage for stage in stages if f" AS {name}\n" in stage]
        for line in (
            "USER 1000:1000",
            'ENTRYPOINT ["llm-ensemble"]',
            'CMD ["serve"]',
            "EXPOSE 8000 8001 8002 9000",
        ):
            assert line in stage.splitlines()
        assert "HEALTHCHECK" in stage


def test_the_images_on_nvidia_s_differ_in_the_base_and_what_they_say_of_it():
    gpu, vllm = (
        re.search(rf"^FROM .* AS {name}\n(.*?)(?:^FROM |\Z)", DOCKERFILE, re.M | re.S)[1].split("\n")
        for name in ("gpu", "vllm")
    )
    differ = [line.split()[0] for line, other in zip(gpu, vllm) if line != other]
    assert differ == ["LABEL", "#"]
    bases = dict(re.findall(r"^ARG (\w*BASE_IMAGE)=nvcr.io/nvidia/tritonserver:(.*)$", DOCKERFILE, re.M))
    assert bases == {"BASE_IMAGE": "26.07-trtllm-python-py3", "VLLM_BASE_IMAGE": "26.07-vllm-python-py3"}


def test_the_version_label_is_the_package_s():
    assert set(re.findall(r"ARG VERSION=(.*)", DOCKERFILE)) == {version()}


def test_the_image_has_what_the_package_and_the_makefile_ask_for():
    text = (ROOT / "pyproject.toml").read_text()
    (openai,) = re.findall(r"^openai = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    wanted = text.partition("[project.optional")[0] + openai
    for name in re.findall(r'^    "([\w-]+)>=', wanted, re.MULTILINE):
        assert name in PINS


def test_an_image_on_another_s_base_gets_all_that_the_cpu_image_has_but_its_engine():
    added = (ROOT / "docker/add_package.sh").read_text()
    (names,) = re.findall(r"for wanted in (.*?); do", added.replace("\\\n", ""), re.DOTALL)
    other = dict(re.findall(r"(\S+)\) name=([\w-]+) ;;", added))
    distributions = {other.get(name, name.replace("_", "-")) for name in names.split()}
    engine = {name for name in PINS if name.startswith(("openvino", "nvidia-pytriton"))}
    assert distributions == PINS.keys() - engine


def test_the_image_s_engine_and_tritonserver_are_those_of_the_makefile():
    text = (ROOT / "pyproject.toml").read_text()
    assert f"openvino-genai=={PINS['openvino-genai']}" in text
    assert f"nvidia-pytriton=={PINS['nvidia-pytriton']}" in (ROOT / "Makefile").read_text()


def version():
    return re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
