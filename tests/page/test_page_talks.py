# SPDX-License-Identifier: Apache-2.0
"""What the page asks for and shows, in a real Chromium. The server behind it says what the test wants."""

import json
import time

import pytest

from tests.page.browser import PHONE, WIDE
from tests.page.scripted_api import make_app, serving
from tests.waiting import wait_for

ANSWERS, PROMPTS, ERRORS = ".answer .text", ".ask .text", ".error:not([hidden])"
POLL_SECONDS = 2  # as in page.js


def button(browser, turn, name):
    return browser.all(".turn")[turn].find_element("css selector", f".{name}")


def test_a_conversation_is_sent_whole(browser, script, scripted):
    browser.open_known(scripted)
    browser.fill("#system", "Be brief.")
    browser.ask_and_wait("How are you?")
    script.texts = ["Fine", " too."]
    browser.ask_and_wait("And the others?")
    assert browser.texts(ANSWERS) == ["All is well.", "Fine too."]
    assert browser.texts(PROMPTS) == ["How are you?", "And the others?"]
    assert script.asked[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "All is well."},
        {"role": "user", "content": "And the others?"},
    ]
    assert script.asked[1]["stream_options"] == {"include_usage": True}
    assert browser.complaints == []


def test_a_text_is_shown_while_it_comes(browser, script, scripted):
    script.texts, script.seconds = ["One", " two"] + [" more"] * 1000, 0.05
    browser.open_known(scripted)
    browser.ask("Count")
    wait_for(lambda: browser.texts(ANSWERS)[0].startswith("One two"))
    assert browser.one("#stop").is_displayed()
    assert not browser.one("#send").is_displayed()


def test_each_answer_has_its_figures(browser, script, scripted):
    script.seconds = 0.05
    browser.open_known(scripted)
    browser.ask_and_wait("How are you?")
    figures = browser.one(".figures").text
    tokens, rate, first = figures.split(" · ")
    assert tokens == "3 tokens"
    assert 0 < float(rate.removesuffix(" tokens/s")) <= 20.5  # two more tokens, at least 50 ms each
    assert float(first.removeprefix("first token after ").removesuffix(" s")) >= 0.05
    script.bytes_at_once = 10_000  # all at once, after 0.15 s
    browser.ask_and_wait("How are you?")
    assert 0 < float(browser.texts(".figures")[1].split(" · ")[1].removesuffix(" tokens/s")) <= 20.5
    script.finish_reason = "length"
    browser.ask_and_wait("More")
    assert browser.texts(".figures")[2].endswith("ended at the limit")


def test_the_fields_are_sent_as_they_are_filled_in(browser, script, scripted):
    browser.open_known(scripted)
    browser.ask_and_wait("Nothing filled in")
    untouched = {"model", "stream", "stream_options", "temperature", "messages"}
    assert script.asked[0].keys() == untouched
    values = {
        "max_tokens": 7, "temperature": 0, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
        "repetition_penalty": 1.1, "seed": 2**53 - 1,
    }  # fmt: skip
    for name, value in values.items():
        browser.fill(f"#{name}", str(value))
    browser.fill("#stop_strings", "\\n\\n\nUser:")
    browser.ask_and_wait("All filled in")
    sent = {name: script.asked[1][name] for name in [*values, "stop"]}
    assert sent == {**values, "stop": ["\n\n", "User:"]}
    browser.one("#fields [type=reset]").click()
    browser.ask_and_wait("Reset")
    assert script.asked[2].keys() == untouched


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_a_field_out_of_range_is_not_sent(browser, script, scripted, size):
    browser.open_known(scripted, size)
    browser.run("document.getElementById('top_p').value = 2")  # on a phone it is in a dialog
    browser.ask("How are you?")
    wait_for(lambda: browser.focused.get_attribute("id") == "top_p")
    assert browser.one("#prompt").get_property("value") == "How are you?"
    assert script.asked == []


def test_a_model_without_a_chat_template_completes_texts(browser, script, scripted):
    script.has_chat_template, script.texts = False, [" world", ", and", " more"]
    browser.open_known(scripted)
    assert not browser.one("#system").is_displayed()
    browser.ask_and_wait("Hello")
    assert (script.asked[0]["prompt"], script.asked[0]["max_tokens"]) == ("Hello", 128)
    assert browser.texts(ANSWERS) == [" world, and more"]
    asked, answered = (browser.one(selector).rect for selector in (".ask .text", ANSWERS))
    assert asked["y"] == answered["y"]  # in one line, as one text
    assert browser.texts(".said") == ["YouHelloscripted/model world, and more"]  # and not a blank more
    button(browser, 0, "continue").click()
    wait_for(lambda: len(script.asked) == 2)
    assert script.asked[1]["prompt"] == "Hello world, and more"


def test_stop_ends_the_request_and_keeps_the_text(browser, script, scripted):
    script.texts, script.seconds = ["word "] * 1000, 0.02
    browser.open_known(scripted)
    browser.ask("Talk")
    wait_for(lambda: len(browser.texts(ANSWERS)[0]) > 10)
    browser.one("#stop").click()
    assert browser.focused.get_attribute("id") == "prompt"
    wait_for(lambda: script.left == script.asked)
    browser.wait_idle()
    text = browser.texts(ANSWERS)[0]
    count = len(text.split())
    assert browser.one(".figures").text.startswith(f"about {count} tokens")
    assert browser.one(".figures").text.endswith("stopped")
    script.texts = ["Yes."]
    browser.ask_and_wait("Still there?")
    assert script.asked[1]["messages"][1] == {"role": "assistant", "content": text}


def test_an_edited_message_replaces_what_followed(browser, script, scripted):
    browser.open_known(scripted)
    for text in ("First", "Second", "Third"):
        browser.ask_and_wait(text)
    button(browser, 1, "edit").click()
    assert browser.one("#prompt").get_property("value") == "Second"
    browser.one("#cancel-edit").click()
    assert browser.texts(PROMPTS) == ["First", "Second", "Third"]
    button(browser, 1, "edit").click()
    browser.ask_and_wait(", edited")
    assert browser.texts(PROMPTS) == ["First", "Second, edited"]
    contents = [message["content"] for message in script.asked[-1]["messages"]]
    assert contents == ["First", "All is well.", "Second, edited"]


def test_try_again_writes_the_last_answer_anew(browser, script, scripted):
    browser.open_known(scripted)
    browser.ask_and_wait("First")
    script.texts = ["Another ", "one"]
    button(browser, 0, "again").click()
    browser.wait_idle()
    assert browser.texts(ANSWERS) == ["Another one"]
    assert script.asked[1]["messages"] == [{"role": "user", "content": "First"}]


def test_an_answer_can_be_copied(browser, script, scripted):
    allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": allowed})
    browser.open_known(scripted)
    browser.ask_and_wait("First")
    button(browser, 0, "copy").click()
    wait_for(lambda: browser.one("#notice").get_property("textContent") == "Copied")
    read = "navigator.clipboard.readText().then(arguments[0])"
    assert browser.driver.execute_async_script(read) == "All is well."
    wait_for(lambda: button(browser, 0, "copy").text == "Copy")
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": []})  # none, then
    button(browser, 0, "copy").click()
    wait_for(lambda: browser.one("#notice").get_property("textContent") == "The browser did not allow it")
    browser.driver.execute_cdp_cmd("Browser.resetPermissions", {})


def test_clear_forgets_the_conversation(browser, script, scripted):
    browser.open_known(scripted)
    browser.ask_and_wait("First")
    browser.one("#clear").click()
    assert browser.all(".turn") == []
    assert browser.one("#welcome").is_displayed()
    browser.ask_and_wait("Second")
    assert [message["content"] for message in script.asked[1]["messages"]] == ["Second"]


def test_clear_ends_what_is_being_written(browser, script, scripted):
    script.texts, script.seconds = ["word "] * 1000, 0.02
    browser.open_known(scripted)
    browser.ask("Talk")
    wait_for(lambda: browser.texts(ANSWERS)[0])
    browser.one("#clear").click()
    wait_for(lambda: script.left == script.asked)
    assert browser.all(".turn") == []


@pytest.mark.parametrize(
    ("status", "headers", "message", "shown"),
    [
        (400, {}, "max_tokens must be at least 1", "max_tokens must be at least 1"),
        (429, {"Retry-After": "3"}, "The queue is full", "The queue is full. Try again in 3 s."),
        (401, {}, "No key", "wants an API key"),
        (503, {}, "Triton cannot be reached", "Triton cannot be reached"),
    ],
)
def test_a_refusal_is_shown_in_words(browser, script, scripted, status, headers, message, shown):
    browser.open_known(scripted)
    script.status, script.headers, script.message = status, headers, message
    browser.ask_and_wait("How are you?")
    assert shown in browser.one(ERRORS).text
    assert shown in browser.one("#notice").get_property("textContent")
    script.status = 200
    button(browser, 0, "again").click()
    wait_for(lambda: browser.texts(ANSWERS) == ["All is well."])
    browser.wait_idle()
    assert browser.all(ERRORS) == []


def test_the_key_that_the_browser_asked_for_is_sent_with_all(browser, script, scripted):
    script.key = "secret"
    browser.open_known(scripted.replace("//", "//me:secret@"))
    browser.ask_and_wait("How are you?")
    assert browser.texts(ANSWERS) == ["All is well."]


def test_an_unanswered_message_is_not_sent_again(browser, script, scripted):
    """Many templates refuse two messages of the user in a row."""
    browser.open_known(scripted)
    script.status, script.message = 500, "It failed"
    browser.ask_and_wait("First")
    script.status = 200
    browser.ask_and_wait("Second")
    assert script.asked[1]["messages"] == [{"role": "user", "content": "Second"}]


@pytest.mark.parametrize(
    ("after", "shown"),
    [("error", "The engine ended"), ("cut", "The connection ended before the answer did.")],
)
def test_an_error_in_the_middle_keeps_the_text(browser, script, scripted, after, shown):
    script.after, script.message = after, "The engine ended"
    browser.open_known(scripted)
    browser.ask_and_wait("How are you?")
    assert (browser.texts(ANSWERS), browser.one(ERRORS).text) == (["All is well."], shown)


def test_a_server_that_is_gone_is_said(browser, script):
    with serving(make_app(script)) as (url, stop):
        browser.open_known(url)
        stop()
        browser.ask_and_wait("How are you?")
        assert browser.one(ERRORS).text == "No connection to the server. Is it still running?"
        wait_for(lambda: browser.one("#load").text == "Not reachable")


@pytest.mark.parametrize("chats", [True, False])
def test_what_a_model_writes_is_text_and_nothing_else(browser, script, scripted, chats):
    evil = ["<img src=x onerror='window.ran = 1'>", "<script>window.ran = 1</script>", "</p></div><b>bold"]
    script.texts, script.has_chat_template, script.names = evil, chats, ("<u>name</u>",)
    browser.open_known(scripted)
    browser.ask_and_wait("<i>Hello</i>")
    assert browser.texts(ANSWERS) == ["".join(evil)]
    assert browser.one("h1").text == "<u>name</u>"
    script.after, script.message = "error", "<img src=x onerror='window.ran = 1'>"
    browser.ask_and_wait("Again")
    assert browser.one(ERRORS).text == script.message
    assert browser.all("img, body script, b, i, u") == []
    assert browser.run("return window.ran") is None


def test_texts_cut_anywhere_come_out_whole(browser, script, scripted):
    """A stream is cut into packets at any byte."""
    script.texts = ["naïve ", "日本語", " 🙂\r\n\r\n", "data: [DONE]\n\n", json.dumps({"error": 1})]
    script.bytes_at_once = 3
    browser.open_known(scripted)
    browser.ask_and_wait("Hello")
    assert browser.texts(ANSWERS) == ["".join(script.texts)]


def test_the_load_is_asked_for_only_while_one_looks(browser, script, scripted):
    browser.open_known(scripted)
    wait_for(lambda: script.paths["/status"] >= 2)
    here = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    before = script.paths["/status"]
    time.sleep(3 * POLL_SECONDS)
    assert script.paths["/status"] <= before + 1  # one may have been under way
    before = script.paths["/status"]
    browser.driver.close()
    browser.driver.switch_to.window(here)
    wait_for(lambda: script.paths["/status"] > before)
