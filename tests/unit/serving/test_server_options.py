# SPDX-License-Identifier: Apache-2.0
import resource
import subprocess
from pathlib import Path

import pytest

from llm_ensemble.errors import SettingError
from llm_ensemble.settings import read
from serving import server_options
from serving.installation import Installation
from serving.server_options import STACK_BYTES, admin_options, trace_options, with_stack_limit
from serving.settings import ServerSettings

RESTRICTED = "model-repository,shared-memory,trace,logging:admin-key="
URL = "http://localhost:4318/v1/traces"


def settings(environ):
    return read(ServerSettings, environ)


def test_both_protocols_restrict_the_same_apis_with_the_same_key():
    http, grpc = admin_options(settings({}))
    assert http.removeprefix("--http-restricted-api=") == grpc.removeprefix("--grpc-restricted-protocol=")
    assert http.removeprefix("--http-restricted-api=").startswith(RESTRICTED)


def test_without_a_key_it_is_another_one_each_time_and_one_no_header_can_carry():
    keys = {admin_options(settings({}))[0].partition("admin-key=")[2] for _ in range(5)}
    assert len(keys) == 5
    assert all(len(key) == 65 and key.endswith("\n") for key in keys)


def test_a_key_is_used_as_it_is():
    assert admin_options(settings({"ADMIN_KEY": "0123456789-._abc"}))[0].endswith(
        ":admin-key=0123456789-._abc"
    )


def test_an_empty_key_opens_nothing():
    assert admin_options(settings({"ADMIN_KEY": ""}))[0].endswith("\n")


@pytest.mark.parametrize(
    "key", ["short", "fifteen-letters", "sixteen letters!", "sixteen=letters=", "a" * 16 + "\n"]
)
def test_a_key_that_is_short_or_that_triton_would_split_is_refused(key):
    with pytest.raises(SettingError, match="ADMIN_KEY must be 16 or more letters"):
        admin_options(settings({"ADMIN_KEY": key}))


def test_nothing_is_traced_without_a_collector():
    assert trace_options(settings({})) == trace_options(settings({"TRACE_URL": "", "TRACE_RATE": ""})) == []


def test_every_request_is_traced_unless_a_rate_is_set():
    for environ, rate in (({}, 1), ({"TRACE_RATE": "100"}, 100)):
        options = trace_options(settings({"TRACE_URL": URL, **environ}))
        assert f"--trace-config=opentelemetry,url={URL}" in options
        assert f"--trace-config=rate={rate}" in options


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "https://a/v1/traces",
        "http://a:4318",
        "http://a/b,c",
        "http://a/b=c",
        "http://a/b\n",
    ],
)
def test_a_url_that_triton_would_split_or_that_is_not_plain_http_is_refused(url):
    with pytest.raises(SettingError, match="^TRACE_URL must be like http://localhost:4318/v1/traces, not"):
        trace_options(settings({"TRACE_URL": url}))


@pytest.mark.parametrize("rate", ["0", "-1", "1.5", "all", "1 "])
def test_a_rate_that_is_no_number_of_requests_is_refused(rate):
    with pytest.raises(SettingError, match="^TRACE_RATE must be a whole number of requests, at least 1, not"):
        trace_options(settings({"TRACE_URL": URL, "TRACE_RATE": rate}))


def test_a_rate_without_a_collector_is_refused():
    with pytest.raises(SettingError, match="^TRACE_RATE does nothing without TRACE_URL"):
        trace_options(settings({"TRACE_RATE": "10"}))


def tritonserver(*version):
    return Installation(Path("t"), Path("b"), Path("s"), (), version or None)


OLD = tritonserver(2, 51)
SHOW_LIMITS = ("/bin/sh", "-c", "ulimit -s; ulimit -Hs")


def stack_limits(*before):
    """The soft and the hard limit, in kilobytes, of a command that is started so."""
    done = subprocess.run(
        [*before, *with_stack_limit(OLD), *SHOW_LIMITS], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_command_gets_deep_stacks_and_keeps_its_hard_limit():
    _, hard = subprocess.run(SHOW_LIMITS, capture_output=True, text=True, check=True).stdout.split()
    assert stack_limits() == [str(STACK_BYTES // 1024), hard]


def test_stacks_are_no_deeper_than_the_hard_limit_allows():
    assert stack_limits("prlimit", "--stack=8388608:16777216") == ["16384", "16384"]


def test_stacks_stay_as_they_are_where_address_space_counts_as_memory(monkeypatch, tmp_path):
    (tmp_path / "overcommit").write_text("2\n")
    monkeypatch.setattr(server_options, "OVERCOMMIT", tmp_path / "overcommit")
    assert with_stack_limit(OLD) == ()


@pytest.mark.parametrize(("limit", "raised"), [(1 << 34, False), (resource.RLIM_INFINITY, True)])
def test_stacks_stay_as_they_are_where_address_space_is_limited(monkeypatch, limit, raised):
    monkeypatch.setattr(server_options.resource, "getrlimit", lambda _: (limit, limit))
    assert bool(with_stack_limit(OLD)) == raised


@pytest.mark.parametrize(
    ("version", "raised"), [((), True), ((2, 70), True), ((2, 71), False), ((3, 0), False)]
)
def test_stacks_stay_as_they_are_for_a_server_that_does_not_need_more(version, raised):
    assert bool(with_stack_limit(tritonserver(*version))) == raised
