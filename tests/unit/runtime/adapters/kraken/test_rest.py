"""REST answers of every wrong form: none of it is used, what can get better is asked for again, the rest is not."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiohttp import web

from runtime.adapters.kraken.rest import ROWS_MAX, Rest
from runtime.adapters.kraken.settings import FeedSettings
from runtime.errors import EnvironmentFailure

HOUR_T = 3_600
T0 = 1_700_006_400
NAMES = frozenset({"XXBTZUSD", "XBTUSD"})
SETTINGS = replace(FeedSettings.stepped(), rest_attempts_n=2)
OK = object()


def row(n: int, volume: str = "1.5", **changes: object) -> list[object]:
    made: list[object] = [T0 + n * HOUR_T, "1.0", "2.0", "0.5", "1.5", "1.2", volume, 7 if volume != "0" else 0]
    for place, value in changes.items():
        made[int(place[1:])] = value
    return made


def page(rows: Sequence[object], last_n: int = 1, key: str = "XXBTZUSD") -> dict[str, object]:
    return {"error": [], "result": {key: list(rows), "last": T0 + last_n * HOUR_T}}


def ask(*answers: object, question: str = "candles") -> tuple[object, int]:
    """Return what the client makes of answers that come one after another (the last one again and again), and how many calls."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(request.path_qs)
        if isinstance(answer, int):
            return web.Response(status=answer, text="<html>")
        return web.Response(text=answer if isinstance(answer, str) else json.dumps(answer), content_type="application/json")

    async def scene() -> object:
        app = web.Application()
        app.router.add_get("/0/public/{endpoint}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        rest = Rest(f"http://127.0.0.1:{runner.addresses[0][1]}", SETTINGS)
        try:
            if question == "candles":
                return await rest.candles(4, "XBTUSD", NAMES, HOUR_T, T0)
            return await {"time": rest.time_t, "mode": rest.mode, "pairs": rest.asset_pairs}[question]()
        finally:
            await rest.close()
            await runner.cleanup()

    return asyncio.run(scene()), len(asked)


def test_closed_candles_are_read_from_their_text_and_the_last_row_is_never_taken() -> None:
    found, asked_n = ask(page([row(-1), row(0), row(1, "0"), row(2)], last_n=2))
    bars = found.bars  # type: ignore[attr-defined]
    assert asked_n == 1
    assert [(bar.instrument_id, bar.open_t, bar.origin) for bar in bars] == [(4, T0, "rest"), (4, T0 + HOUR_T, "rest")]
    assert bars[0][2:7] == (1.0, 2.0, 0.5, 1.5, 1.5)
    assert all(math.isnan(value) for value in bars[1][2:7])
    assert (found.first_t, found.full) == (T0 - HOUR_T, False)  # type: ignore[attr-defined]


def test_what_the_venue_has_not_closed_is_not_taken_though_later_rows_are_there() -> None:
    found, _ = ask(page([row(0), row(1), row(2)], last_n=0))
    assert [bar.open_t for bar in found.bars] == [T0]  # type: ignore[attr-defined]


def test_a_pair_that_never_traded_and_a_full_page() -> None:
    never, _ = ask({"error": [], "result": {"XXBTZUSD": [], "last": 0}})
    assert never == ([], None, False)
    full, _ = ask(page([row(n) for n in range(ROWS_MAX)], last_n=ROWS_MAX - 2))
    assert full.full  # type: ignore[attr-defined]
    assert len(full.bars) == ROWS_MAX - 1  # type: ignore[attr-defined]


WRONG = {
    "text": "EService",
    "empty": "",
    "html": "<!DOCTYPE html>",
    "cut": '{"error":[],"result":{"XXBTZUSD":[[1700',
    "list": [1],
    "no result": {"error": []},
    "text as result": {"error": [], "result": "x"},
    "two pairs": {"error": [], "result": {"XXBTZUSD": [], "XETHZUSD": [], "last": 0}},
    "another pair": page([row(0)], key="XETHZUSD"),
    "no rows": {"error": [], "result": {"XXBTZUSD": "rows", "last": 0}},
    "no last": {"error": [], "result": {"XXBTZUSD": [row(0), row(1)]}},
    "last as truth": {"error": [], "result": {"XXBTZUSD": [row(0), row(1)], "last": True}},
    "last ahead": page([row(0), row(1)], last_n=2),
    "repeated": page([row(0), row(0), row(1)]),
    "out of order": page([row(1), row(0), row(2)]),
    "a hole": page([row(0), row(2)]),
    "off the grid": page([row(0, f0=T0 + 1)]),
    "null": page([row(0, f0=None)]),
    "float price": page([row(0, f1=1.5)]),
    "price of zero": page([row(0, f3="0.0")]),
    "negative": page([row(0, f6="-1")]),
    "object": page([row(0, f7={"value": 7})]),
    "count below zero": page([row(0, f7=-1)]),
    "short row": page([[T0, "1"]]),
    "no row": page(["x"]),
    "timeout": {"error": ["EService:Timeout"]},
    "busy": {"error": ["EService:Busy"]},
    "too many": {"error": ["EGeneral:Too many requests"]},
    "error of numbers": {"error": 5, "result": {}},
    "503": 503,
    "429": 429,
    "520": 520,
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_answer_is_asked_for_again_and_never_used(name: str) -> None:
    good = page([row(0), row(1)], last_n=0)
    found, asked_n = ask(WRONG[name], good)
    assert asked_n == 2
    assert [bar.open_t for bar in found.bars] == [T0]  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFailure, match="OHLC XBTUSD at http"):
        ask(WRONG[name])


@pytest.mark.parametrize("error", ["EQuery:Unknown asset pair", "EGeneral:Invalid arguments", "EGeneral:Temporary lockout"])
def test_what_asking_again_does_not_mend_is_not_asked_again(error: str) -> None:
    with pytest.raises(EnvironmentFailure, match=error):
        ask({"error": [error]}, page([row(0), row(1)]))


def test_time_mode_and_pairs() -> None:
    assert ask({"error": [], "result": {"unixtime": T0}}, question="time")[0] == T0
    assert ask({"error": [], "result": {"status": "post_only"}}, question="mode")[0] == "post_only"
    assert ask({"error": [], "result": {"A": 1}}, question="pairs")[0] == {"A": 1}
    for question, wrong in (("time", {"unixtime": "soon"}), ("mode", {"status": "gone"})):
        with pytest.raises(EnvironmentFailure):
            ask({"error": [], "result": wrong}, question=question)
