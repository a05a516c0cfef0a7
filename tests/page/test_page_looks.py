# SPDX-License-Identifier: Apache-2.0
"""How the page looks and how it is worked with: on a phone, by keyboard alone, in the dark, by ear."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.page.browser import PHONE
from tests.waiting import wait_for

SMALLEST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
SMALLEST_TARGET = 24  # CSS pixels; WCAG 2.2, 2.5.8
LONG = "https://example.org/" + "a" * 300

# The contrast of every text and placeholder that is shown, but for what is disabled, which WCAG leaves out.
CONTRASTS = """
const luminance = ([r, g, b]) => {
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const ground = (element) => {
  for (; element; element = element.parentElement) {
    const [r, g, b, alpha = 1] = numbers(getComputedStyle(element).backgroundColor);
    if (alpha === 1) return [r, g, b];
    if (alpha !== 0) throw new Error("half transparent");
  }
};
const ratio = (color, element) => {
  const [low, high] = [luminance(numbers(color)), luminance(ground(element))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const found = [];
for (const element of document.body.querySelectorAll("*:not(script, style, noscript, template)")) {
  if (!element.checkVisibility() || element.matches(":disabled")) continue;
  const isText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const style = getComputedStyle(element);
  if (isText || element.value) found.push([element.textContent || element.id, ratio(style.color, element)]);
  if (element.placeholder) {
    found.push([element.placeholder, ratio(getComputedStyle(element, "::placeholder").color, element)]);
  }
}
return found;
"""
OVERFLOWING = """
return [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
  && !one.closest(".unseen, .who") && one.getBoundingClientRect().right > innerWidth + 0.5)
  .map((one) => one.outerHTML);
"""


def show_everything(browser, script, url, *args, **media):
    """Open the page with an answer, an error and an edited message."""
    browser.open_known(url, *args, **media)
    browser.ask_and_wait("How are you?")
    script.status, script.message = 429, f"The queue is full, see {LONG}"
    browser.ask_and_wait("And the others?")
    script.status = 200


@pytest.mark.parametrize("chats", [True, False])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser, script, scripted, scheme, chats):
    script.has_chat_template = chats
    show_everything(browser, script, scripted, prefers_color_scheme=scheme)
    contrasts = browser.run(CONTRASTS)
    shown = [text for text, _ in contrasts]
    assert {"Settings", "How are you?", "All is well.", "Send" if chats else "Complete"} <= {*shown}
    assert [one for one in contrasts if one[1] < SMALLEST_CONTRAST] == []


def test_the_page_is_dark_where_one_prefers_that(browser, scripted):
    brightness = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    browser.open_known(scripted, prefers_color_scheme="light")
    assert min(browser.run(brightness)) > 240
    browser.prefer(prefers_color_scheme="dark")
    assert max(browser.run(brightness)) < 40


def test_nothing_moves_where_one_prefers_that(browser, script, scripted):
    script.texts, script.seconds = ["word "] * 1000, 0.05
    running = "return document.getAnimations().length"
    browser.open_known(scripted, prefers_reduced_motion="no-preference")
    browser.ask("Talk")
    wait_for(lambda: browser.run(running) == 1)
    browser.prefer(prefers_reduced_motion="reduce")
    wait_for(lambda: browser.run(running) == 0)


@pytest.mark.parametrize("chats", [True, False])
def test_a_phone_needs_no_sideways_scrolling(browser, script, scripted, chats):
    script.has_chat_template, script.texts, script.names = chats, [LONG, "\n", LONG], ("a/" + "name" * 40,)
    show_everything(browser, script, scripted, PHONE)
    browser.one("#prompt").send_keys(LONG)
    for _ in range(2):  # without and with the settings
        assert browser.run("return document.documentElement.scrollWidth") == PHONE[0]
        for inner in browser.all("#conversation, #settings, #composer"):
            assert browser.run("return arguments[0].scrollWidth <= arguments[0].clientWidth", inner)
        assert browser.run(OVERFLOWING) == []
        if not browser.one("#settings").is_displayed():
            browser.one("#open-settings").click()
    assert browser.one("#settings").is_displayed()


def test_the_end_stays_in_view_when_a_phone_is_turned(browser, script, scripted):
    script.texts = ["word "] * 500
    below = "const one = document.querySelector('#conversation');"
    below += "return one.scrollHeight - one.scrollTop - one.clientHeight"
    browser.open_known(scripted, PHONE)
    browser.ask_and_wait("Talk")
    assert browser.run(below) < 2
    browser.resize(PHONE[1], PHONE[0])
    wait_for(lambda: browser.run("return innerWidth") == PHONE[1] and browser.run(below) < 2)
    browser.resize(*PHONE)
    wait_for(lambda: browser.run("return innerWidth") == PHONE[0] and browser.run(below) < 2)
    browser.run("document.querySelector('#conversation').scrollTop = 0")  # one reads the beginning
    wait_for(lambda: browser.run(below) > 1000)
    browser.resize(PHONE[1], PHONE[0])
    wait_for(lambda: browser.run("return innerWidth") == PHONE[1])
    assert browser.run(below) > 100


def test_buttons_are_large_enough_for_a_finger(browser, script, scripted):
    show_everything(browser, script, scripted, PHONE)
    for button in browser.all("button"):
        if button.is_displayed():
            assert min(button.rect["width"], button.rect["height"]) >= SMALLEST_TARGET, button.accessible_name


def test_settings_are_beside_the_text_where_there_is_room(browser, scripted):
    browser.open_known(scripted)
    assert browser.one("#settings").is_displayed()
    assert not browser.one("#open-settings").is_displayed()
    browser.fill("#top_k", "5")
    browser.press(Keys.ENTER)  # which would close a dialog
    assert browser.one("#settings").is_displayed()
    browser.resize(*PHONE)
    wait_for(lambda: not browser.one("#settings").is_displayed())
    browser.resize(1200, 800)
    wait_for(browser.one("#settings").is_displayed)
    assert browser.one("#top_k").get_property("value") == "5"


def test_every_field_and_button_has_a_name(browser, script, scripted):
    show_everything(browser, script, scripted)
    for field in browser.all("input, textarea"):
        assert browser.run("return arguments[0].labels.length", field) == 1, field.get_attribute("id")
    named = browser.all("button, input, textarea, #conversation, #settings")
    names = [one.accessible_name for one in named if one.is_displayed()]
    assert all(names)
    assert {"Max tokens", "Repetition penalty", "Stop strings", "System prompt", "Message"} <= {*names}
    headings = browser.run("return [...document.querySelectorAll('h1, h2, h3')].map((h) => h.tagName)")
    assert headings.count("H1") == 1
    ids = browser.run("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len({*ids})


def test_an_answer_is_read_out_when_it_is_whole(browser, script, scripted):
    script.texts, script.seconds = ["word "] * 1000, 0.02
    browser.open_known(scripted)
    browser.ask("Talk")
    wait_for(lambda: browser.texts(".answer .text")[0])
    log = browser.one("#conversation")
    assert (log.aria_role, browser.one(".answer").get_attribute("aria-busy")) == ("log", "true")
    browser.press(Keys.ESCAPE)
    browser.wait_idle()
    assert browser.one(".answer").get_attribute("aria-busy") is None
    notice = browser.one("#notice")
    assert (notice.aria_role, notice.get_property("textContent")) == ("status", "Stopped")


def test_one_can_talk_by_keyboard_alone(browser, script, scripted):
    browser.open_known(scripted)
    browser.press("First line")
    browser.press(Keys.ENTER, shift=True)
    browser.press("second line", Keys.ENTER)
    browser.wait_idle()
    assert script.asked[0]["messages"][0]["content"] == "First line\nsecond line"
    script.texts, script.seconds = ["word "] * 1000, 0.02
    browser.press("Talk", Keys.ENTER)
    wait_for(lambda: browser.texts(".answer .text")[1])
    browser.press(Keys.ESCAPE)
    wait_for(lambda: script.left == script.asked[1:])
    browser.wait_idle()
    browser.press("the focus stays")
    assert browser.one("#prompt").get_property("value") == "the focus stays"


def test_enter_that_takes_a_suggestion_sends_nothing(browser, script, scripted):
    browser.open_known(scripted)
    composition = {"text": "にほ", "selectionStart": 2, "selectionEnd": 2}
    browser.driver.execute_cdp_cmd("Input.imeSetComposition", composition)
    event = "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, cancelable: true})"
    assert browser.run(f"return document.activeElement.dispatchEvent({event})"), "was taken"
    assert script.asked == []


def test_the_tab_key_reaches_all_and_shows_where_it_is(browser, script, scripted):
    show_everything(browser, script, scripted)
    script_of_focus = """
      const one = document.activeElement, box = one.closest(".box");
      if (box && one.matches("textarea")) return getComputedStyle(box).boxShadow !== "none";
      return getComputedStyle(one).outlineStyle !== "none";
    """
    reached = set()
    for _ in range(60):
        browser.press(Keys.TAB)
        if browser.focused.tag_name == "body":
            continue
        reached.add(browser.focused.id)
        assert browser.run(script_of_focus), browser.focused.get_attribute("outerHTML")
    targets = [one for one in browser.all("button, input, textarea, #conversation") if one.is_displayed()]
    missed = [one.get_attribute("outerHTML") for one in targets if one.is_enabled() and one.id not in reached]
    assert missed == []


def test_the_settings_of_a_phone_open_and_close_by_keyboard(browser, script, scripted):
    browser.open_known(scripted, PHONE)
    for _ in range(30):
        browser.press(Keys.TAB)
        if browser.focused.get_attribute("id") == "open-settings":
            break
    browser.press(Keys.ENTER)
    assert browser.one("#settings").is_displayed()
    assert browser.run("return document.querySelector('#settings').contains(document.activeElement)")
    browser.press(Keys.ESCAPE)
    wait_for(lambda: not browser.one("#settings").is_displayed())
    assert browser.focused.get_attribute("id") == "open-settings"
