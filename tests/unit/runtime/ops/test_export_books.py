"""The verifier's books against the core, event by event, in situations that runs rarely meet; and wishes that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.core import codes as c
from runtime.core.records import BAR, FORECAST, INSTRUMENTS
from runtime.ops import verify_export as v
from runtime.policy import FeeTier, PairRules, QuoteCap, RiskProfile
from tests.support.desk import E8, held, last_refusal
from tests.support.mirrors import Mirror, flat

UP, DOWN = (600_000, 20_000), (400_000, -20_000)
WIDE: dict[str, Any] = {"cluster_cap_ppm": 1_000_000}
ALL: dict[str, Any] = {
    "cluster_cap_ppm": 1_000_000, "total_cap_ppm": 1_000_000, "base_ppm": 1_000_000,
    "quote_caps": (QuoteCap(cap_ppm=1_000_000),) * 3,
}  # fmt: skip


def resting(**fields: int) -> Mirror:
    """Return a desk whose first instrument has a fresh buy at the venue."""
    desk = Mirror(RiskProfile(**WIDE, **fields))
    desk.hour(UP)
    desk.hour(UP)
    assert statuses(desk) == [c.O_NEW]
    return desk


def statuses(desk: Mirror) -> list[int]:
    return [row["status_id"] for row in desk.rows("order_request")]


def answer(desk: Mirror, status: int, value: int = 0, s: int = 0) -> None:
    order_id = int(desk.state["orders"][s]["order_id"])
    desk.event(c.EV_ORDER, instrument_id=s, order_id=order_id, status_id=status, value_n=value)


def heartbeat(desk: Mirror, after_t: int) -> None:
    desk.now_t += after_t
    desk.event(c.EV_HEARTBEAT)


# ---- the same rows as the core's -----------------------------------------------------------------------------------


def test_volume_older_than_thirty_days_gives_no_better_fee() -> None:
    fees = (FeeTier(volume_e8=0, maker_ppm=2_500, taker_ppm=4_000), FeeTier(volume_e8=1_000 * E8, maker_ppm=0, taker_ppm=1_000))
    desk = Mirror(RiskProfile(fees=fees, **WIDE))
    desk.enter(0)
    desk.enter(1)
    desk.now_t += 31 * 86_400
    desk.enter(2)
    rates = [round(row["fee_e8"] * 10**6 / row["notional_e8"]) for row in desk.rows("order_fill")]
    assert rates == [4_000, 1_000, 4_000]


@pytest.mark.parametrize(("acknowledged", "end"), [(False, c.O_DUST), (True, c.O_CANCELLING)])
def test_a_remainder_below_the_minimum(acknowledged: bool, end: int) -> None:
    desk = resting()
    if acknowledged:
        answer(desk, c.O_OPEN)
    desk.fill(qty_e8=int(desk.state["orders"][0]["left_e8"]) - 1_000)
    assert statuses(desk)[-1] == end


def test_a_wide_fresh_quote_is_refused() -> None:
    desk = Mirror(RiskProfile(**WIDE))
    desk.hour(UP)
    desk.now_t += 3_590
    desk.event(c.EV_QUOTE, instrument_id=0, price_e8=99 * E8, reference_e8=101 * E8)
    desk.now_t -= 3_590
    desk.hour(UP)
    assert last_refusal(desk) == "LIQUIDITY"
    assert desk.rows("risk_event")[-1]["value_v"] == 20_202, "ppm of the bid"


def test_an_instrument_without_a_pair_is_refused() -> None:
    desk = Mirror(RiskProfile(**WIDE))
    for _ in range(2):
        desk.hour(UP, only=(7,), present=(0, 7))
    assert last_refusal(desk) == "PAIR_RULES"
    assert desk.rows("risk_event")[-1]["limit_v"] == 1


def test_a_price_below_a_tick_has_no_limit() -> None:
    desk = Mirror(RiskProfile(**WIDE), pair=PairRules(tick_e8=1_000 * E8))
    desk.hour(UP)
    desk.hour(UP)
    assert last_refusal(desk) == "PAIR_RULES"
    assert desk.rows("risk_event")[-1]["limit_v"] == 1_000 * E8


def test_free_cash_cuts_an_entry_and_says_so() -> None:
    desk = Mirror(RiskProfile(**ALL))
    desk.hour(UP)
    desk.hour(UP)
    cut = desk.rows("risk_event")[-1]
    assert (cut["kind_id"], cut["gate_id"]) == (c.RISK_CUT, c.G_CASH)
    assert cut["limit_v"] > cut["value_v"] == 100_000 * E8 - 1_000
    assert statuses(desk) == [c.O_NEW]


def test_an_order_is_given_up_after_its_last_attempt() -> None:
    desk = resting(retries_max_n=1)
    answer(desk, c.O_REJECTED, 1)
    heartbeat(desk, 60)
    answer(desk, c.O_REJECTED, 1)
    assert statuses(desk) == [c.O_NEW, c.O_REJECTED, c.O_RETRYING, c.O_NEW, c.O_REJECTED, c.O_CANCELLED]


def test_an_order_that_a_query_does_not_find_is_tried_again() -> None:
    desk = resting()
    answer(desk, c.O_UNKNOWN)
    answer(desk, c.O_CANCELLED, 1)
    heartbeat(desk, 60)
    assert statuses(desk) == [c.O_NEW, c.O_UNKNOWN, c.O_RETRYING, c.O_NEW]


def test_a_retry_that_no_longer_pays_is_given_up() -> None:
    desk = resting(exit_persist_n=1, order_ttl_t=86_400, retry_t=3_600)
    answer(desk, c.O_REJECTED, 1)
    desk.now_t -= 1_800
    desk.hour(DOWN)
    heartbeat(desk, 1_800)
    assert last_refusal(desk) == "COST"
    assert desk.rows("risk_event")[-1]["value_v"] == 0, "no edge without an outlook"
    assert statuses(desk)[-1] == c.O_CANCELLED


def test_a_retry_before_a_wide_quote_is_given_up() -> None:
    desk = resting()
    answer(desk, c.O_REJECTED, 1)
    desk.now_t += 50
    desk.event(c.EV_QUOTE, instrument_id=0, price_e8=99 * E8, reference_e8=101 * E8)
    heartbeat(desk, 10)
    assert last_refusal(desk) == "LIQUIDITY"
    assert statuses(desk)[-1] == c.O_CANCELLED


def test_a_retry_on_an_old_forecast_is_given_up() -> None:
    desk = resting(forecast_age_max_t=30)
    answer(desk, c.O_REJECTED, 1)
    heartbeat(desk, 60)
    refusal = desk.rows("risk_event")[-1]
    assert (refusal["gate_id"], refusal["limit_v"], refusal["value_v"]) == (c.G_FRESHNESS, 30, 60)
    assert statuses(desk)[-1] == c.O_CANCELLED


def test_the_kill_switch_takes_off_a_buy_and_one_found_later() -> None:
    desk = resting()
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    assert statuses(desk) == [c.O_NEW, c.O_CANCELLED]
    desk = resting()
    answer(desk, c.O_UNKNOWN)
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    assert statuses(desk) == [c.O_NEW, c.O_UNKNOWN], "an unknown outcome waits for its query"
    answer(desk, c.O_OPEN)
    assert statuses(desk) == [c.O_NEW, c.O_UNKNOWN, c.O_OPEN, c.O_CANCELLING]


def test_buys_beyond_the_lots_merge_into_the_newest() -> None:
    desk = resting()
    for _ in range(v.LOTS_MAX + 2):
        desk.fill(qty_e8=1_000)
    kinds = [row["kind_id"] for row in desk.rows("position_lot")]
    assert kinds == [c.LOT_OPEN] * v.LOTS_MAX + [c.LOT_MERGE] * 2
    merged = desk.rows("position_lot")[-1]
    assert (merged["lot_id"], merged["left_e8"]) == (v.LOTS_MAX, 3_000)


# ---- wishes that no strategy can have had ---------------------------------------------------------------------------


def refused_wish(desk: Mirror, action: int, s: int = 0) -> v.Defect:
    """Return what the books say to a bar, with a forecast of the first instrument, that has one forged signal."""
    desk.now_t += 3_600
    event = (c.EV_BARS, desk.now_t, 0, 0, -1, *(0,) * 9, desk.now_t - 3_600)
    forecasts = np.zeros(INSTRUMENTS, FORECAST)
    forecasts[0]["valid_n"] = 1
    signal = (77, 1, 1, desk.now_t, desk.now_t, desk.now_t, s, *(0,) * 4, action, *(0,) * 15)
    assert (len(event), len(signal)) == (len(v.EVENT.split()), len(v.FIELDS["trade_signal"]))
    with pytest.raises(v.Defect) as found:
        desk.apply(event, flat(desk.bars(), BAR), flat(forecasts, FORECAST), signals=[signal])
    return found.value


@pytest.mark.parametrize("action", [c.DERISK, c.REALISE])
def test_a_share_of_less_than_a_lot_is_no_sale(action: int) -> None:
    desk = Mirror(RiskProfile(**WIDE), pair=PairRules(lot_e8=20 * E8))
    desk.enter()
    assert held(desk) == 20 * E8, "one lot"
    defect = refused_wish(desk, action)
    assert (defect.record, defect.row, defect.field, defect.stored) == ("trade_signal", 77, "action_id", str(action))
    assert defect.what.endswith("a sale of nothing")


def test_an_instrument_that_has_nothing_to_decide_has_no_wish() -> None:
    desk = Mirror(RiskProfile(**WIDE))
    desk.enter()
    defect = refused_wish(desk, c.EXIT, 1)
    assert (defect.record, defect.row, defect.field, defect.stored) == ("trade_signal", 77, "action_id", str(c.EXIT))
    assert defect.what.endswith("an instrument that had nothing to decide, or out of order")
