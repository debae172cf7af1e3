"""A real account, its real control API, the real dashboards' process, and the system's Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.watched_desk import WatchedDesk, watched_inputs

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic",
]  # fmt: skip
START_S: Final = 60.0
WAIT_S: Final = 20.0
AHEAD_N: Final = 300


def chromium_path() -> str | None:
    """Return the system's Chromium, `None` where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Site:
    """The dashboards' process over an account."""

    desk: WatchedDesk
    link: str
    process: subprocess.Popen[str]

    @property
    def base(self) -> str:
        """Its address."""
        return self.link.partition("/login")[0]


@dataclass
class Seen:
    """What went wrong on a page."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


def until(holds: Callable[[], bool], page: Page | None = None, wait_s: float = WAIT_S) -> bool:
    """Return whether something comes to hold in time. A page's own events go on meanwhile."""
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s:
        if holds():
            return True
        if page is not None:
            page.wait_for_timeout(20)
        else:
            time.sleep(0.02)
    return False


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedDesk]:
    """Serve an account of twenty days; 300 events are kept back."""
    made = WatchedDesk(tmp_path_factory.mktemp("watched"), watched_inputs(), AHEAD_N)
    made.serve()
    yield made
    made.close()


@pytest.fixture(scope="session")
def site(desk: WatchedDesk) -> Iterator[Site]:
    """Run `ballast dashboard` over the account."""
    command = [str(Path(sys.executable).with_name("ballast")), "dashboard", "--home", str(desk.home), "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    assert link.startswith("http://127.0.0.1:"), link
    yield Site(desk, link, process)
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(10)
    finally:
        process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run the system's Chromium, without a window and without a network.

    For a module, not for the session: while Playwright's synchronous interface is open this thread has a running event loop, and
    tests of other folders, which come in any order, run loops of their own.
    """
    path = chromium_path()
    if path is None:
        assert not os.environ.get("CI"), "CI has a Chromium: see docs/how-to/watch-and-steer.md"
        pytest.skip("no Chromium: install the system's package `chromium`; these tests run in CI")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, headless=True)
        yield running
        running.close()


@pytest.fixture
def seen() -> Seen:
    """Return what pages of the test do wrong; `open_page` fills it, and it must stay empty unless the test says otherwise."""
    return Seen()


@pytest.fixture
def open_page(site: Site, browser: Browser, seen: Seen) -> Iterator[Callable[..., Page]]:
    """Return what opens a page in a session of its own, ready for use."""
    contexts = []

    def opened(
        path: str = "/overview",
        *,
        width: int = 1440,
        height: int = 900,
        theme: str = "light",
        system: str = "",
        stepped: bool = False,
    ) -> Page:
        """Open a page; with `system` (light or dark) as one who has chosen no theme."""
        context = browser.new_context(
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
            color_scheme="dark" if system == "dark" else "light",
        )
        contexts.append(context)
        if not system:
            context.add_cookies([{"name": "ballast_theme", "value": theme, "url": site.base}])
        context.add_init_script("""
            window.shifts = [];
            new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) window.shifts.push(e.value); })
                .observe({type: 'layout-shift', buffered: true});
        """)
        page = context.new_page()
        page.on("console", lambda m: seen.errors.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: seen.errors.append(str(e)))
        page.on("request", lambda r: None if _local(r.url) else seen.outside.append(r.url))
        if stepped:
            page.clock.install()
        context.request.get(site.link, max_redirects=0)
        page.goto(site.base + path)
        assert until(lambda: is_ready(page), page), "the page's live connection"
        return page

    yield opened
    for context in contexts:
        context.close()


def is_ready(page: Page) -> bool:
    """Return whether the page's live connection is up."""
    return bool(page.evaluate("!!(window.ballast && window.ballast.stats.ready_ms > 0)"))


def _local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob") or parts.hostname == "127.0.0.1"
