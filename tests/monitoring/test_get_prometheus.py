# SPDX-License-Identifier: Apache-2.0
"""Without a Prometheus that can be installed, `make test` goes on and says which tests it skipped."""

import os
import shutil
import subprocess
import sys

import pytest

from serving.tritonserver import ROOT

SCRIPT = "monitoring/get_prometheus.sh"


@pytest.fixture
def get_prometheus(tmp_path):
    """Run a copy of the script with a PATH of a few programs, each a line of sh or the real one."""
    (tmp_path / "tree/monitoring").mkdir(parents=True)
    shutil.copy(ROOT / SCRIPT, tmp_path / "tree" / SCRIPT)
    programs = tmp_path / "programs"
    programs.mkdir()

    def run(**lines):
        for name in ("dirname", "mkdir", "tail", "rm", "touch"):
            (programs / name).symlink_to(shutil.which(name))
        for name, line in lines.items():
            program = programs / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\n{line}\n")
            program.chmod(0o755)
        command = ["/bin/sh", str(tmp_path / "tree" / SCRIPT)]
        return subprocess.run(
            command, env={"PATH": str(programs)}, capture_output=True, text=True, check=False
        )

    return run


def test_where_it_is_installed_nothing_is_downloaded(get_prometheus):
    done = get_prometheus(prometheus="true", promtool="true", apt_get="exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_apt_it_says_what_to_install(get_prometheus):
    done = get_prometheus()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "get_prometheus: no apt-get and dpkg-deb here: install prometheus and promtool"
    )


def test_without_a_network_it_says_what_apt_says(get_prometheus):
    apt = "echo 'W: a warning' >&2; echo 'E: Unable to connect' >&2; exit 100"
    done = get_prometheus(apt_get=apt, dpkg_deb="exit 9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "get_prometheus: apt-get could not download prometheus: E: Unable to connect\n"


def test_with_both_it_is_unpacked_and_the_package_removed(get_prometheus, tmp_path):
    done = get_prometheus(
        apt_get='case "$*" in *download*) touch prometheus_1.deb;; esac', dpkg_deb="touch unpacked"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "tree/build/prometheus").iterdir()] == ["unpacked"]


def test_the_last_line_of_a_run_says_how_many_were_skipped_and_what_to_run(tmp_path):
    (tmp_path / "test_two.py").write_text(
        "import pytest\n"
        "from tests.monitoring import prometheus\n"
        "@pytest.mark.parametrize('program', ['prometheus', 'promtool'])\n"
        "def test_one(program, monkeypatch):\n"
        "    monkeypatch.delenv('CI', raising=False)\n"
        "    monkeypatch.setenv('PATH', '')\n"
        "    monkeypatch.setattr(prometheus, 'UNPACKED', '')\n"
        "    prometheus.find(program)\n"
    )
    options = ("-p", "tests.conftest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n2 tests skipped: no Prometheus; run monitoring/get_prometheus.sh\n" in done.stdout


def test_make_test_goes_on_without_it():
    (recipe,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if SCRIPT in line]
    assert recipe.startswith(f"\t@{SCRIPT} || echo ")
