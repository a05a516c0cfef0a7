# SPDX-License-Identifier: Apache-2.0
"""Take the README's picture of the page, with a server of the demo model that runs: make serve, then

    .venv/bin/python -m tests.page.picture http://localhost:9000 docs/pictures/page.png

In Inter where Debian's fonts-inter is installed; a machine without a desktop has no font to be proud of.
"""

import os
import sys
import tempfile
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser, start_browser
from tests.waiting import wait_for

SIZE = (1200, 680)
FIELDS = {"temperature": "0.5", "top_p": "0.9", "max_tokens": "48"}
# By seed; what it says depends on the CPU, too. Look at the picture.
PROMPTS = {1: "To change the settings,", 2: "To install the package,", 3: "The package manager"}
PREFER_INTER = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include>/etc/fonts/fonts.conf</include>
  <match target="pattern">
    <test name="family"><string>system-ui</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit>
  </match>
  <match target="pattern">
    <test name="family"><string>sans-serif</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit>
  </match>
</fontconfig>
"""


def main() -> None:
    """Ask for some texts and take the picture."""
    url, path = sys.argv[1:]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as fonts:
        fonts.write(PREFER_INTER)
        fonts.flush()
        os.environ["FONTCONFIG_FILE"] = fonts.name
        browser = Browser(start_browser())
        try:
            browser.open_known(url, SIZE, prefers_color_scheme="light")
            for name, value in FIELDS.items():
                browser.fill(f"#{name}", value)
            browser.ask_and_wait("The first text takes longer")
            browser.one("#clear").send_keys(Keys.ENTER)  # a mouse would stay there
            for seed, prompt in PROMPTS.items():
                browser.fill("#seed", str(seed))
                browser.ask_and_wait(prompt)
            wait_for(lambda: browser.one("#load").text.startswith("0 of"))
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            browser.driver.save_screenshot(path)
        finally:
            browser.driver.quit()


if __name__ == "__main__":
    main()
