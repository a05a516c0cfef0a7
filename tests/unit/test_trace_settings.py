# SPDX-License-Identifier: Apache-2.0
import pytest

from build_scripts.tracing import tracing
from llm_ensemble.errors import SettingError

URL = "http://localhost:4318/v1/traces"


def test_nothing_is_traced_unless_a_collector_is_named():
    assert tracing({}) == tracing({"TRACE_URL": "", "TRACE_RATE": ""}) == []


def test_every_request_is_traced_unless_told_otherwise():
    for environ, rate in (({}, 1), ({"TRACE_RATE": "100"}, 100)):
        options = tracing({"TRACE_URL": URL, **environ})
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
def test_a_url_that_triton_would_split_or_that_is_no_plain_http_is_refused(url):
    with pytest.raises(SettingError, match="^TRACE_URL must be like http://localhost:4318/v1/traces, not"):
        tracing({"TRACE_URL": url})


@pytest.mark.parametrize("rate", ["0", "-1", "1.5", "all", "1 "])
def test_a_rate_that_is_no_number_of_requests_is_refused(rate):
    with pytest.raises(SettingError, match="^TRACE_RATE must be a whole number of requests, at least 1, not"):
        tracing({"TRACE_URL": URL, "TRACE_RATE": rate})


def test_a_rate_without_a_collector_is_refused():
    with pytest.raises(SettingError, match="^TRACE_RATE does nothing without TRACE_URL"):
        tracing({"TRACE_RATE": "10"})
