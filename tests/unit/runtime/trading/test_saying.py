"""What the loop says of itself: why nothing is entered, a feed that stays away, and a disk that took no block."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure
from runtime.market import Notice, NoticeKind
from runtime.trading.needs import Hooks, LogFields
from runtime.trading.saying import FeedLog
from runtime.trading.settings import TradingSettings
from tests.support.trading import HOUR_T, START_T, Bench, account, book
from tests.unit.runtime.trading.test_crashes import DyingJournal

WARM_N = 24
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T
DAY_T = 86_400


def bench_of(tmp_path: Path, *, durable: bool = False) -> Bench:
    settings = TradingSettings(warm_up_n=WARM_N, quote_move_ppm=1_000_000)
    return Bench(tmp_path, account(seed=2, hours=80, warm_n=WARM_N), BEGIN_T, settings, durable=durable)


def reasons(bench: Bench) -> list[str]:
    return list(bench.trader.view.reasons)


def sound(bench: Bench) -> None:
    """Show a book of every instrument at the present time."""
    at_t = bench.clock.now_t()
    bench.market.put(*(book(s, at_t, 10_000_000_000, 10_000_000_010) for s in range(5)))


def test_nothing_is_said_when_all_is_well_and_books_are_missed(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        await bench.settled()
        assert reasons(bench) == ["no usable book of 5 instruments"]
        sound(bench)
        await bench.settled()
        assert reasons(bench) == []
        assert bench.told.lines[-1] == "entries are possible"
        bench.market.put(Notice(NoticeKind.CHECKSUM, 0, 0, ""))
        await bench.settled()
        assert reasons(bench) == [], "the others can be entered"
        for s in range(1, 5):
            bench.market.put(Notice(NoticeKind.CHECKSUM, s, 0, ""))
        await bench.settled()
        assert reasons(bench) == ["no usable book of 5 instruments"]

    bench.run(play)
    waits = [str(fields["reasons"]) for name, fields in bench.told.warned if name == "nothing is entered"]
    assert waits[-1] == "no usable book of 5 instruments"
    bench.close()


def test_a_venue_that_starts_earlier_is_behind_the_journal(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def some(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 3 * HOUR_T)

    bench.run(some)
    last_t = bench.trader.view.now_t
    bench.clock._now_ms -= 2 * DAY_T * 1_000
    bench.told.warned.clear()
    bench.reopen()

    async def later(bench: Bench) -> None:
        await bench.settled()
        sound(bench)
        for _ in range(5):
            await bench.step(bench.clock.now_t() + 60)

    bench.run(later)
    behind_t = last_t - bench.clock.now_t()
    (said,) = [reason for reason in bench.trader.view.reasons if "behind the journal" in reason]
    assert said.startswith(f"the clock (venue time) is behind the journal by {behind_t} s")
    told = [fields for name, fields in bench.told.warned if name == "nothing is entered"]
    assert sum("behind the journal" in str(fields["reasons"]) for fields in told) <= 3, "once per change, not per second"
    assert told
    bench.close()


def test_bars_that_stay_away_and_a_tier_without_entries_are_reasons(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        await bench.hours(BEGIN_T + HOUR_T)
        bench.market.broken = set(range(5))
        sound(bench)
        bound_t = int(bench.recovered.desk.policy[0]["rules"]["bar_age_max_t"])
        await bench.step(BEGIN_T + 2 * HOUR_T + bound_t - 1)
        assert not [r for r in bench.trader.view.reasons if "no bar" in r]
        await bench.step(BEGIN_T + 2 * HOUR_T + bound_t + 70)
        assert [r for r in bench.trader.view.reasons if "no bar since " in r]

    bench.run(play)
    row = bench.recovered.desk.state[0]["desk"]
    row["tier_id"], row["recovering_n"] = 3, 99
    bench.recovered.desk.policy[0]["tiers"][3]["allow_entry_n"] = 0
    said = " / ".join(bench.trader._viewer.look(bench.clock.now_ms()).reasons)
    assert "the drawdown tier HALT20 allows no entries" in said
    assert "99 severe losses" in said
    bench.close()


def test_what_the_first_forecast_needs_is_warmed_on_bars_that_are_there(tmp_path: Path) -> None:
    """The bars since the bundle was made are fetched later: a forecast without them would ask no model."""
    bench = bench_of(tmp_path)
    until_t = BEGIN_T - 3 * HOUR_T
    bench.tail.put([bench.market.bar(t, s) for t in range(START_T, until_t, HOUR_T) for s in range(5)])
    bench.trader._desk.warm_up()
    assert bench.forecaster.asked_t == [until_t]
    bench.close()


def test_a_feed_that_stays_away_is_one_line_and_then_a_count() -> None:
    said: list[tuple[str, str, LogFields]] = []
    hooks = Hooks(
        load_bundle=lambda _path: pytest.fail("no bundle is loaded"),
        log=lambda name, fields: said.append(("info", name, dict(fields))),
        warn=lambda name, fields: said.append(("warning", name, dict(fields))),
    )
    log = FeedLog(hooks)
    for n in range(610):  # two minutes of it
        log.take(Notice(NoticeKind.LOST, -1, 0, "refused"), 1_000_000 + n * 200)
    assert [(level, name, fields["attempts_n"]) for level, name, fields in said] == [
        ("warning", "feed: lost", 1), ("warning", "feed: lost", 301), ("warning", "feed: lost", 601),
    ]  # fmt: skip
    log.take(Notice(NoticeKind.CONNECTED, -1, 0, ""), 2_000_000)
    assert said[-1] == ("info", "feed: connected", {"instrument_id": -1, "text": "", "attempts_n": 610})
    log.take(Notice(NoticeKind.LOST, -1, 0, "again"), 2_000_001)
    assert said[-1] == ("warning", "feed: lost", {"instrument_id": -1, "text": "again", "attempts_n": 1})


def test_the_reason_of_a_halt_is_the_block_that_was_not_written(tmp_path: Path) -> None:
    """A full disk takes no evidence either: what is told is the first failure."""
    bench = bench_of(tmp_path, durable=True)
    bench.run(lambda bench: bench.hours(BEGIN_T + HOUR_T))
    full = EnvironmentFailure("no room for a block", expected="a disk with room", action="free space")

    def no_evidence(_name: str, _content: bytes) -> None:
        raise EnvironmentFailure("cannot write evidence", expected="room", action="choose another folder with --out")

    bench.reopen(lambda journal: DyingJournal(journal, 4, written=False, error=full))
    bench.use(dataclasses.replace(bench.hooks, keep_evidence=no_evidence))
    with pytest.raises(EnvironmentFailure, match="no room for a block"):
        bench.run(lambda bench: bench.hours(BEGIN_T + 4 * HOUR_T))
    assert bench.trader.view.reasons[0].startswith("no room for a block")
    assert "the evidence is not kept" in [name for name, _ in bench.told.warned]
    bench.close()
