"""What a page says when its runtime, or its own server, does not answer: never old values in fresh colours."""

from __future__ import annotations

import signal
from collections.abc import Callable

from playwright.sync_api import Page

from tests.browser.conftest import Site, is_ready, until

Opener = Callable[..., Page]
IN_FLIGHT_MS = 500
"""What the server said before it was stopped arrives within this real time; after it, only the page's stepped clock moves."""


def stale(page: Page) -> str:
    """Return the watchdog's level: 0 fresh, 1 warned, 2 grey."""
    return str(page.evaluate("document.documentElement.dataset.stale"))


def test_a_dead_server_greys_the_page_and_names_the_command(open_page: Opener, site: Site) -> None:
    page = open_page(stepped=True)
    assert stale(page) == "0"
    site.process.send_signal(signal.SIGSTOP)
    page.wait_for_timeout(IN_FLIGHT_MS)
    try:
        page.clock.run_for(4_500)
        assert stale(page) == "1"
        assert page.text_content("#health b") == "No update"
        page.clock.run_for(5_000)
        assert stale(page) == "2"
        assert "The dashboard server does not answer." in str(page.text_content("#banner"))
        assert "ballast runtime kill --reason" in str(page.text_content("#banner code"))
        assert "grayscale" in page.evaluate("getComputedStyle(document.querySelector('main')).filter")
    finally:
        site.process.send_signal(signal.SIGCONT)


def test_a_grey_page_speaks_of_the_button_that_it_shows(open_page: Opener, site: Site) -> None:
    page = open_page(stepped=True)
    page.evaluate("window.ballast.show('killed', '1')")
    site.process.send_signal(signal.SIGSTOP)
    page.wait_for_timeout(IN_FLIGHT_MS)
    try:
        page.clock.run_for(9_500)
        assert stale(page) == "2"
        assert page.is_visible("#release")
        said = str(page.text_content("#banner"))
        assert "If Release fails here" in said
        assert "Halt" not in said
        assert "ballast runtime kill --release" in str(page.text_content("#banner code"))
    finally:
        site.process.send_signal(signal.SIGCONT)


def test_a_dead_runtime_warns_greys_and_comes_back(open_page: Opener, site: Site) -> None:
    page = open_page()
    port = int(str(site.desk.server.url if site.desk.server else "").rpartition(":")[2])
    site.desk.stop()
    try:
        assert until(lambda: stale(page) == "1", page, 6.0), "a warning after 3 s"
        assert until(lambda: stale(page) == "2", page, 8.0), "grey at 8 s"
        assert "The runtime does not answer" in str(page.text_content("#banner"))
        assert page.text_content("#banner code") == "ballast runtime stop"
        fresh = page.context.new_page()
        assert fresh.goto(site.base + "/alive")
        assert '"runtime": false' in str(fresh.text_content("body"))
    finally:
        site.desk.serve(port)
    assert until(lambda: stale(page) == "0", page), "it recovers without a reload, though the daemon has another token"
    assert page.text_content("#health b") == "Healthy"
    assert page.is_hidden("#banner")
    assert is_ready(page)
