"""A real browser for the tests of pages."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Nothing of Chromium's own may call the network; its sandbox does not work for root.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
]


def _chromium() -> str | None:
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once. Missing, it skips these tests, except in CI, where it fails them."""
    missing = []
    if not _chromium():
        missing.append("Chromium (apt-get install chromium)")
    if not importlib.util.find_spec("playwright"):
        missing.append("playwright (pip install playwright)")
    if missing:
        reason = "browser tests need " + " and ".join(missing)
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)

    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # ends only what never comes, on a busy machine too
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A JupyterLab of its own."""
    if not importlib.util.find_spec("jupyterlab"):
        reason = "notebook tests need JupyterLab (pip install 'ecco-captum[dev]')"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from lab import Lab

    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens HTML from a file, without network; any error or request of the page fails the test."""
    contexts, complaints, requests = [], [], []

    def opened(html: str, *, width: int = 1100, **options: Any) -> Any:
        options = {"offline": True, "viewport": {"width": width, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        requests.remove(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
    assert not [url for url in requests if not url.startswith("blob:")]  # a blob is the page's own
