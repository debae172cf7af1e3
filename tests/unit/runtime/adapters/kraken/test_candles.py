from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.adapters.kraken import wire
from runtime.adapters.kraken.candles import Candles, Remark
from runtime.adapters.kraken.rest import Candles as Told
from runtime.adapters.kraken.rest import quiet_bar
from runtime.errors import DataError
from runtime.market import ClosedBar, NoticeKind
from tests.support.kraken_socket import START_T

HOUR_T = 3_600


def row_of(open_t: int, trades_n: int = 9, close: str = "1.5", **changes: object) -> wire.Row:
    begin = datetime.fromtimestamp(open_t, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    row: wire.Row = {"open": "1.0", "high": "2.0", "low": "0.5", "close": close, "volume": "7.25", "trades": str(trades_n)}
    return row | {"interval_begin": begin, "interval": "60"} | changes


def bar_of(open_t: int, close: float = 1.5, origin: str = "rest", instrument_id: int = 0) -> ClosedBar:
    return ClosedBar(instrument_id, open_t, 1.0, 2.0, 0.5, close, 7.25, origin)


def told(*bars: ClosedBar, first_t: int | None = START_T, full: bool = False) -> Told:
    return Told(list(bars), first_t, full)


def kind_of(remark: Remark | None) -> NoticeKind | None:
    return None if remark is None else remark.kind


def test_a_bar_is_delivered_once_when_its_interval_is_over() -> None:
    candles = Candles(2, HOUR_T, START_T)
    candles.take(0, "update", row_of(START_T, trades_n=3, close="1.1"))
    candles.take(0, "update", row_of(START_T))
    assert candles.close(START_T) == ([], [])
    assert candles.close(START_T + HOUR_T) == ([bar_of(START_T, origin="ws")], [1])
    assert candles.close(START_T + HOUR_T) == ([], [1])


def test_an_older_state_never_replaces_a_newer_one() -> None:
    candles = Candles(1, HOUR_T, START_T)
    assert candles.take(0, "update", row_of(START_T)) is None
    assert kind_of(candles.take(0, "update", row_of(START_T, trades_n=4, close="1.1"))) is NoticeKind.LATE_BAR
    assert kind_of(candles.take(0, "update", row_of(START_T))) is NoticeKind.DUPLICATE_BAR
    assert candles.take(0, "snapshot", row_of(START_T)) is None
    assert candles.close(START_T + HOUR_T).bars == [bar_of(START_T, origin="ws")]


def test_what_the_venue_says_of_a_delivered_bar_is_a_remark() -> None:
    candles = Candles(1, HOUR_T, START_T)
    candles.take(0, "update", row_of(START_T))
    candles.close(START_T + HOUR_T)
    assert kind_of(candles.take(0, "update", row_of(START_T))) is NoticeKind.DUPLICATE_BAR
    assert candles.take(0, "snapshot", row_of(START_T)) is None
    assert kind_of(candles.take(0, "snapshot", row_of(START_T, trades_n=10, close="1.6"))) is NoticeKind.LATE_BAR
    assert candles.take(0, "update", row_of(START_T - HOUR_T)) is None  # from before this feed began
    assert candles.close(START_T + HOUR_T) == ([], [])


def test_a_quiet_interval_is_left_to_rest() -> None:
    candles = Candles(1, HOUR_T, START_T)
    assert candles.take(0, "update", row_of(START_T, trades_n=0)) is None
    assert candles.close(START_T + HOUR_T).missing == [0]
    closed, hole = candles.fill(0, told(quiet_bar(0, START_T, "rest")), START_T + HOUR_T)
    assert hole == ""
    assert [math.isnan(bar.close) for bar in closed] == [True]


def test_rest_fills_a_hole_and_what_is_held_follows() -> None:
    candles = Candles(1, HOUR_T, START_T)
    candles.take(0, "update", row_of(START_T + 2 * HOUR_T))
    assert candles.close(START_T + 3 * HOUR_T) == ([], [0])
    closed, _ = candles.fill(0, told(bar_of(START_T), bar_of(START_T + HOUR_T)), START_T + 3 * HOUR_T)
    assert [(bar.open_t, bar.origin) for bar in closed] == [
        (START_T, "rest"), (START_T + HOUR_T, "rest"), (START_T + 2 * HOUR_T, "ws"),
    ]  # fmt: skip


def test_an_answer_without_the_wanted_bar_fills_nothing() -> None:
    candles = Candles(1, HOUR_T, START_T)
    assert candles.fill(0, told(first_t=START_T - HOUR_T), START_T + HOUR_T) == ([], "")
    assert candles.fill(0, told(bar_of(START_T + HOUR_T), first_t=START_T - HOUR_T), START_T + 2 * HOUR_T) == ([], "")
    assert candles.fill(0, told(bar_of(START_T)), START_T) == ([], ""), "a bar that is not over"


def test_before_its_first_trade_a_pair_is_quiet() -> None:
    candles = Candles(1, HOUR_T, START_T)
    candles.take(0, "update", row_of(START_T + 2 * HOUR_T))
    closed, hole = candles.fill(0, told(first_t=None), START_T + 4 * HOUR_T)
    assert hole == ""
    assert [(bar.open_t, bar.origin) for bar in closed] == [
        (START_T, "rest"), (START_T + HOUR_T, "rest"), (START_T + 2 * HOUR_T, "ws"),
    ]  # fmt: skip
    assert candles.fill(0, told(first_t=START_T + 4 * HOUR_T), START_T + 4 * HOUR_T)[0][0].open_t == START_T + 3 * HOUR_T


def test_a_hole_older_than_the_venue_tells_is_named() -> None:
    candles = Candles(1, HOUR_T, START_T)
    first_t = START_T + 5 * HOUR_T
    closed, hole = candles.fill(0, told(bar_of(first_t), first_t=first_t, full=True), first_t + HOUR_T)
    assert str(START_T) in hole
    assert closed == [bar_of(first_t)]


def test_a_lost_connection_takes_what_was_held() -> None:
    candles = Candles(1, HOUR_T, START_T)
    candles.take(0, "update", row_of(START_T, trades_n=3))
    candles.forget()
    assert candles.close(START_T + HOUR_T) == ([], [0])


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": "1"}, {"close": "0"}, {"close": "-1"}, {"open": None}, {"interval_begin": "2023-11-15T00:00:01Z"},
        {"interval_begin": "2023-11-15T00:00:00.5Z"}, {"volume": "NaN"}, {"trades": "x"},
    ],
)  # fmt: skip
def test_a_row_of_another_form_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Candles(1, HOUR_T, START_T).take(0, "update", row_of(START_T) | changes)


@given(
    st.lists(st.sampled_from(["update", "forget", "close", "fill", "again"]), max_size=40), st.randoms(use_true_random=False)
)
def test_in_every_order_of_events_each_bar_comes_once_and_in_order(steps: list[str], random_: object) -> None:
    candles, now_n, delivered = Candles(1, HOUR_T, START_T), 0, []
    for step in steps:
        if step == "update":
            candles.take(0, "update", row_of(START_T + now_n * HOUR_T))
        elif step == "again":
            candles.take(0, "update", row_of(START_T + max(now_n - 1, 0) * HOUR_T))
        elif step == "forget":
            candles.forget()
        elif step == "close":
            now_n += 1
            delivered += candles.close(START_T + now_n * HOUR_T).bars
        else:
            bars = [bar_of(START_T + n * HOUR_T) for n in range(now_n)]
            delivered += candles.fill(0, told(*bars), START_T + now_n * HOUR_T)[0]
    assert [bar.open_t for bar in delivered] == [START_T + n * HOUR_T for n in range(len(delivered))]
    assert len(delivered) <= now_n
