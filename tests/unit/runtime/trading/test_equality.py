"""The loop makes the blocks of a backtest: by the bars where there is no book, and by a book that never constrains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.core import codes as c
from runtime.core.digest import Block
from runtime.engine import RunInputs, iterate_blocks
from runtime.market import BookView
from runtime.trading.settings import TradingSettings
from tests.support.trading import HOUR_T, START_T, Bench, account, book

WARM_N = 24
ECONOMIC = (c.EV_BARS, c.EV_FILL, c.EV_DEPOSIT, c.EV_CLUSTERS)


def backtest(inputs: RunInputs) -> list[Block]:
    return [block for blocks in iterate_blocks(inputs) for block in blocks]


def same(ours: list[Block], theirs: list[Block]) -> None:
    """The same events at the same times, and the same rows of every one of them."""
    assert [(b.kind_id, b.at_t) for b in ours] == [(b.kind_id, b.at_t) for b in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.payload == other.payload, (mine.kind_id, mine.at_t)


def test_without_books_the_blocks_are_the_backtests(tmp_path: Path) -> None:
    inputs = account(seed=2, hours=260, warm_n=WARM_N)
    bench = Bench(tmp_path, inputs, START_T + (WARM_N + 1) * HOUR_T, acknowledges=False, durable=True)

    async def play(bench: Bench) -> None:
        await bench.hours(int(inputs.close_t[-1]))

    bench.run(play)
    theirs = backtest(inputs)
    assert sum(b.kind_id == c.EV_FILL for b in theirs) > 30
    assert sum(b.kind_id == c.EV_CLUSTERS for b in theirs) == 2
    same(bench.blocks(*ECONOMIC), theirs)
    bench.close()


def opening_books(inputs: RunInputs, at_t: int) -> list[BookView]:
    """A book of every instrument at the price at which its next bar opens, deep enough for anything."""
    n = int(np.searchsorted(inputs.close_t, at_t)) + 1
    if n >= len(inputs.close_t):
        return []
    row = inputs.bars[n]
    opens = ((s, int(row[s]["open_e8"])) for s in range(len(inputs.genesis.symbols)) if row[s]["present_n"])
    return [book(s, at_t, price, price, 10**15) for s, price in opens]


def test_a_book_that_never_constrains_gives_the_backtests_blocks(tmp_path: Path) -> None:
    inputs = account(
        seed=3,
        hours=260,
        warm_n=WARM_N,
        latency_t=0,
        half_spread_ppm=0,
        slippage_ppm=0,
        impact_ppm=0,
        participation_ppm=100_000,
    )
    inputs.bars["volume_e4"][inputs.bars["present_n"] == 1] = 10**15
    settings = TradingSettings(warm_up_n=WARM_N, quote_move_ppm=1_000_000)
    bench = Bench(tmp_path, inputs, START_T + (WARM_N + 1) * HOUR_T, settings, acknowledges=False)

    async def play(bench: Bench) -> None:
        await bench.step(bench.clock.now_t(), books=opening_books(inputs, bench.clock.now_t()))
        for at_t in inputs.close_t[WARM_N + 1 :].tolist():
            await bench.step(at_t, books=opening_books(inputs, at_t))

    bench.run(play)
    theirs = backtest(inputs)
    assert sum(b.kind_id == c.EV_FILL for b in theirs) > 30
    same(bench.blocks(*ECONOMIC), theirs[: len(bench.blocks(*ECONOMIC))])
    assert len(theirs) - len(bench.blocks(*ECONOMIC)) <= 6
    bench.close()
