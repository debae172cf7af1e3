"""What an order can live through, one event at a time: retries, unknown outcomes, cancels that race fills, dust."""

from __future__ import annotations

import pytest

from runtime.core import codes as c
from runtime.policy import RiskProfile
from tests.support.desk import E8, Desk, held, last_refusal, resting

UP = (600_000, 20_000)
DOWN = (400_000, -20_000)


def answer(desk: Desk, status: int, *, again: int = 0, s: int = 0) -> None:
    desk.now_t = max(desk.now_t, int(desk.state["desk"]["now_t"]))  # a fill before it came after the bar's close
    desk.event(c.EV_ORDER, instrument_id=s, order_id=int(desk.state["orders"][s]["order_id"]), status_id=status, value_n=again)


def test_a_rejected_order_waits_one_two_four_minutes_and_is_rechecked() -> None:
    desk = resting()
    for delay in (60, 120, 240):
        answer(desk, c.O_REJECTED, again=1)
        order = desk.rows("order_request")[-1]
        assert order["status_id"] == c.O_RETRYING
        assert order["retry_t"] - desk.now_t == delay
        desk.now_t += delay - 1
        desk.event(c.EV_HEARTBEAT)
        assert desk.rows("order_request")[-1]["status_id"] == c.O_RETRYING
        desk.now_t += 1
        desk.event(c.EV_HEARTBEAT)
        assert desk.rows("order_request")[-1]["status_id"] == c.O_NEW
    answer(desk, c.O_REJECTED, again=1)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLED, "three retries are all there are"
    assert {o["order_id"] for o in desk.rows("order_request")} == {1}
    assert max(o["attempt_n"] for o in desk.rows("order_request")) == 4


def test_a_retry_that_no_longer_passes_is_given_up_with_the_gate() -> None:
    desk = resting()
    answer(desk, c.O_REJECTED, again=1)
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_HALT, value_n=1)
    desk.now_t += 60
    desk.event(c.EV_HEARTBEAT)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLED
    assert last_refusal(desk) == "ENTRY_HALT"
    assert int(desk.state["desk"]["retries_n"]) == 0


@pytest.mark.parametrize("status", [c.O_DENIED, c.O_CANCELLED, c.O_EXPIRED])
def test_final_answers_free_the_reservation(status: int) -> None:
    desk = resting()
    answer(desk, status)
    assert desk.rows("order_request")[-1]["status_id"] == status
    assert int(desk.state["orders"][0]["reserve_e8"]) == 0
    assert int(desk.state["orders"][0]["order_id"]) == 0


def test_a_rejection_that_may_not_be_repeated_is_final() -> None:
    desk = resting()
    answer(desk, c.O_REJECTED)
    assert [o["status_id"] for o in desk.rows("order_request")][-2:] == [c.O_REJECTED, c.O_CANCELLED]


def test_an_unknown_outcome_is_neither_expired_nor_killed_nor_sent_again() -> None:
    desk = resting()
    reserve = int(desk.state["orders"][0]["reserve_e8"])
    answer(desk, c.O_UNKNOWN)
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    for _ in range(5):
        desk.hour()
    assert int(desk.state["orders"][0]["status_id"]) == c.O_UNKNOWN
    assert int(desk.state["orders"][0]["reserve_e8"]) == reserve, "it may still take the cash"
    desk.fill()
    assert held(desk) > 0, "the query found it filled"


@pytest.mark.parametrize("partly", [False, True])
def test_an_entry_that_turns_out_to_rest_is_cancelled_while_the_kill_switch_is_on(partly: bool) -> None:
    desk = resting()
    answer(desk, c.O_UNKNOWN)
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=c.KILL_EXCHANGE)
    if partly:
        desk.fill(qty_e8=int(desk.state["orders"][0]["left_e8"]) // 2)
    else:
        answer(desk, c.O_OPEN)
    found = [o["status_id"] for o in desk.rows("order_request")][-2:]
    assert found == [c.O_PARTIAL if partly else c.O_OPEN, c.O_CANCELLING]
    assert int(desk.state["orders"][0]["reserve_e8"]) > 0, "it may fill until the venue says that it is gone"
    answer(desk, c.O_CANCELLED)
    assert int(desk.state["orders"][0]["reserve_e8"]) == 0


def acknowledged(**fields: int) -> Desk:
    desk = resting(**fields)
    answer(desk, c.O_OPEN)
    return desk


def test_a_fill_that_races_our_cancel_is_booked() -> None:
    desk = acknowledged()
    reserve, left = (int(desk.state["orders"][0][name]) for name in ("reserve_e8", "left_e8"))
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLING
    assert int(desk.state["orders"][0]["reserve_e8"]) == reserve
    desk.fill(qty_e8=left // 2)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLING, "still to be taken off"
    assert held(desk) == left // 2
    answer(desk, c.O_CANCELLED)
    assert int(desk.state["orders"][0]["order_id"]) == 0
    assert held(desk) == left // 2


def test_a_cancel_that_came_too_late_ends_filled() -> None:
    desk = acknowledged()
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    desk.fill()
    assert desk.rows("order_request")[-1]["status_id"] == c.O_FILLED


def test_a_cancel_that_did_not_arrive_is_asked_for_again() -> None:
    desk = acknowledged()
    for _ in range(3):
        desk.hour()
    assert [o["status_id"] for o in desk.rows("order_request")][1:] == [c.O_OPEN, c.O_CANCELLING], "asked once"
    answer(desk, c.O_OPEN)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLING
    answer(desk, c.O_UNKNOWN)
    answer(desk, c.O_OPEN)
    desk.event(c.EV_HEARTBEAT)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLING
    answer(desk, c.O_EXPIRED)
    assert int(desk.state["orders"][0]["order_id"]) == 0


def test_an_exit_waits_until_the_venue_took_the_resting_buy_off() -> None:
    desk = acknowledged(order_ttl_t=86_400)
    desk.fill(qty_e8=int(desk.state["orders"][0]["left_e8"]) // 2)
    for _ in range(3):
        desk.hour(DOWN)
    assert [o["status_id"] for o in desk.rows("order_request")][-1] == c.O_CANCELLING
    assert last_refusal(desk) == "ORDER_IN_FLIGHT"
    answer(desk, c.O_CANCELLED)
    desk.hour()
    assert desk.rows("order_request")[-1]["side_id"] == c.SELL
    assert desk.rows("order_request")[-1]["qty_e8"] == held(desk)


def test_a_remainder_below_the_minimum_at_a_venue_is_taken_off_there() -> None:
    desk = acknowledged()
    desk.fill(qty_e8=int(desk.state["orders"][0]["left_e8"]) - 1_000)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLING
    desk.fill(qty_e8=1_000)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_FILLED


def test_a_query_that_finds_a_partly_filled_order_resting_changes_nothing() -> None:
    desk = acknowledged()
    desk.fill(qty_e8=int(desk.state["orders"][0]["left_e8"]) // 2)
    answer(desk, c.O_OPEN)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_PARTIAL


def test_a_rejection_of_an_order_that_we_are_ending_is_not_retried() -> None:
    desk = acknowledged()
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    answer(desk, c.O_REJECTED, again=1)
    assert [o["status_id"] for o in desk.rows("order_request")][-2:] == [c.O_REJECTED, c.O_CANCELLED]


def test_a_retry_passes_the_liquidity_gate_again() -> None:
    desk = resting(vol_decay_ppm=1_000_000, order_ttl_t=86_400)
    answer(desk, c.O_REJECTED, again=1)
    bars = desk.bars()
    bars["volume_e4"][0] = 10_000  # one unit traded in the hour
    desk.now_t += 3_600
    desk.event(c.EV_BARS, bars, value_n=desk.now_t - 3_600)
    assert last_refusal(desk) == "LIQUIDITY"
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLED


def test_an_unknown_order_the_venue_never_had_may_be_retried() -> None:
    desk = resting()
    answer(desk, c.O_UNKNOWN)
    answer(desk, c.O_CANCELLED, again=1)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_RETRYING


@pytest.mark.parametrize(("order_id", "status", "words"), [(9, c.O_OPEN, "not open"), (1, 99, "unknown answer")])
def test_answers_that_do_not_follow_are_broken_invariants(order_id: int, status: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resting().event(c.EV_ORDER, instrument_id=0, order_id=order_id, status_id=status)


def test_a_remainder_below_the_minimum_is_dust() -> None:
    desk = resting()
    left = int(desk.state["orders"][0]["left_e8"])
    desk.fill(qty_e8=left - 1_000)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_DUST
    assert int(desk.state["orders"][0]["order_id"]) == 0


def test_a_heartbeat_marks_before_it_lets_a_retry_count_on_the_value() -> None:
    desk = resting()
    desk.fill()
    before = int(desk.state["desk"]["pv_e8"])
    fee = desk.rows("order_fill")[-1]["fee_e8"]
    desk.now_t += 1
    desk.event(c.EV_HEARTBEAT)
    assert int(desk.state["desk"]["pv_e8"]) == before - fee


def test_profit_taking_that_never_filled_is_not_bought_back() -> None:
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000))
    desk.enter()
    desk.hour(UP, price=106, near=-2_000)
    assert desk.rows("order_request")[-1]["side_id"] == c.SELL
    answer(desk, c.O_DENIED)
    assert (int(desk.state["positions"][0]["taken_n"]), int(desk.state["positions"][0]["taken_e8"])) == (0, 0)
    desk.hour(UP, price=103, near=2_000)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_DENIED, "nothing was taken, so nothing is bought back"


def test_no_more_is_bought_back_than_the_fills_took() -> None:
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, entry_min_ppm=0))
    desk.enter()
    desk.hour(UP, price=106, near=-2_000)
    desk.fill(qty_e8=int(desk.state["orders"][0]["left_e8"]) // 100, price_e8=106 * E8)
    answer(desk, c.O_CANCELLED)
    taken = desk.rows("order_fill")[-1]["notional_e8"]
    assert int(desk.state["positions"][0]["taken_e8"]) == taken
    desk.hour(UP, price=103, near=2_000)
    order = desk.rows("order_request")[-1]
    assert (order["side_id"], order["reserve_e8"] <= taken) == (c.BUY, True)


def test_a_reduction_that_the_venue_denied_uses_up_no_budget() -> None:
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, derisk_max_n=1))
    desk.enter()
    for _ in range(3):
        desk.hour((460_000, -3_000))
    answer(desk, c.O_DENIED)
    assert int(desk.state["positions"][0]["derisked_n"]) == 0


def test_a_fill_that_says_the_rest_rests_makes_the_order_the_venue_s_to_end() -> None:
    desk = resting()
    desk.now_t += 1
    o = desk.state["orders"][0]
    desk.event(
        c.EV_FILL, instrument_id=0, order_id=int(o["order_id"]), qty_e8=int(o["left_e8"]) // 2, price_e8=100 * E8,
        reference_e8=100 * E8, liquidity_id=c.TAKER, value_n=1,
    )  # fmt: skip
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLING


@pytest.mark.parametrize("status", [c.O_REJECTED, c.O_DENIED])
def test_a_venue_cannot_refuse_what_it_has(status: int) -> None:
    with pytest.raises(ValueError, match="an order that it has"):
        answer(acknowledged(), status, again=1)


def test_a_cancelled_entry_is_not_revived_by_a_late_rejection() -> None:
    desk = acknowledged()
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_KILL, value_n=1)
    answer(desk, c.O_UNKNOWN)
    answer(desk, c.O_REJECTED, again=1)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLED


@pytest.mark.parametrize("instrument", [-32, -1, 32, 1_000])
@pytest.mark.parametrize("kind", [c.EV_ORDER, c.EV_FILL, c.EV_QUOTE])
def test_an_unknown_instrument_is_refused(kind: int, instrument: int) -> None:
    desk = resting()
    with pytest.raises(ValueError, match="unknown instrument"):
        desk.event(
            kind,
            instrument_id=instrument,
            order_id=1,
            status_id=c.O_OPEN,
            qty_e8=1,
            price_e8=E8,
            reference_e8=E8,
            liquidity_id=c.TAKER,
        )


@pytest.mark.parametrize("quote", [-1, c.USD, 3, 7, 1_000])
def test_a_rate_is_for_a_foreign_currency(quote: int) -> None:
    desk = Desk()
    with pytest.raises(ValueError, match="base currency or of an unknown"):
        desk.event(c.EV_RATE, quote_id=quote, price_e8=E8)


def test_a_release_outside_the_last_tier_changes_nothing() -> None:
    desk = Desk()
    desk.event(c.EV_CORRECTION, quote_id=c.USD, amount_e8=-11_000 * E8)
    before = desk.states.copy()
    desk.event(c.EV_CONTROL, instrument_id=c.SWITCH_RELEASE_TIER)
    assert desk.states.tobytes() == before.tobytes()
