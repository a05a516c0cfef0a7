# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.page.browser import Browser, start_browser
from tests.page.scripted_api import Script, make_app, serving


@pytest.fixture(scope="session")
def chromium():
    driver = start_browser()
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def browser(chromium):
    """The one Chromium of this process, at an empty page before and after."""
    chromium.driver.get("about:blank")
    yield chromium
    chromium.driver.get("about:blank")  # which ends what the page had open


@pytest.fixture
def script():
    """What the scripted server does; it chats unless a test says otherwise."""
    return Script()


@pytest.fixture
def scripted(script):
    """The address of a scripted server."""
    with serving(make_app(script)) as (url, _):
        yield url
