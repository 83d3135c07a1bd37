"""A browser for the tests of what runs in one, and pages in it; these tests are skipped where there
is none, unless the variable REQUIRE_BROWSER is set."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from charrnn.export.page import page as page_of

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


P = TypeVar("P", bound=Opened)


class Opener(Generic[P]):
    """Opens the pages of models with the network off, and waits until they are ready.

    Args:
        chromium: the browser.
        folder: for the file of the page.
        kind: of the opened page.
        script: runs in every page before its own.
    """

    def __init__(self, chromium: Any, folder: Path, kind: type[P], script: str = "") -> None:
        self._chromium, self._path, self._kind = chromium, folder / "page.html", kind
        self._script = script
        self._opened: list[P] = []

    def __call__(
        self, model: Any, *, fragment: str = "", context: dict[str, Any] | None = None, **given: Any
    ) -> P:
        """The page of a model or of its checkpoint; `given` as for `export.page.page`."""
        html = page_of(getattr(model, "checkpoint", model), **({"weights": "fp32"} | given))
        self._path.write_text(html, encoding="utf-8")
        own = self._chromium.new_context(offline=True, **(context or {}))
        if self._script:
            own.add_init_script(self._script)
        opened = self._kind(own, f"{self._path.as_uri()}{fragment}")
        self._opened.append(opened)
        opened.wait("document.body.dataset.ready !== undefined")
        return opened

    def finish(self) -> None:
        """Close the pages: there were no errors and no requests in any of them."""
        for each in self._opened:
            each.finish()
