# SPDX-License-Identifier: Apache-2.0
"""The page, the API behind it and the real tritonserver, by a real Chromium."""

import contextlib
import time

import pytest
from selenium.webdriver.common.keys import Keys

from llm_ensemble_client import AsyncClient
from openai_frontend.app import create_app
from openai_frontend.served_model import ServedModel
from serving.tritonserver import free_ports
from tests.asking import GrpcStream, generate
from tests.page.scripted_api import serving
from tests.server.conftest import FREE_STEPS, STEP_SECONDS, tapped_server, with_chat_template, with_limits
from tests.waiting import wait_for

PROMPT = "To change the settings,"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}The package manager"
ANSWERS, ERRORS = ".answer .text", ".error:not([hidden])"


@contextlib.contextmanager
def frontend(engine_dir, grpc_port, metrics_port):
    """Serve the API and the page for a tritonserver; return their address."""
    model = ServedModel.read(engine_dir)
    client = AsyncClient(f"grpc://127.0.0.1:{grpc_port}", timeout=600, retries=False)
    app = create_app(model, client, f"http://127.0.0.1:{metrics_port}/metrics")
    with serving(app) as (url, _):
        yield url


@pytest.fixture(scope="module")
def served(server, served_engine):
    """The address of a page whose model has no chat template."""
    with frontend(served_engine, server.ports.grpc, server.ports.metrics) as url:
        yield url


@pytest.fixture(scope="module")
def slow_chat(served_engine, tmp_path_factory):
    """A tapped server where 4 sequences run and 4 wait, with a chat template; a step takes 20 ms."""
    folder = tmp_path_factory.mktemp("slow-chat")
    small = with_limits(served_engine, folder / "small", max_batch_size=4)
    engine = with_chat_template(small, folder / "engine", TEMPLATE)
    settings = {"MAX_WAITING": 4, "TAP_STEP_SECONDS": STEP_SECONDS}
    with tapped_server(engine, folder, **settings) as tapped:
        yield tapped


@pytest.fixture
def chat(slow_chat):
    """The address of its page; nothing is open there before and after."""
    ports = slow_chat.server.ports
    slow_chat.wait(slow_chat.is_empty)
    with frontend(slow_chat.engine_dir, ports.grpc, ports.metrics) as url:
        yield url
    slow_chat.wait(slow_chat.is_empty)


def answered(browser, text, **fields):
    """Send a text with these fields; return the answer and its figures."""
    for name, value in fields.items():
        browser.fill(f"#{name}", str(value))
    browser.ask_and_wait(text)
    assert browser.texts(ERRORS) == []
    return browser.texts(ANSWERS)[-1], browser.texts(".figures")[-1]


def test_a_text_is_completed(browser, server, served):
    browser.open_known(served)
    text, figures = answered(browser, PROMPT, temperature=0, max_tokens=12)
    expected = generate(server, PROMPT, temperature=0, max_tokens=12)
    assert text == expected["text_output"]
    assert figures.startswith(f"{expected['num_output_tokens']} tokens · ")
    assert browser.complaints == []


def test_every_field_is_served(browser, server, served):
    fields = {"max_tokens": 24, "temperature": 0.9, "top_p": 0.8, "top_k": 20, "min_p": 0.01}
    fields |= {"repetition_penalty": 1.2, "seed": 7}
    browser.open_known(served)
    text, _ = answered(browser, PROMPT, **fields, stop_strings="zzz\n\\n")
    assert text == generate(server, PROMPT, **fields, stop_words=["zzz", "\n"])["text_output"]


def test_a_conversation_is_rendered_by_the_template(browser, slow_chat, chat):
    browser.open_known(chat)
    fields = {"temperature": 0, "max_tokens": 8}
    first, _ = answered(browser, "Hello", **fields, system="Be brief")
    begun = "system: Be brief\nuser: Hello\n"
    as_text = {**fields, "add_special_tokens": False}
    assert first == generate(slow_chat.server, f"{begun}The package manager", **as_text)["text_output"]
    second, _ = answered(browser, "And then?")
    asked = f"{begun}assistant: {first}\nuser: And then?\nThe package manager"
    assert second == generate(slow_chat.server, asked, **as_text)["text_output"]


def talk(browser, tapped, url):
    """Begin an answer that takes seconds."""
    browser.open_known(url)
    browser.fill("#temperature", "100")  # so hot that no end is likely
    browser.run("document.getElementById('temperature').removeAttribute('max')")
    browser.ask("Talk")
    wait_for(lambda: browser.texts(ANSWERS)[0])


@pytest.mark.parametrize("leave", ["Escape", "Stop", "closed"])
def test_leaving_frees_the_engine(browser, slow_chat, chat, leave):
    talk(browser, slow_chat, chat)
    assert slow_chat.state["running"] == 1
    if leave == "Escape":
        browser.press(Keys.ESCAPE)
    elif leave == "Stop":
        browser.one("#stop").click()
    else:
        browser.driver.get("about:blank")
    slow_chat.wait_freed(FREE_STEPS)
    if leave != "closed":
        browser.wait_idle()
        assert browser.texts(".figures")[0].startswith("about ")  # by /tokenize
        assert browser.texts(".figures")[0].endswith("stopped")


def test_what_runs_and_waits_is_shown(browser, slow_chat, chat):
    talk(browser, slow_chat, chat)
    wait_for(lambda: browser.one("#load").text == "1 of 4 running, 0 of 4 waiting")
    browser.press(Keys.ESCAPE)
    wait_for(lambda: browser.one("#load").text == "0 of 4 running, 0 of 4 waiting")


def test_a_full_server_says_when_to_try_again(browser, slow_chat, chat):
    browser.open_known(chat)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stream = stack.enter_context(GrpcStream(slow_chat.server))
            stream.start(text_input="The", max_tokens=400, ignore_eos=True, stream=True)
        slow_chat.wait(lambda: (slow_chat.state["running"], slow_chat.state["waiting"]) == (4, 4))
        browser.ask_and_wait("Hello")
        assert browser.one(ERRORS).text.endswith("Try again in 1 s.")
    slow_chat.wait(slow_chat.is_empty)
    browser.one(".again").click()
    wait_for(lambda: browser.texts(ANSWERS)[0])


def test_what_does_not_fit_is_said(browser, served):
    browser.open_known(served)
    browser.fill("#max_tokens", "500")
    browser.ask_and_wait("word " * 100)
    assert "max_tokens" in browser.one(ERRORS).text


def test_a_server_without_triton_is_said(browser, served_engine):
    ports = free_ports()
    with frontend(served_engine, ports.grpc, ports.metrics) as url:
        browser.open_known(url)
        assert browser.one("#load").text == "Load unknown"
        started = time.monotonic()
        browser.ask_and_wait("Hello")
        assert browser.one(ERRORS).text
        assert time.monotonic() - started < 60
