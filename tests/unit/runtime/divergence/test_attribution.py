"""Each planted difference is found under its own cause and no other; without one the paper run equals its backtest.

It is over 400 lines because every cause that the report names has its planted case here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from runtime import event as ev
from runtime.adapters.simulator import Reply, SimulatedExchange
from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.core.records import BAR, RECORD_TYPES, STATE
from runtime.divergence.attribution import Divergence, attribute
from runtime.divergence.period import NoRecord, Record, read_period, unanswered
from runtime.engine import RunInputs, iterate_blocks
from runtime.errors import UsageError
from runtime.event import BundleNote, Event, Note
from runtime.inference.bundle import Forecasts
from runtime.policy import FeeTier, ProfileVersion
from runtime.ports import VenueEvent
from tests.support.checks import BUSY
from tests.support.markets import random_inputs
from tests.support.paper import clerk
from tests.support.paper_desk import Known, PaperDesk, Plant

HOURS = 260
INTERVAL_T = 3_600


def calm_inputs(seed: int = 2, hours: int = HOURS, **changes: object) -> RunInputs:
    """Return a market whose every bar is there and deep, so that every order fills at once: a book that never constrains."""
    profile = BUSY.model_copy(update={"limit_ppm": 200_000, **changes})
    inputs = random_inputs(seed, hours, 6, profile)
    bars = inputs.bars.copy()
    for s in range(6):
        last = bars[np.flatnonzero(bars["present_n"][:, s])[0], s].copy()
        for row in bars[:, s]:
            if row["present_n"] == 0:
                row["open_e8"] = row["high_e8"] = row["low_e8"] = row["close_e8"] = last["close_e8"]
                row["present_n"] = 1
            row["volume_e4"] = 10**15
            last = row.copy()
    genesis = inputs.genesis.model_copy(update={"mode_id": c.MODE_PAPER})
    return RunInputs(genesis, bars, inputs.close_t, inputs.forecasts, inputs.clusters)


@pytest.fixture(scope="module")
def inputs() -> RunInputs:
    """Return the market."""
    return calm_inputs()


@pytest.fixture(scope="module")
def fills(inputs: RunInputs) -> list[np.void]:
    """Return the fills of the undisturbed run."""
    rows = [decode_payload(block.payload) for block in PaperDesk(inputs).run() if block.kind_id == c.EV_FILL]
    return [row["order_fill"][0] for row in rows]


def report(inputs: RunInputs, plant: Plant, record: Record | None = None) -> Divergence:
    """Return the report about a run with something planted."""
    period = read_period(inputs.genesis, PaperDesk(inputs, plant).run())
    found = attribute("run", period, record or Known(inputs))
    assert found.explained
    assert sum(cause.amount_e8 for cause in found.causes) == found.paper_value_e8 - found.backtest_value_e8
    return found


def blamed(found: Divergence) -> dict[str, int]:
    """Return what each cause that changed something is worth; a cause that changed orders only counts, too."""
    return {cause.cause: cause.amount_e8 for cause in found.causes if cause.amount_e8 or cause.orders_n}


def hour_of(inputs: RunInputs, at_t: int) -> int:
    """Return the hour in which something happened."""
    return int(np.searchsorted(inputs.close_t, at_t))


@pytest.mark.parametrize("seed", [2, 3, 7])
@pytest.mark.parametrize("acknowledges", [True, False])
def test_without_a_difference_paper_equals_its_backtest(seed: int, acknowledges: bool) -> None:
    """Every record of every type is the backtest's, but for what acknowledgements alone make different."""
    inputs = calm_inputs(seed)
    found = report(inputs, Plant(acknowledges=acknowledges))
    assert found.equal, [table for table in found.tables if table.first]
    assert {table.table for table in found.tables} >= {
        "trade_signal", "order_request", "order_fill", "executed_trade", "cash_ledger", "portfolio_hourly_state",
    }  # fmt: skip
    assert blamed(found) == {}
    assert found.backtest_value_e8 == found.paper_value_e8
    assert len(found.orders) > 10
    assert not any(order.causes for order in found.orders)


def test_entries_that_rest_pay_the_makers_fee_in_both_runs() -> None:
    """The modelled liquidity is the profile's: a resting entry is no difference, and neither fill nor fee."""
    found = report(calm_inputs(maker_entry=True), Plant(acknowledges=False))
    assert found.equal
    assert blamed(found) == {}
    assert any(order.side == "BUY" and order.paper and order.paper.fee_e8 for order in found.orders)


@pytest.mark.parametrize("seed", [2, 5])
def test_the_first_run_is_the_engines_backtest(seed: int) -> None:
    """The modelled venue of the report fills as `sweep` does, also with gaps, thin bars and expiries."""
    thin = random_inputs(seed, 400, 6, BUSY, wildness=1.5)
    genesis = thin.genesis.model_copy(update={"mode_id": c.MODE_PAPER})
    thin = RunInputs(genesis, thin.bars, thin.close_t, thin.forecasts, thin.clusters)
    found = report(thin, Plant(acknowledges=False))
    assert found.equal
    rows: dict[str, int] = dict.fromkeys((record.name for record in RECORD_TYPES), 0)
    last = 0
    for block in (block for blocks in iterate_blocks(thin) for block in blocks):
        for name, table in decode_payload(block.payload).items():
            rows[name] += len(table)
            last = int(table["pv_e8"][-1]) if name == "portfolio_hourly_state" else last
    assert {table.table: table.backtest_n for table in found.tables} == {name: n for name, n in rows.items() if n}
    assert found.backtest_value_e8 == last


def test_a_bar_seen_otherwise_is_data(inputs: RunInputs) -> None:
    """A live bar that the venue corrected afterwards."""

    def seen(i: int, rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        if i == HOURS - 1:
            for s in range(6):
                rows[s]["close_e8"] = rows[s]["low_e8"] = rows[s]["low_e8"] * 97 // 100
        return rows

    found = report(inputs, Plant(seen=seen))
    assert set(blamed(found)) == {"data"}
    assert found.hours.changed == 1


def test_a_bar_that_came_too_late_is_data(inputs: RunInputs, fills: list[np.void]) -> None:
    """An hour without the bar of an instrument, which is on record by now."""
    fill = fills[len(fills) // 2]
    hour, s = hour_of(inputs, int(fill["at_t"])), int(fill["instrument_id"])

    def seen(i: int, rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        if i == hour:
            rows[s] = np.zeros((), BAR)
        return rows

    assert set(blamed(report(inputs, Plant(seen=seen)))) == {"data"}


def quotes(inputs: RunInputs, hour: int, share_ppm: int) -> Plant:
    """Return quotes of every instrument after an hour's bars, at a share of the hour's closes."""
    closes = inputs.bars[hour]["close_e8"][:6].tolist()
    prices = [close * share_ppm // 10**6 for close in closes]
    return Plant(after={hour: lambda at_t: [ev.quote(at_t + 1, s, p, p + 2, moved=True) for s, p in enumerate(prices)]})


def test_a_quote_that_decides_is_data(inputs: RunInputs) -> None:
    """A fall within an hour, at which positions are sold that the bars would have kept."""
    found = report(inputs, quotes(inputs, HOURS // 2, 500_000))
    assert set(blamed(found)) == {"data"}
    assert next(cause.orders_n for cause in found.causes if cause.cause == "data") > 0


@pytest.mark.parametrize("share_ppm", [995_000, 1_004_000])
def test_quotes_of_an_unfinished_hour_are_marks_and_cost_nothing(inputs: RunInputs, share_ppm: int) -> None:
    """A run that stops within an hour is marked at its last quotes, its backtest at the last bars: no cause of what was done."""
    plant = quotes(inputs, HOURS - 1, share_ppm)
    period = read_period(inputs.genesis, PaperDesk(inputs, plant).run())
    found = report(inputs, plant)
    held = period.final[0]["positions"][:6]
    closes = inputs.bars[-1]["close_e8"][:6]
    rows = zip(held["qty_e8"].tolist(), held["mark_e8"].tolist(), closes.tolist(), strict=True)
    expected = sum(qty * mark // 10**8 - qty * close // 10**8 for qty, mark, close in rows if qty)
    assert expected != 0
    assert {name: amount for name, amount in blamed(found).items() if amount} == {"mark": expected}
    assert found.causes[-1].cause == "mark"
    assert found.causes[-1].orders_n == 0
    assert found.causes[-1].value_e8 == found.paper_value_e8
    assert found.causes[-2].value_e8 == found.backtest_value_e8


def test_a_quote_before_the_last_bars_leaves_no_mark(inputs: RunInputs) -> None:
    """The next bar of the instrument marks it in both runs."""
    assert "mark" not in blamed(report(inputs, quotes(inputs, HOURS - 2, 999_900)))


def test_a_delayed_fill_is_latency(inputs: RunInputs, fills: list[np.void]) -> None:
    """A fill an hour late, at the prices of its own bar."""
    for fill in fills[5:15:3]:
        found = report(inputs, Plant(slow={(hour_of(inputs, int(fill["at_t"])), int(fill["instrument_id"]))}))
        assert set(blamed(found)) == {"latency"}


@pytest.mark.parametrize("late_t", [600, 3_599])
def test_a_fill_delayed_within_its_hour_changes_no_money(inputs: RunInputs, fills: list[np.void], late_t: int) -> None:
    """Late by the same bar, also when that has closed, as without a book: the order's times differ, and nothing is lost."""
    chosen = int(fills[8]["order_id"])

    def late(fill: VenueEvent) -> VenueEvent:
        return fill._replace(at_t=fill.at_t + late_t) if fill.order_id == chosen else fill

    assert blamed(report(inputs, Plant(fill=late))) == {"latency": 0}


def test_bars_that_come_late_are_latency(inputs: RunInputs, fills: list[np.void]) -> None:
    """Decisions forty seconds after the hour, which therefore miss the modelled venue's next bar."""
    hour = hour_of(inputs, int(fills[6]["at_t"])) - 1
    assert set(blamed(report(inputs, Plant(late_t={hour: 40})))) == {"latency"}


def test_a_worse_book_is_fill(inputs: RunInputs) -> None:
    """Half a percent worse on every fill."""

    def worse(fill: VenueEvent) -> VenueEvent:
        buy = fill.price_e8 < fill.reference_e8
        return fill._replace(price_e8=fill.price_e8 * (995 if buy else 1_005) // 1_000)

    found = report(inputs, Plant(fill=worse))
    assert "fill" in blamed(found)
    assert set(blamed(found)) == {"fill"}


def test_maker_instead_of_taker_is_fee(inputs: RunInputs) -> None:
    """The same fills at the maker's rate."""
    found = report(inputs, Plant(fill=lambda fill: fill._replace(liquidity_id=c.MAKER)))
    assert set(blamed(found)) == {"fee"}
    assert blamed(found)["fee"] > 0


def changed_profile(inputs: RunInputs, **fields: object) -> Note:
    """Return the note of another profile."""
    profile = inputs.genesis.profile.model_copy(update={"version": 2, **fields})
    return Note(actor="ada", reason="a test", profile=ProfileVersion.seal(profile, "a test"))


def test_another_fee_tier_is_fee(inputs: RunInputs) -> None:
    """A profile with a dearer fee schedule and nothing else."""
    note = changed_profile(inputs, fees=(FeeTier(volume_e8=0, maker_ppm=2_500, taker_ppm=9_000),))
    found = report(inputs, Plant(after={40: lambda at_t: [ev.policy(at_t, note)]}))
    assert set(blamed(found)) == {"fee"}
    assert blamed(found)["fee"] < 0


def test_another_profile_is_the_operator(inputs: RunInputs) -> None:
    """A profile with other sizes and the same fees."""
    note = changed_profile(inputs, base_ppm=inputs.genesis.profile.base_ppm // 2)
    assert set(blamed(report(inputs, Plant(after={40: lambda at_t: [ev.policy(at_t, note)]})))) == {"operator"}


def test_the_kill_switch_is_the_operator(inputs: RunInputs, fills: list[np.void]) -> None:
    """No entries for three days; one that was just sent is taken back."""
    hour = hour_of(inputs, int(fills[4]["at_t"])) - 1

    def kill(value: int) -> Callable[[int], list[Event]]:
        return lambda at_t: [ev.control(at_t, c.SWITCH_KILL, value, clerk())]

    found = report(inputs, Plant(after={hour: kill(c.KILL_OPERATOR), hour + 72: kill(0)}))
    assert set(blamed(found)) == {"operator"}


@pytest.mark.parametrize("lost", [False, True])
def test_a_restart_gap_is_restart(inputs: RunInputs, fills: list[np.void], lost: bool) -> None:
    """Some hours without the daemon, with an order open; caught up without forecasts, or not at all."""
    hour = hour_of(inputs, int(fills[6]["at_t"]))
    found = report(inputs, Plant(down=(hour, hour + 9), lost=lost))
    assert set(blamed(found)) == {"restart"}
    assert (found.hours.late, found.hours.missed) == ((0, 10) if lost else (10, 0))
    assert found.hours.unmade == 0


@pytest.mark.parametrize("first", [100, 150])
def test_hours_slept_through_are_data_and_counted(inputs: RunInputs, first: int) -> None:
    """A machine asleep for ten hours takes them in at once, without forecasts; the backtest decided in each of them."""
    found = report(inputs, Plant(down=(first, first + 9), asleep=True))
    assert (found.hours.overdue, found.hours.late, found.hours.missed, found.hours.unmade) == (10, 0, 0, 0)
    assert blamed(found)["data"] != 0
    assert set(blamed(found)) <= {"data", "latency"}
    assert found.backtest_value_e8 == report(inputs, Plant()).backtest_value_e8


def test_without_the_bundle_missing_forecasts_are_told(inputs: RunInputs) -> None:
    """What cannot be made again is counted, and the amounts add up all the same."""
    found = report(inputs, Plant(down=(100, 109)), NoRecord())
    assert found.hours.unmade == 10


def test_several_causes_add_up(inputs: RunInputs, fills: list[np.void]) -> None:
    """Everything at once: each amount under its cause, the sum exact."""
    hour = hour_of(inputs, int(fills[10]["at_t"]))
    plant = Plant(
        fill=lambda fill: fill._replace(price_e8=fill.price_e8 * 999 // 1_000, liquidity_id=c.MAKER),
        slow={(hour, int(fills[10]["instrument_id"]))},
        down=(150, 157),
        after={
            60: lambda at_t: [ev.control(at_t, c.SWITCH_HALT, 1, clerk())],
            90: lambda at_t: [ev.control(at_t, c.SWITCH_HALT, 0, clerk())],
        },
    )
    found = report(inputs, plant)
    assert set(blamed(found)) >= {"restart", "operator", "latency", "fill", "fee"}
    assert found.remainder_e8 == 0
    assert not found.equal


def test_a_day_of_a_run_is_compared_from_the_state_it_began_with(inputs: RunInputs) -> None:
    """A day without a difference has none, although the days before it had; the day with it has it."""
    start_t = int(inputs.close_t[0])
    day = range(start_t + 100 * INTERVAL_T, start_t + 124 * INTERVAL_T)
    blocks = PaperDesk(
        inputs, Plant(fill=lambda fill: fill._replace(liquidity_id=c.MAKER) if fill.at_t < day[0] else fill)
    ).run()
    quiet = attribute("run", read_period(inputs.genesis, blocks, day[0], day[-1] + 1), Known(inputs))
    assert quiet.explained
    assert blamed(quiet) == {}
    assert quiet.equal
    assert len(quiet.orders) > 1
    before = attribute("run", read_period(inputs.genesis, blocks, 0, day[0]), Known(inputs))
    assert set(blamed(before)) == {"fee"}


def test_a_changed_journal_has_no_parity(inputs: RunInputs) -> None:
    """A block that the core does not compute ends the comparison with the place."""
    blocks = PaperDesk(inputs).run()
    changed = Event.decode(blocks[40].inputs)
    record = changed.record.copy()
    record["at_t"] += 1
    forged = [b if b.seq_n != 41 else b._replace(inputs=changed._replace(record=record).content()) for b in blocks]
    found = attribute("run", read_period(inputs.genesis, forged), Known(inputs))
    assert not found.parity
    assert not found.explained
    assert "41" in found.parity_detail


def test_a_backtest_and_an_empty_period_are_refused(inputs: RunInputs) -> None:
    """There is nothing to compare."""
    genesis = inputs.genesis.model_copy(update={"mode_id": c.MODE_BACKTEST})
    with pytest.raises(UsageError, match="a backtest"):
        read_period(genesis, [])
    blocks: list[Block] = PaperDesk(inputs).run()[:3]
    with pytest.raises(UsageError, match="without a block"):
        read_period(inputs.genesis, blocks, int(inputs.close_t[-1]))


def test_money_is_text_in_json(inputs: RunInputs) -> None:
    """JSON numbers end at 2**53."""
    found = report(inputs, Plant())
    told = found.model_dump(mode="json")
    assert told["paper_value_e8"] == str(found.paper_value_e8)
    assert told["causes"][0]["amount_e8"] == "0"
    assert told["orders"][0]["paper"]["filled_e8"] == str(found.orders[0].paper and found.orders[0].paper.filled_e8)


def test_another_bundle_is_the_operator(inputs: RunInputs) -> None:
    """Forecasts of another bundle from an hour on, which the first one would have made otherwise."""
    hour = 60

    def note(name: str) -> Note:
        digest = ("a" if name == "first" else "b") * 64
        body = BundleNote(name=name, bundle_hash=digest, feature_set_hash=digest, manifest_digest=digest, signer=digest)
        return Note(actor="ada", bundle=body)

    after = {0: lambda at_t: [ev.bundle(at_t, 1, note("first"))], hour: lambda at_t: [ev.bundle(at_t, 2, note("second"))]}
    later = inputs.forecasts.at_t > inputs.close_t[hour]
    rows = inputs.forecasts.rows.copy()
    rows["prob_main_ppm"][later] = 1_000_000 - rows["prob_main_ppm"][later]
    rows["ret_main_ppm"][later] *= -1
    other = Forecasts(inputs.forecasts.symbols, inputs.forecasts.at_t, rows, inputs.forecasts.feature_digests)
    traded = RunInputs(inputs.genesis, inputs.bars, inputs.close_t, other, inputs.clusters)
    found = attribute("run", read_period(inputs.genesis, PaperDesk(traded, Plant(after=after)).run()), Known(inputs))
    assert found.explained
    assert set(blamed(found)) == {"operator"}
    assert blamed(found)["operator"] != 0


def test_a_period_may_begin_with_an_order_open(inputs: RunInputs, fills: list[np.void]) -> None:
    """Between the decision and its fill: the order is in both runs, filled by both alike."""
    blocks = PaperDesk(inputs).run()
    for fill in fills[3:12:4]:
        since_t = int(fill["at_t"])
        found = attribute("run", read_period(inputs.genesis, blocks, since_t), Known(inputs))
        assert found.explained
        assert blamed(found) == {}
        assert found.equal
        assert found.orders[0].made_by == "open"
        assert found.orders[0].paper is not None
        assert found.orders[0].paper.first_fill_t == since_t


def test_a_period_may_begin_with_an_order_that_earlier_bars_left_open() -> None:
    """Thin bars fill an order in parts: the bars before the period have had their turn."""
    thin = random_inputs(5, 200, 6, BUSY, wildness=1.5)
    thin = RunInputs(
        thin.genesis.model_copy(update={"mode_id": c.MODE_PAPER}), thin.bars, thin.close_t, thin.forecasts, thin.clusters
    )
    blocks = PaperDesk(thin, Plant(acknowledges=False)).run()
    rows = [decode_payload(block.payload)["order_fill"][0] for block in blocks if block.kind_id == c.EV_FILL]
    slow = [row for row in rows if row["at_t"] - row["origin_hour_t"] > 2 * INTERVAL_T]
    assert slow
    for row in (slow[0], slow[-1]):
        found = attribute("run", read_period(thin.genesis, blocks, int(row["at_t"]) - 1_800), Known(thin))
        assert found.equal
        assert blamed(found) == {}


def test_orders_of_a_venue_that_answers_become_orders_of_one_that_does_not() -> None:
    """Acknowledged or unknown ones rest, one whose end was asked for has ended, others stay."""
    state = np.zeros(1, STATE)
    for s, status in enumerate((c.O_OPEN, c.O_UNKNOWN, c.O_CANCELLING, c.O_PARTIAL)):
        o = state[0]["orders"][s]
        o["order_id"], o["status_id"], o["acked_n"] = s + 1, status, 1
    found = unanswered(state)[0]["orders"]
    assert found["status_id"][:4].tolist() == [c.O_NEW, c.O_NEW, 0, c.O_PARTIAL]
    assert found["order_id"][:4].tolist() == [1, 2, 0, 4]
    assert not found["acked_n"].any()
    assert state[0]["orders"]["acked_n"].sum() == 4


def test_a_withdrawal_that_the_backtest_cannot_make_is_told(inputs: RunInputs) -> None:
    """All the cash of an account whose entries were halted: the backtest has positions instead."""
    deposited = int(inputs.genesis.deposits[0].amount_e8)
    after = {
        0: lambda at_t: [ev.control(at_t, c.SWITCH_HALT, 1, clerk())],
        200: lambda at_t: [ev.cash(at_t, c.EV_WITHDRAWAL, 0, deposited, clerk())],
    }
    found = report(inputs, Plant(after=after))
    assert found.left_out_n == 1
    assert [cause.left_out_n for cause in found.causes] == [1, 1, 0, 0, 0, 0, 0]
    assert set(blamed(found)) == {"operator"}


def test_refusals_and_retries_of_the_venue_are_fill(inputs: RunInputs) -> None:
    """What the venue said no to is sent again, or not at all; both have their cause."""
    desk = PaperDesk(inputs)
    desk.venue = SimulatedExchange(
        desk.desk.policy, replies=[Reply.ACCEPT, Reply.REFUSE, Reply.REJECT, Reply.ACCEPT, Reply.REFUSE]
    )
    found = attribute("run", read_period(inputs.genesis, desk.run()), Known(inputs))
    assert found.explained
    assert set(blamed(found)) <= {"fill", "latency"}
    assert "fill" in blamed(found)
