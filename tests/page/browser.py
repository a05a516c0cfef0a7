# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium without a window, driven through chromedriver as a person's hands and eyes would."""

import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.conftest import NO_CHROMIUM
from tests.waiting import wait_for

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE, PHONE = (1200, 800), (320, 640)


class Browser:
    """One Chromium and the page that is open in it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url, size=WIDE, **media):
        """Open a page in a screen of this size, with these CSS media features."""
        self.resize(*size)
        self.prefer(**media)
        self.driver.get(url)
        self.driver.get_log("browser")  # what others left

    def open_known(self, url, *args, **media):
        """Open the page, and wait until it knows its model."""
        self.open(url, *args, **media)
        wait_for(lambda: self.one("#send").is_enabled())

    def resize(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, **media):
        """Set media features: prefers_color_scheme="dark"."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        """The texts of elements, to the letter: as they are in the document, not as they are laid out."""
        return [one.get_property("textContent") for one in self.all(selector)]

    def run(self, script, *args):
        """Run JavaScript in the page; return what it returns."""
        return self.driver.execute_script(script, *args)

    def press(self, *keys, shift=False):
        """Press keys, as whatever has the focus gets them."""
        chain = ActionChains(self.driver)
        if shift:
            chain.key_down(Keys.SHIFT)
        chain.send_keys(*keys)
        if shift:
            chain.key_up(Keys.SHIFT)
        chain.perform()

    def fill(self, selector, text):
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def ask(self, text):
        """Send a text, and wait for nothing."""
        self.one("#prompt").send_keys(text, Keys.ENTER)

    def ask_and_wait(self, text):
        self.ask(text)
        self.wait_idle()

    def wait_idle(self):
        """Wait until no answer is being written and the last one has its figures or its error."""
        wait_for(lambda: self.one("#send").is_displayed() and self._has_end())

    def _has_end(self):
        script = "const all = document.querySelectorAll('.turn'), last = all[all.length - 1];"
        script += "return last.querySelector('.figures').textContent.includes(' · ') || "
        script += "!last.querySelector('.error').hidden"
        return self.run(script)

    @property
    def focused(self):
        return self.driver.switch_to.active_element

    @property
    def complaints(self):
        """What the page wrote to the console since this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def start_browser():
    """Start Chromium; skip the test if there is none, or nothing to drive it with."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip(NO_CHROMIUM)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("headless=new", "no-first-run", "disable-background-networking", "no-proxy-server"):
        options.add_argument(f"--{option}")
    options.add_argument("--disable-dev-shm-usage")  # containers have little of it
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # root may have none; the pages are this project's
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))
