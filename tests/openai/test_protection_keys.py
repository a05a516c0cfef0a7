# SPDX-License-Identifier: Apache-2.0
"""Who may ask: API keys, and websites by CORS."""

import base64
import subprocess

import pytest

from llm_ensemble.errors import SettingError
from llm_ensemble.settings import read
from openai_frontend.settings import FrontendSettings, check_tls, read_api_keys
from tests.openai.protected import error_of, make_certificate, protected

ORIGIN = "https://chat.example"
ROUTES = [
    ("GET", "/"),
    ("GET", "/v1/models"),
    ("GET", "/v1/names/a"),
    ("POST", "/v1/length"),
    ("GET", "/v1/stream"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/no/such/route"),
    ("GET", "/health/"),
    ("GET", "//health"),
    ("DELETE", "/v1/models"),
    ("OPTIONS", "/v1/models"),
]


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("# of the team\n\nfrom-file\n  indented  \n")
    settings = FrontendSettings(
        openai_api_keys=("first", "second"), openai_api_keys_file=str(keys), openai_cors_origins=(ORIGIN,)
    )
    with protected(settings) as server:
        yield server


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("sent", [None, "Bearer wrong", "Bearer", "first", "Bearer first2", "Bearer firs"])
def test_without_a_key_no_route_answers(closed, method, path, sent):
    status, headers, body = closed.ask(method, path, headers={"Authorization": sent} if sent else {})
    assert status == 401
    assert error_of(body)["code"] == "invalid_api_key"
    assert headers.get_all("www-authenticate") == ["Bearer", 'Basic realm="llm-ensemble", charset="UTF-8"']
    assert closed.api.asked == []


@pytest.mark.parametrize(
    "sent",
    [basic("first", "wrong"), basic("any", ""), "Basic !!!", "Basic " + base64.b64encode(b"first").decode()],
)
def test_a_wrong_password_is_none(closed, sent):
    assert closed.ask("GET", "/v1/models", headers={"Authorization": sent})[0] == 401


@pytest.mark.parametrize("key", ["first", "second", "from-file", "indented"])
def test_each_key_opens_as_a_bearer_and_as_a_password(closed, key):
    for sent in (f"Bearer {key}", f"bearer  {key}", basic("anyone", key), basic("", key)):
        assert closed.ask("GET", "/v1/models", headers={"Authorization": sent})[0] == 200


def test_comments_of_the_file_are_no_keys(closed):
    for key in ("# of the team", "#"):
        assert closed.ask("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})[0] == 401


def test_health_needs_no_key(closed):
    assert closed.ask("GET", "/health")[0] == 200


def test_without_keys_every_client_is_answered():
    with protected() as server:
        assert server.ask("GET", "/v1/models")[0] == 200


def preflight(server, origin, method="POST"):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }
    return server.ask("OPTIONS", "/v1/length", headers=headers)


def test_a_preflight_of_an_allowed_origin_needs_no_key(closed):
    status, headers, _ = preflight(closed, ORIGIN)
    assert status == 200
    assert headers["access-control-allow-origin"] == ORIGIN
    assert "x-stainless-lang" in headers["access-control-allow-headers"]


@pytest.mark.parametrize(("origin", "method"), [("https://evil.example", "POST"), (ORIGIN, "DELETE")])
def test_any_other_preflight_is_refused_in_openai_s_form(closed, origin, method):
    status, headers, body = preflight(closed, origin, method)
    assert status == 400
    assert error_of(body)["code"] == "cors"
    assert headers["access-control-allow-origin"] in (None, ORIGIN)


def test_an_allowed_script_may_read_answers_and_refusals_and_another_neither(closed):
    for key, status in (("first", 200), ("wrong", 401)):
        headers = {"Authorization": f"Bearer {key}", "Origin": ORIGIN}
        answer = closed.ask("GET", "/v1/models", headers=headers)
        assert (answer[0], answer[1]["access-control-allow-origin"]) == (status, ORIGIN)
        assert "x-request-id" in answer[1]["access-control-expose-headers"]
    headers = {"Authorization": "Bearer first", "Origin": "https://evil.example"}
    assert closed.ask("GET", "/v1/models", headers=headers)[1]["access-control-allow-origin"] is None


def test_without_the_setting_no_origin_is_allowed():
    with protected() as server:
        assert (
            server.ask("GET", "/v1/models", headers={"Origin": ORIGIN})[1].get("access-control-allow-origin")
            is None
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEYS", "good, bad key"),
        ("OPENAI_API_KEYS", "schlüssel"),
        ("OPENAI_CORS_ORIGINS", "example.com"),
        ("OPENAI_CORS_ORIGINS", "https://example.com/path"),
        ("OPENAI_MAX_BODY", "8M"),
        ("OPENAI_MAX_CONNECTIONS", "0"),
    ],
)
def test_a_malformed_setting_is_named_and_a_key_not_repeated(name, value):
    with pytest.raises(SettingError, match=f"^{name} must be ") as refused:
        read(FrontendSettings, {name: value})
    assert (value in str(refused.value)) == (name != "OPENAI_API_KEYS")


def test_settings_are_lists_and_what_is_empty_is_none():
    environ = {"OPENAI_API_KEYS": "a, b,", "OPENAI_CORS_ORIGINS": "", "OPENAI_API_KEYS_FILE": ""}
    settings = read(FrontendSettings, environ)
    assert (settings.openai_api_keys, settings.openai_cors_origins) == (("a", "b"), ())
    assert read_api_keys(settings) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("# nothing\n\n", "has no key: write one a line, or unset it"),
        ("a\nb c\n", "line 2 of"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_keys_that_would_leave_the_server_open_or_broken_is_refused(tmp_path, content, told):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match="OPENAI_API_KEYS_FILE: ") as refused:
        read_api_keys(FrontendSettings(openai_api_keys_file=str(path)))
    assert told in str(refused.value)


def test_certificate_and_key_are_checked_together(tmp_path):
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = make_certificate(tmp_path / "other")
    check_tls(FrontendSettings(openai_tls_cert=certificate, openai_tls_key=key))
    for cert_setting, key_setting in (
        (certificate, ""),
        ("", key),
        (certificate, other),
        (certificate, str(tmp_path / "none")),
        (key, certificate),
    ):
        with pytest.raises(SettingError, match="OPENAI_TLS_CERT"):
            check_tls(FrontendSettings(openai_tls_cert=cert_setting, openai_tls_key=key_setting))


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(tmp_path):
    certificate, key = make_certificate(tmp_path)
    locked = str(tmp_path / "locked.pem")
    subprocess.run(
        ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-in", key, "-out", locked],
        check=True,
        capture_output=True,
    )
    with pytest.raises(SettingError, match="cannot be used together"):
        check_tls(FrontendSettings(openai_tls_cert=certificate, openai_tls_key=locked))
