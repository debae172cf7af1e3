"""The report about runs of the real trading loop: equal to the backtest where nothing differs, and the one cause where something does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from runtime.divergence.attribution import Divergence, attribute
from runtime.divergence.period import ForecastsAt, read_period
from runtime.divergence.stored_record import BARS_NAME, StoredRecord
from runtime.engine import RunInputs
from runtime.inference.panel import BarPanel
from runtime.market import BookView, ClosedBar
from runtime.trading.commands import Halt, Kill
from runtime.trading.settings import TradingSettings
from tests.support.checks import BUSY
from tests.support.markets import random_inputs
from tests.support.trading import HOUR_T, START_T, Bench, ScriptedForecasts, book, cut

WARM_N, HOURS = 24, 140
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T
HALF_T = START_T + 80 * HOUR_T
NO_COSTS = {"latency_t": 0, "half_spread_ppm": 0, "slippage_ppm": 0, "impact_ppm": 0, "participation_ppm": 100_000}


def calm_account(seed: int, **changes: object) -> RunInputs:
    """Return a paper account's market in which every bar is there and deep, so that every order fills at once."""
    profile = BUSY.model_copy(update={"limit_ppm": 200_000, **changes})
    inputs = random_inputs(seed, HOURS, 5, profile, wildness=1.5)
    for s in range(5):
        last = inputs.bars[np.flatnonzero(inputs.bars["present_n"][:, s])[0], s].copy()
        for row in inputs.bars[:, s]:
            if row["present_n"] == 0:
                for name in ("open_e8", "high_e8", "low_e8", "close_e8"):
                    row[name] = last["close_e8"]
                row["present_n"] = 1
            row["volume_e4"] = 10**12
            last = row.copy()
    return cut(inputs, WARM_N)


class ShortWindow:
    """The scripted bundle, content with a window that the short tail of a test has."""

    window_n = 3

    def __init__(self, forecasts: ScriptedForecasts) -> None:
        self._forecasts = forecasts

    def forecast(self, panel: BarPanel) -> ForecastsAt | None:
        """Return the run's forecast of the panel's last bar."""
        return self._forecasts.forecast(panel)


def report(bench: Bench) -> Divergence:
    """Return the report, held against what must be true of any."""
    genesis = bench.inputs.genesis
    record = StoredRecord(bench.folder / BARS_NAME, genesis, ShortWindow(bench.forecaster))
    found = attribute("run", read_period(genesis, bench.journal.read()), record)
    bench.close()
    assert found.explained
    assert sum(cause.amount_e8 for cause in found.causes) == found.paper_value_e8 - found.backtest_value_e8
    assert len(found.orders) > 10
    return found


def blamed(found: Divergence) -> set[str]:
    """Return the causes that changed something."""
    return {cause.cause for cause in found.causes if cause.amount_e8 or cause.orders_n}


async def to_the_end(bench: Bench) -> None:
    """Go on hour by hour, after what a restart must wait for."""
    bench.clock.at_t = bench.clock.now_t() + 21
    await bench.settled()
    await bench.hours(int(bench.inputs.close_t[-1]))


def opening_books(inputs: RunInputs, at_t: int) -> Sequence[BookView]:
    """Return a book of every instrument at the price at which its next bar opens, deep enough for anything."""
    n = int(np.searchsorted(inputs.close_t, at_t)) + 1
    prices = inputs.bars["open_e8"][n][:5].tolist() if n < len(inputs.close_t) else []
    return [book(s, at_t, price, price, 10**15) for s, price in enumerate(prices)]


def test_without_a_book_the_run_equals_its_backtest(tmp_path: Path) -> None:
    """Orders are acknowledged, beats and sessions are journaled, and every record is the backtest's."""
    bench = Bench(tmp_path, calm_account(2), BEGIN_T)
    bench.run(to_the_end)
    found = report(bench)
    assert found.equal, [table for table in found.tables if table.first]
    assert blamed(found) == set()


def test_with_a_book_that_never_constrains_the_run_equals_its_backtest(tmp_path: Path) -> None:
    """Quotes and fills come from the book, without spread, without costs, without latency."""
    inputs = calm_account(3, **NO_COSTS)
    bench = Bench(tmp_path, inputs, BEGIN_T, TradingSettings(warm_up_n=WARM_N, quote_move_ppm=1_000_000))

    async def play(bench: Bench) -> None:
        await bench.step(bench.clock.now_t(), books=opening_books(inputs, bench.clock.now_t()))
        for at_t in inputs.close_t[WARM_N + 1 :].tolist():
            await bench.step(at_t, books=opening_books(inputs, at_t))

    bench.run(play)
    found = report(bench)
    assert found.equal, [table for table in found.tables if table.first]
    assert blamed(found) == set()


@pytest.mark.parametrize("crash", [False, True])
def test_hours_without_the_daemon_are_restart(tmp_path: Path, crash: bool) -> None:
    """Three hours missed, caught up without decisions; stopped, or dead."""
    bench = Bench(tmp_path, calm_account(2), BEGIN_T)

    class Dead(Exception):
        pass

    async def half(bench: Bench) -> None:
        await bench.hours(HALF_T)
        if crash:
            raise Dead

    if crash:
        with pytest.raises(Dead):
            bench.run(half)
    else:
        bench.run(half)
    bench.clock.at_t = HALF_T + 3 * HOUR_T + 17 * 60
    bench.reopen()
    bench.run(to_the_end)
    found = report(bench)
    assert blamed(found) == {"restart"}
    assert (found.hours.late, found.hours.missed, found.hours.unmade) == (3, 0, 0)


def test_a_minute_without_the_daemon_changes_nothing(tmp_path: Path) -> None:
    """A restart between two hours leaves no trace in any record."""
    bench = Bench(tmp_path, calm_account(2), BEGIN_T)

    async def half(bench: Bench) -> None:
        await bench.hours(HALF_T)

    bench.run(half)
    bench.clock.at_t = HALF_T + 60
    bench.reopen()
    bench.run(to_the_end)
    found = report(bench)
    assert found.equal
    assert blamed(found) == set()


def test_what_the_operator_commands_is_the_operator(tmp_path: Path) -> None:
    """A kill for a day, then a halt for a day."""
    bench = Bench(tmp_path, calm_account(2), BEGIN_T)

    async def play(bench: Bench) -> None:
        await bench.hours(HALF_T)
        assert (await bench.ask(Kill(actor="ada", command_id="1", on=True))).accepted
        await bench.hours(HALF_T + 24 * HOUR_T)
        assert (await bench.ask(Kill(actor="ada", command_id="2", on=False))).accepted
        assert (await bench.ask(Halt(actor="ada", command_id="3", on=True))).accepted
        await bench.hours(HALF_T + 48 * HOUR_T)
        assert (await bench.ask(Halt(actor="ada", command_id="4", on=False))).accepted
        await to_the_end(bench)

    bench.run(play)
    assert blamed(report(bench)) == {"operator"}


def test_a_bar_that_the_venue_corrects_is_data(tmp_path: Path) -> None:
    """The last hour closed ten percent lower than the stream said, which the tail has on record."""
    bench = Bench(tmp_path, calm_account(2), BEGIN_T)
    bench.run(to_the_end)
    open_t = int(bench.inputs.close_t[-1]) - HOUR_T
    for s in range(5):
        seen = bench.market.bar(open_t, s)
        low = seen.close * 0.9
        corrected = ClosedBar(s, open_t, seen.open, seen.high, min(seen.low, low), low, seen.volume, "rest")
        assert bench.tail.put([corrected]) == [corrected]
    found = report(bench)
    assert blamed(found) == {"data"}
    assert found.hours.changed == 1
    assert found.paper_value_e8 > found.backtest_value_e8
