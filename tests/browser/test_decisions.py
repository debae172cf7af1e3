"""The page Decisions in a real browser over a real account."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

from reports.dashboards import words
from tests.browser.conftest import Seen, Site, until

Opener = Callable[..., Page]
GATES_S = 30.0
OPENED_WHOLE = """first => {
    const detail = document.querySelector('#detail');
    return detail.dataset.id !== first && detail.textContent.includes('the same bytes')
        && detail.querySelector('.act').textContent.includes('Refused') && detail.querySelectorAll('.gates li').length >= 15;
}"""


def rows(page: Page) -> list[str]:
    """Return the rows of the timeline that are shown."""
    return page.locator(".tabulator-row").all_inner_texts()


def shown(page: Page) -> str:
    """Return how many decisions the filter keeps."""
    return str(page.text_content('[data-b="shown"]'))


def opened(page: Page) -> str:
    """Return the number of the open decision."""
    return str(page.get_attribute("#detail", "data-id"))


def test_a_decision_opens_with_its_gates_hashes_and_command(open_page: Opener, site: Site, seen: Seen) -> None:
    page = open_page("/decisions")
    assert until(lambda: len(rows(page)) == 20, page)
    first = opened(page)
    assert first

    page.locator(".tabulator-row:not(.tabulator-selected)", has_text="Refused").first.click()
    # the decision that was open before stays for a moment: number, words and gates are looked at in one look
    assert until(lambda: page.evaluate(OPENED_WHOLE, first), page, GATES_S), page.text_content("#detail")
    assert page.locator('.gates [data-s="fail"]').count() == 1
    command = page.get_attribute("#cp-replay", "data-copy")
    assert command is not None
    assert command.startswith(f"ballast replay {site.desk.run_dir.name} --explain ")
    assert page.get_attribute("#cp-1", "data-copy") in {b.hex() for b in block_hashes(site)}
    page.click("#explain")
    assert until(lambda: "No contributions" in str(page.text_content("#detail")), page, GATES_S), (
        "this account's bundle has no models"
    )
    assert (seen.errors, seen.outside) == ([], [])


def block_hashes(site: Site) -> list[bytes]:
    """Return the hashes of the account's blocks."""
    return [block.block_hash for block in site.desk.blocks()]


def test_numbers_of_gates_are_shown_whole(open_page: Opener) -> None:
    page = open_page("/decisions")
    assert until(lambda: len(rows(page)) == 20, page)
    first = opened(page)
    page.locator(".tabulator-row:not(.tabulator-selected)", has_text="Refused").first.click()
    assert until(lambda: page.evaluate(OPENED_WHOLE, first), page, GATES_S)
    page.evaluate("document.querySelectorAll('.gates .gl').forEach(e => { e.textContent = '\u2264 466,419.25 USD'; })")
    cut = page.evaluate(
        "[...document.querySelectorAll('.gates :is(.gv, .gl)')].filter(e => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight + 1).map(e => e.textContent)"
    )
    assert cut == []


def test_filters_narrow_and_clear(open_page: Opener, seen: Seen) -> None:
    page = open_page("/decisions")
    everything = shown(page)
    page.click('[data-action="refused"]')
    assert until(lambda: shown(page) != everything, page)
    assert until(lambda: all("Refused" in row for row in rows(page)), page)
    page.select_option("[name=asset]", "ETH")
    assert until(lambda: all("ETH/USD" in row for row in rows(page)), page)
    page.select_option("[name=gate]", "CLOCK_SKEW")
    assert until(lambda: shown(page) == "0", page)
    assert until(lambda: page.locator(".tabulator-placeholder").is_visible(), page)
    page.click("text=Clear filters")
    assert until(lambda: shown(page) == everything, page)
    assert until(lambda: len(rows(page)) == 20, page)
    assert seen.errors == []


def test_pages_are_fetched_from_the_server(open_page: Opener) -> None:
    page = open_page("/decisions")
    assert until(lambda: len(rows(page)) == 20, page)
    before = rows(page)
    page.locator('.tabulator-page[data-page="next"]').click()
    assert until(lambda: rows(page) != before and len(rows(page)) == 20, page)


def test_arrows_move_between_decisions(open_page: Opener) -> None:
    page = open_page("/decisions")
    assert until(lambda: len(rows(page)) == 20, page)
    page.focus("#dectab")
    first = int(opened(page))
    page.keyboard.press("ArrowDown")
    assert until(lambda: int(opened(page)) < first, page)
    assert until(lambda: f"id={opened(page)}" in page.url, page), "the address names the decision"
    page.keyboard.press("ArrowUp")
    assert until(lambda: int(opened(page)) == first, page)


def test_an_address_opens_its_decision_as_a_drawer_on_a_narrow_window(open_page: Opener) -> None:
    page = open_page("/decisions?id=7", width=1024)
    assert opened(page) == "7"
    assert until(lambda: page.evaluate("document.querySelector('#panel').classList.contains('open')"), page)
    assert page.evaluate("document.activeElement.id") == "panel"
    page.keyboard.press("Escape")
    assert not page.evaluate("document.querySelector('#panel').classList.contains('open')")
    assert page.evaluate("document.activeElement.id") == "dectab"


def test_a_new_decision_appears_on_top(open_page: Opener, site: Site) -> None:
    page = open_page("/decisions")
    assert until(lambda: len(rows(page)) == 20, page)
    before = shown(page)
    for _ in range(4):
        site.desk.advance_hour()
    assert until(lambda: shown(page) != before, page)
    newest = words.moment(int(site.desk.desk.now_t), "%Y-%m-%d %H")
    assert until(lambda: newest[:10] in rows(page)[0], page)
