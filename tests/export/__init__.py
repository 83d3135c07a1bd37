"""A browser for the tests of what runs in one, and pages in it; these tests are skipped where there
is none, unless the variable REQUIRE_BROWSER is set."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_S = 20


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None and "REQUIRE_BROWSER" in os.environ:
        pytest.fail("there is no Chromium")
    if path is None:
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page that was opened from a file, and what went wrong in it."""

    def __init__(self, context: Any, url: str) -> None:
        self.problems: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(1000 * WAIT_S)
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._requested)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.log(event.blockedURI))"
        )
        self.page.goto(url)

    def finish(self) -> None:
        """Close the page: it shows no value that is missing, and nothing went wrong."""
        shown = self.page.evaluate("document.body.innerText")
        assert not re.search(r"\b(null|undefined|NaN)\b", shown), shown
        self.page.context.close()
        assert self.problems == []

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "blob:", "data:")):
            self.problems.append(request.url)

    def wait(self, condition: str) -> None:
        """Wait until an expression is true.  Playwright's own way is an eval in the page, which its
        policy refuses."""
        until = time.monotonic() + WAIT_S
        while not self.page.evaluate(condition):
            assert time.monotonic() < until, condition
            self.page.wait_for_timeout(20)
